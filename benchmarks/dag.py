"""How long the workflow takes to start: parsing, a dry run against the number of jobs, and each command.

python -m benchmarks.dag
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import Row, Table, one_by_one, options, run
from replearn.errors import UserError
from replearn.provenance import CHECKOUT

PARSING, DRY_RUN, JOBS = 1.5, 6.0, 4200
"""Seconds that parsing and a dry run of so many jobs may take."""
STEPS = {
    "pretrain": "replearn.pretrain",
    "embed": "replearn.embed",
    "select, evaluate": "replearn.evaluate.run",
    "collate": "replearn.collate",
    "report": "replearn.report",
    "track": "replearn.tracking",
}
"""The commands of the workflow and what each imports."""


def study(seeds: int) -> dict[str, Any]:
    """Every method on handwritten digits with many seeds."""
    methods = "random_init supervised autoencoder triplet supcon simclr byol dino clip"
    return {
        "name": "many",
        "datasets": {"digits": {}},
        "seeds": list(range(seeds)),
        "methods": {name: {} for name in methods.split()},
    }


def snakemake(folder: Path, content: dict[str, Any], *arguments: str) -> tuple[float, str]:
    """Seconds that a call of Snakemake takes in a fresh process, and what it prints."""
    file = folder / "study.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(file)]
    command += ["--snakefile", str(CHECKOUT / "Snakefile"), "--directory", str(folder), *arguments]
    return _timed(command, folder)


def dry_run(folder: Path, seeds: int, repeats: int) -> tuple[int, float]:
    """Number of jobs and median seconds of a dry run; the first, which writes the plan, does not count."""
    _, said = snakemake(folder, study(seeds), "--dry-run", "--quiet", "rules")
    found = re.search(r"^total\s+(\d+)", said, re.MULTILINE)
    if found is None:
        raise UserError("Snakemake did not say how many jobs there are", hint=said[-500:])
    times = [
        snakemake(folder, study(seeds), "--dry-run", "--quiet", "all")[0] for _ in range(repeats)
    ]
    return int(found[1]), median(times)


def _timed(command: list[str], folder: Path) -> tuple[float, str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "CUDA_VISIBLE_DEVICES": ""}
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise UserError(
            f"{command[2]} ended with status {done.returncode}",
            hint="\n  ".join(done.stdout.splitlines()[-10:]),
        )
    return took, done.stdout


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    repeats, sizes = (1, (1, 2)) if chosen.quick else (3, (11, 23, 46, 95))
    whole = Table("Seconds against the number of jobs (dry run, median)")
    starts = Table(
        "Seconds from typing to working (fresh processes, median)",
        notes=[f"target for parsing: {PARSING:g} s"],
    )
    yield from (whole, starts)
    counts, times = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        snakemake(folder, study(1), "--list")
        listed = [snakemake(folder, study(1), "--list")[0] for _ in range(repeats)]
        starts.rows.append(
            Row("parsing the workflow (snakemake --list)", {"time": median(listed)}, "s")
        )
        version = [sys.executable, "-m", "snakemake", "--version"]
        bare = [_timed(version, folder)[0] for _ in range(repeats)]
        starts.rows.append(
            Row("of it, Snakemake's own start (--version)", {"time": median(bare)}, "s")
        )
        for seeds in one_by_one(sizes, "dry runs"):
            count, took = dry_run(folder, seeds, repeats)
            counts.append(count)
            times.append(took)
            whole.rows.append(Row(f"{count:,} jobs", {"dry run": took}, "s"))
        per_job, start = np.polyfit(counts, times, 1)
        whole.notes.append(
            f"a line through them: {start:.1f} s and {1000 * per_job:.2f} ms for each job, so"
            f" {start + per_job * JOBS:.1f} s for {JOBS:,} (target {DRY_RUN:g})"
        )
        commands = {"replearn --help": [sys.executable, "-m", "replearn", "--help"]}
        commands |= {
            f"imports of {name}": [sys.executable, "-c", f"import {module}"]
            for name, module in STEPS.items()
        }
        for name, command in commands.items():
            took = median(_timed(command, folder)[0] for _ in range(repeats))
            starts.rows.append(Row(name, {"time": took}, "s"))


def main() -> None:
    run("dag", options(__doc__ or "", device=False, threads=False).parse_args(), measure)


if __name__ == "__main__":
    main()
