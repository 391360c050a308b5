"""Paired timing: A B B A, so that a machine that slows down or speeds up hits both alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from replearn.errors import UserError
from replearn.provenance import CHECKOUT

RESAMPLES = 10_000
LEVEL = 0.95
FEWEST = 6
"""Pairs from which on there is an interval; resampling fewer covers much less than `LEVEL`."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of paired ratios, and how far to trust it.

    Attributes:
        median: of the pairs.
        low, high: bootstrap interval of the median; of fewer than `FEWEST` pairs the least and the largest.
        pairs: the ratios, in the order they were measured.
    """

    median: float
    low: float
    high: float
    pairs: tuple[float, ...]

    def __str__(self) -> str:
        if len(self.pairs) == 1:
            return f"{self.median:.2f} (one pair)"
        if len(self.pairs) < FEWEST:
            return f"{self.median:.2f} ({len(self.pairs)} pairs, {self.low:.2f} to {self.high:.2f})"
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def paired_ratio(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Ratio:
    """Median of aᵢ / bᵢ and a percentile bootstrap interval over the pairs, or their range if they are few.

    Args:
        a, b: positive measurements in the order they were made, a[i] next to b[i].
        seed: of the bootstrap.

    Raises:
        ValueError: there are no pairs, or not as many of one as of the other.
    """
    if not a or len(a) != len(b):
        raise ValueError(f"pairs need as many of one as of the other, not {len(a)} and {len(b)}")
    pairs = np.asarray(a, dtype=np.float64) / np.asarray(b, dtype=np.float64)
    if len(pairs) < FEWEST:
        low, high = pairs.min(), pairs.max()
    else:
        rows = np.random.default_rng(seed).integers(len(pairs), size=(RESAMPLES, len(pairs)))
        tails = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
        low, high = np.percentile(np.median(pairs[rows], axis=1), tails)
    return Ratio(float(np.median(pairs)), float(low), float(high), tuple(pairs.tolist()))


def abba(
    a: Callable[[], float], b: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Measure A B B A in each of `rounds` rounds: twice as many values of each, in pairs."""
    of_a, of_b = there_and_back([a, b], rounds)
    return of_a, of_b


def there_and_back(contestants: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """`abba` for any number of contestants, A B C C B A: the values of each, two for each round."""
    values: list[list[float]] = [[] for _ in contestants]
    there = list(zip(contestants, values, strict=True))
    for _ in range(rounds):
        for contestant, found in [*there, *reversed(there)]:
            found.append(contestant())
    return values


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """How long `work` takes, the device's queue drained before and after."""
    _drain(device)
    start = time.perf_counter()
    work()
    _drain(device)
    return time.perf_counter() - start


def rate(work: Callable[[], object], units: int, at_least: float, device: str = "cpu") -> float:
    """Units per second of `work`, which does `units` of them: one run to warm up, then `at_least` seconds."""
    expected = max(seconds(work, device), 1e-6)
    while True:
        repeats = max(1, round(at_least / expected))
        took = seconds(partial(_repeat, work, repeats), device)
        if took >= at_least / 2:
            return units * repeats / took
        expected = took / repeats


def in_fresh_process(function: str, *, show: bool = False, **arguments: Any) -> Any:
    """The result of `function` ("module:name") called with `arguments` in a new Python process.

    Arguments and result travel as JSON. What the process writes is shown only if it fails, or all along
    if `show` is true.

    Raises:
        UserError: the process failed; with the end of what it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        script = "from benchmarks.pairs import _answer; _answer()"
        call = [sys.executable, "-c", script, function, json.dumps(arguments), str(answer)]
        path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            call,
            stdin=subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            text=True,
            env=environment,
            check=False,
        )
        if done.returncode or not answer.is_file():
            raise UserError(
                f"the measuring process ended with status {done.returncode}",
                where=function,
                hint="\n  ".join((done.stdout or "").splitlines()[-15:]),
            )
        return json.loads(answer.read_text(encoding="utf-8"))


def _answer() -> None:
    """The other side of `in_fresh_process`."""
    function, arguments, answer = sys.argv[1:]
    module, _, name = function.partition(":")
    try:
        result = getattr(import_module(module), name)(**json.loads(arguments))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


def _repeat(work: Callable[[], object], repeats: int) -> None:
    for _ in range(repeats):
        work()


def _drain(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
