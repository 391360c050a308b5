"""Several trainings on one device at once against one after the other: does sharing pay?

    python -m benchmarks.packing

On a GPU each training is a process of its own, as with `jobs_per_gpu`. On CPUs the cores are divided: one
training with all of them against one for each core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.harness import Row, Table, one_by_one, options, run
from benchmarks.pairs import abba, in_fresh_process, paired_ratio
from benchmarks.training import Case, Contest, cases
from replearn.allocator import keep_freed_memory
from replearn.errors import UserError

SETTLED = 2
"""Epochs before the clock starts."""
GIVEN_UP = "given up"
"""The file that tells trainings that wait for the others that it is in vain."""
READY = ".ready"
"""How the files end that tell of trainings that could start."""


def together(case: Case, device: str, jobs: int, threads: int, seconds: float) -> float:
    """Images per second of `jobs` trainings in processes of their own, all running at once.

    Raises:
        UserError: one of them failed.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        waiting = [
            pool.submit(
                in_fresh_process,
                "benchmarks.packing:one_of_several",
                case=[getattr(case, name) for name in case.__slots__],
                device=device,
                threads=threads,
                jobs=jobs,
                folder=folder,
                seconds=seconds,
            )
            for _ in range(jobs)
        ]
        try:
            return sum(job.result() for job in as_completed(waiting))
        except (UserError, KeyboardInterrupt):
            (Path(folder) / GIVEN_UP).touch()
            raise


def one_of_several(
    case: list[object], device: str, threads: int, jobs: int, folder: str, seconds: float
) -> float:
    """Images per second of this process between the moment when all are ready and `seconds` later."""
    import torch

    keep_freed_memory()  # as the `replearn` command does
    torch.set_num_threads(threads)
    place = Path(folder)
    with tempfile.TemporaryDirectory() as own:
        contest = Contest(Case(*case), device, Path(own))  # type: ignore[arg-type]
        for _ in range(SETTLED):
            contest.end_to_end()
        (place / f"{os.getpid()}{READY}").touch()
        while len(list(place.glob(f"*{READY}"))) < jobs:
            if (place / GIVEN_UP).exists():
                raise UserError("another of the trainings failed, or all were interrupted")
            time.sleep(0.01)
        epochs, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            contest.end_to_end()
            epochs += 1
        return epochs * contest.images / (time.perf_counter() - start)


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    cores = len(os.sched_getaffinity(0))
    seconds, rounds = (1.0, 1) if chosen.quick else (10.0, 2)
    wanted = [case for case in cases(chosen.device, chosen.quick) if case.method == "simclr"]
    wanted = wanted[:1] if chosen.quick else wanted
    if chosen.device == "cuda":
        wanted += [replace(case, batch_size=128) for case in wanted if case.batch_size > 128]
    table = Table(
        "Images per second of all trainings at once ÷ of one alone",
        notes=[f"processes of their own, {seconds:.0f} s each, {rounds} rounds of A B B A"],
    )
    yield table
    at_once = (2, 4) if chosen.device == "cuda" else (cores,)
    for case, jobs in one_by_one(list(product(wanted, at_once)), "packing"):
        threads = 1 if chosen.device == "cuda" else max(1, cores // jobs)
        many, one = abba(
            partial(together, case, chosen.device, jobs, threads, seconds),
            partial(together, case, chosen.device, 1, cores, seconds),
            rounds=rounds,
        )
        values = {"at once": sum(many) / len(many), "alone": sum(one) / len(one)}
        label = f"{jobs} trainings, {case.encoder}, {case.size}², batch {case.batch_size}"
        table.rows.append(Row(label, values, "images/s", paired_ratio(many, one)))


def main() -> None:
    run("packing", options(__doc__ or "", threads=False).parse_args(), measure)


if __name__ == "__main__":
    main()
