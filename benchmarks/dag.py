"""How long the workflow takes to start: parsing, a dry run against the number of jobs, and each command.

python -m benchmarks.dag

Dry runs are timed beside those of a Snakefile of the same rules, files and jobs without any planning.
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
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import Row, Table, one_by_one, options, run
from benchmarks.pairs import abba, paired_ratio
from replearn.errors import UserError
from replearn.provenance import CHECKOUT

PARSING, DRY_RUN, JOBS = 1.5, 6.0, 4200
"""Seconds that parsing and a dry run of so many jobs may take."""
SNAKEFILES = {"replearn": CHECKOUT / "Snakefile", "bare": CHECKOUT / "benchmarks" / "bare.smk"}
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


def snakemake(
    snakefile: Path, folder: Path, content: dict[str, Any], *arguments: str
) -> tuple[float, str]:
    """Seconds that a call of Snakemake takes in a fresh process, and what it prints."""
    file = folder / "study.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(file)]
    command += ["--snakefile", str(snakefile), "--directory", str(folder), *arguments]
    return _timed(command, folder)


def jobs(snakefile: Path, folder: Path, seeds: int) -> dict[str, int]:
    """Number of jobs of each rule; the first call also writes the files that the workflow starts from."""
    _, said = snakemake(snakefile, folder, study(seeds), "--dry-run", "--quiet", "rules")
    found = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}
    if "total" not in found:
        raise UserError("Snakemake did not say how many jobs there are", hint=said[-500:])
    return found


def dry_runs(folder: Path, seeds: int, rounds: int) -> tuple[int, Row]:
    """Number of jobs, and dry runs of our workflow beside the bare one's, in turns."""
    places = {name: folder / f"{name}-{seeds}" for name in SNAKEFILES}
    counts = {}
    for name, place in places.items():
        place.mkdir()
        counts[name] = jobs(SNAKEFILES[name], place, seeds)["total"]
    if len(set(counts.values())) > 1:
        raise UserError(f"the jobs are not as many: {counts}", where="benchmarks/bare.smk")

    def dry_run(name: str) -> float:
        arguments = (study(seeds), "--dry-run", "--quiet", "all")
        return snakemake(SNAKEFILES[name], places[name], *arguments)[0]

    times = abba(*(partial(dry_run, name) for name in SNAKEFILES), rounds=rounds)
    values = dict(zip(SNAKEFILES, map(median, times), strict=True))
    count = counts["bare"]
    return count, Row(f"{count:,} jobs", values, "s", paired_ratio(*times))


def lines(counts: list[int], rows: list[Row]) -> list[str]:
    """What a line through the times says of the start and of each job, for each workflow."""
    found = ["bare: the same rules, files and jobs without planning; ratio: replearn ÷ bare"]
    for name in SNAKEFILES:
        per_job, start = np.polyfit(counts, [row.values[name] for row in rows], 1)
        expected = start + per_job * JOBS
        found.append(
            f"{name}: {start:.1f} s and {1000 * per_job:.2f} ms for each job, {expected:.1f} s for {JOBS:,}"
        )
    return [*found, f"target for {JOBS:,} jobs: {DRY_RUN:g} s"]


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
    repeats, rounds, sizes = (1, 1, (1, 2)) if chosen.quick else (3, 2, (11, 23, 46, 95))
    whole = Table("Seconds of a dry run against the number of jobs (median)")
    starts = Table(
        "Seconds from typing to working (fresh processes, median)",
        notes=[f"target for parsing: {PARSING:g} s"],
    )
    yield from (whole, starts)
    counts: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing = (SNAKEFILES["replearn"], folder, study(1), "--list")
        snakemake(*listing)
        listed = [snakemake(*listing)[0] for _ in range(repeats)]
        starts.rows.append(
            Row("parsing the workflow (snakemake --list)", {"time": median(listed)}, "s")
        )
        version = [sys.executable, "-m", "snakemake", "--version"]
        bare = [_timed(version, folder)[0] for _ in range(repeats)]
        starts.rows.append(
            Row("of it, Snakemake's own start (--version)", {"time": median(bare)}, "s")
        )
        for seeds in one_by_one(sizes, "dry runs"):
            count, row = dry_runs(folder, seeds, rounds)
            counts.append(count)
            whole.rows.append(row)
        whole.notes.extend(lines(counts, whole.rows))
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
