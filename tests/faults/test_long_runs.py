"""Memory and open files over ten thousand steps, and over two hundred runs in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

COMMON = """
import gc, json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from replearn.allocator import keep_freed_memory
keep_freed_memory()
from tests.tiny_study import make_study, run_once
study = make_study(Path(sys.argv[1]))

def resident():
    fields = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024

def files():
    return len(os.listdir("/proc/self/fd"))
"""

STEPS = (
    COMMON
    + """
from replearn import train
seen = []
write = train.History.write
def watched(self, *, step, **values):
    write(self, step=step, **values)
    if step and step % 1000 == 0:
        seen.append((step, resident(), files()))
train.History.write = watched
run = next(run for run in study.runs if run.config.method == "byol")
training = run.config.training.model_copy(update={"epochs": 10_000 // (450 // 32) + 1})
run_once(study, "byol", Path(sys.argv[1]) / "run", training=training)
print(json.dumps(seen))
"""
)

RUNS = (
    COMMON
    + """
from replearn.methods import METHODS
seen = []
for number in range(200):
    method = list(METHODS)[number % len(METHODS)]
    run = next(run for run in study.runs if run.config.method == method)
    training = run.config.training.model_copy(update={"epochs": 1})
    run_once(study, method, Path(sys.argv[1]) / str(number), training=training)
    if number % 20 == 19:
        seen.append((number, resident(), files()))
print(json.dumps(seen))
"""
)


def measured(program: str, folder: Path) -> list[tuple[int, float, int]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[tuple[int, float, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("program", "count"), [(STEPS, 10), (RUNS, 10)], ids=["steps", "runs"])
def test_memory_and_files_stay_level(program: str, count: int, tmp_path: Path) -> None:
    seen = measured(program, tmp_path)
    assert len(seen) >= count
    settled = seen[len(seen) // 3 :]
    growth = settled[-1][1] - settled[0][1]
    assert growth < 20, f"{growth:.0f} MB more over the last two thirds: {seen}"
    assert len({files for _, _, files in settled}) == 1, seen
