"""SIGKILL from outside at moments drawn by lot: the numbers stay what they are without it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from replearn.planning import Plan
from tests.faults.namespaces import FIRST_PROCESS, alone
from tests.tiny_study import TRAINED, run_once, same, start
from tests.workflow_fixture import SMOKE, FinishedStudy, copy_checkout

pytestmark = pytest.mark.faults

KILLS = 7
"""Of each method: with eight methods 56."""


@pytest.mark.parametrize("method", TRAINED)
def test_a_training(tiny_study: Plan, method: str, tmp_path: Path) -> None:
    whole = run_once(tiny_study, method, tmp_path / "whole")
    draw = random.Random(method)
    kills = 0
    while kills < KILLS:
        process = start(tiny_study, method, tmp_path / "cut")
        begun = tmp_path / "cut" / "state" / "lock"
        begun.unlink(missing_ok=True)
        while not begun.exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0.0, 2.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        elif process.returncode == 0:
            # It was faster than the lot; what is left of it would be no test.
            for name in ("encoder.safetensors", "pretrain.json", "history.jsonl"):
                (tmp_path / "cut" / name).unlink()
            for left in (tmp_path / "cut" / "state").iterdir():
                left.unlink()
        process.communicate()
    last = start(tiny_study, method, tmp_path / "cut")
    errors = last.communicate()[1]
    assert last.returncode == 0, errors.decode()
    same(whole, run_once(tiny_study, method, tmp_path / "cut"))


def numbers(study: FinishedStudy) -> pd.DataFrame:
    return pd.read_csv(study.study / "results.csv")


def test_a_whole_workflow(smoke_study: FinishedStudy, tmp_path: Path) -> None:
    """Snakemake and all its jobs at once, again and again; each start goes on without a word of locks."""
    study = copy_checkout(tmp_path / "killed")
    draw = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", SMOKE]
    kills = 0
    for _ in range(8):
        log = (study.root / "log").open("w")
        process = subprocess.Popen(
            command,
            cwd=study.root,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        time.sleep(draw.uniform(6.0, 16.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        log.close()
        assert "cannot be locked" not in (study.root / "log").read_text()
    assert kills >= 4
    done = study.snakemake("--cores", "2")
    assert done.returncode == 0, done.stdout[-4000:]
    pd.testing.assert_frame_equal(numbers(study), numbers(smoke_study))


def test_two_workflows_in_one_folder(study_copy: FinishedStudy) -> None:
    """The second is refused while the first works, and nothing of the first is lost."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", SMOKE]
    command += ["--forcerun", "select"]
    first = subprocess.Popen(
        command,
        cwd=study_copy.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    locks = study_copy.root / ".snakemake" / "locks"
    while not list(locks.glob("*.lock")) and first.poll() is None:
        time.sleep(0.05)
    second = study_copy.snakemake("--cores", "1", "--forcerun", "select")
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout
    told, _ = first.communicate()
    assert first.returncode == 0, told[-3000:]
    assert not list(locks.glob("*.lock"))


def test_two_jobs_of_one_run(tiny_study: Plan, tmp_path: Path) -> None:
    """Sixteen at once: one trains, the others say so and touch nothing."""
    whole = run_once(tiny_study, "simclr", tmp_path / "whole")
    jobs = [start(tiny_study, "simclr", tmp_path / "run") for _ in range(16)]
    told = [job.communicate()[1].decode() for job in jobs]
    codes = [job.returncode for job in jobs]
    assert 0 in codes and set(codes) <= {0, 2}
    for code, text in zip(codes, told, strict=True):
        assert code == 0 or "another process is training" in text
        assert "Traceback" not in text
    same(whole, run_once(tiny_study, "simclr", tmp_path / "run"))


LONG = """
name: long
datasets: {digits: {}}
seeds: [0]
encoder: {name: convnet, width: 16}
training: {epochs: 200, batch_size: 128, monitor: {epochs: 10, bank: 200, queries: 50}}
methods: {byol: }
tracking: {enabled: false}
"""


def test_a_pod_that_is_told_to_end(tmp_path: Path) -> None:
    """The command of the pod of Kubernetes as the first process of a namespace, as it is in a container."""
    study = copy_checkout(tmp_path / "study")
    (study.root / "long.yaml").write_text(LONG)
    manifest = study.root / "workflow" / "profiles" / "kubernetes" / "job.yaml"
    pod = yaml.safe_load(manifest.read_text())["spec"]["template"]["spec"]["containers"][0]
    command = [*alone(*FIRST_PROCESS), *pod["command"], *pod["args"], "--configfile", "long.yaml"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (study.root / "log").open("w") as log:
        outside = subprocess.Popen(
            command, cwd=study.root, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    saved = "results/runs/digits/byol/default/seed-0/*/state/checkpoint.safetensors"
    while not list(study.root.glob(saved)):
        assert outside.poll() is None, (study.root / "log").read_text()[-3000:]
        time.sleep(0.05)
    first = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()[0]
    os.kill(int(first), signal.SIGTERM)
    assert outside.wait(timeout=120) == 143
    (trained,) = study.root.glob("results/logs/pretrain/**/*.log")
    assert "stopped by SIGTERM" in trained.read_text()
    done = study.snakemake("--cores", "2", study="long.yaml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "resuming after" in trained.read_text()
