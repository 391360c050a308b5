"""How long kNN and the linear probe's path take, beside scikit-learn on the same features.

    python -m benchmarks.evaluation --threads 2      # on the CPU, some ten minutes
    python -m benchmarks.evaluation --device cuda    # replearn on a GPU, scikit-learn on the CPU
    python -m benchmarks.evaluation --quick          # a small size, to see that it works

Features are made up: variances that fall like 1/j, as those of trained encoders about do, and a
mean for each class. Ours are on the device before the clock starts. Pairs are run in the order
A B B A; times are medians, ratios medians over pairs. How far the two disagree stands beside them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from replearn.evaluate.knn import knn_predict
from replearn.evaluate.linear import select_strength
from replearn.evaluate.protocol import KnnProtocol, LinearProtocol

CLASSES = 10
FULL = {"rows": 50_000, "queries": 10_000, "width": 512}
QUICK = {"rows": 3_000, "queries": 600, "width": 64}
COMPARED = 4
"""At so many of the strengths scikit-learn is fitted; all 45 would take it an hour."""


@dataclass(frozen=True, slots=True)
class Task:
    """Features to fit or search [n, d] and to classify [m, d], float32 on the CPU, with labels."""

    rows: Tensor
    labels: Tensor
    queries: Tensor
    answers: Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds of each run, and what the two disagree about.

    Attributes:
        ours, theirs: in pairs.
        difference: share of predictions that differ (kNN), or the largest difference of an
            accuracy (probe).
    """

    ours: list[float]
    theirs: list[float]
    difference: float

    @property
    def ratio(self) -> float:
        """How many times longer theirs takes, the median over pairs."""
        return median(b / a for a, b in zip(self.ours, self.theirs, strict=True))


def made_up(rows: int, queries: int, width: int, seed: int = 0) -> Task:
    """Features with the spectrum 1/j, in a random basis, and classes that overlap."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (rows + queries,), generator=random)
    means = 0.3 * torch.randn(CLASSES, width, generator=random)
    noise = torch.randn(rows + queries, width, generator=random)
    deviations = torch.arange(1, width + 1).float().rsqrt()
    basis = torch.linalg.qr(torch.randn(width, width, generator=random))[0]
    features = (noise + means[labels]) * deviations @ basis + 0.3
    return Task(features[:rows], labels[:rows], features[rows:], labels[rows:])


def knn(task: Task, *, device: str, pairs: int) -> Outcome:
    """Exact nearest neighbours with the main protocol's vote; theirs is the brute-force search."""
    protocol = KnnProtocol()
    rows, labels, queries = (x.to(device) for x in (task.rows, task.labels, task.queries))
    theirs = KNeighborsClassifier(
        protocol.k,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp(-distance / protocol.temperature),
    ).fit(task.rows.numpy(), task.labels.numpy())

    def ours() -> Tensor:
        return knn_predict(
            rows,
            labels,
            queries,
            classes=CLASSES,
            k=protocol.k,
            temperature=protocol.temperature,
        )

    def reference() -> Tensor:
        return torch.from_numpy(theirs.predict(task.queries.numpy()))

    difference = (ours().cpu() != reference()).double().mean().item()
    return Outcome(*timed_pairs(ours, reference, device=device, pairs=pairs), difference)


def probe_path(task: Task, *, device: str, pairs: int) -> Outcome:
    """The path over all strengths; theirs is extrapolated from `COMPARED` of them.

    Each of theirs starts from zero, at scikit-learn's default tolerance. With hardly any penalty
    that ends about 1 % above the minimum, so that a few accuracies differ: ours goes further.
    """
    protocol = LinearProtocol()
    rows, labels, queries, answers = (
        x.to(device) for x in (task.rows, task.labels, task.queries, task.answers)
    )
    chosen = np.linspace(0, len(protocol.strengths) - 1, COMPARED).astype(int)
    # Both standardise; scikit-learn's scaler takes no time worth counting.
    mean, deviation = task.rows.mean(0), task.rows.std(0, correction=0)
    fitted, asked = (((x - mean) / deviation).numpy() for x in (task.rows, task.queries))

    def ours() -> Sequence[float]:
        return select_strength(
            rows,
            labels,
            queries,
            answers,
            classes=CLASSES,
            strengths=protocol.strengths,
            tolerance=protocol.path_tolerance,
            max_iterations=protocol.max_iterations,
        ).accuracies

    def reference() -> Sequence[float]:
        accuracies = []
        for i in chosen:
            model = LogisticRegression(C=protocol.strengths[i], max_iter=10_000)
            model.fit(fitted, task.labels.numpy())
            accuracies.append(float((model.predict(asked) == task.answers.numpy()).mean()))
        return accuracies

    found = np.array(ours())[chosen]
    difference = float(np.abs(found - np.array(reference())).max())
    own, theirs = timed_pairs(ours, reference, device=device, pairs=pairs)
    scale = len(protocol.strengths) / len(chosen)
    return Outcome(own, [scale * seconds for seconds in theirs], difference)


def timed_pairs(
    a: Callable[[], object], b: Callable[[], object], *, device: str, pairs: int
) -> tuple[list[float], list[float]]:
    """Seconds of a and b, run in the order A B B A …, so that a drift of the machine cancels."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            seconds[which].append(timed((a, b)[which], device))
    return seconds


def timed(task: Callable[[], object], device: str) -> float:
    """Seconds until the device has finished."""
    _synchronise(device)
    started = time.perf_counter()
    task()
    _synchronise(device)
    return time.perf_counter() - started


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=2, help="timed runs of each")
    parser.add_argument("--quick", action="store_true", help="a small size")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = QUICK if arguments.quick else FULL
    task = made_up(**size)
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(
        f"{size['rows']:,} rows, {size['queries']:,} queries, {size['width']} features,"
        f" {CLASSES} classes; replearn on {where}, {arguments.threads} threads,"
        f" {arguments.pairs} pairs"
    )
    print(f"{'':32s}{'replearn':>10s}{'scikit-learn':>14s}{'ratio':>8s}{'differ':>10s}")
    with threadpool_limits(arguments.threads):
        for name, benchmark in (
            ("exact kNN", knn),
            (f"probe path, {LinearProtocol().strength_count} strengths *", probe_path),
        ):
            outcome = benchmark(task, device=arguments.device, pairs=arguments.pairs)
            print(
                f"{name:32s}{median(outcome.ours):8.2f} s{median(outcome.theirs):12.2f} s"
                f"{outcome.ratio:8.1f}{outcome.difference:10.2%}"
            )
    print(
        f"* scikit-learn's seconds are extrapolated from {COMPARED} of the strengths, evenly spaced"
        " in log C.\n  differ: share of predictions (kNN), largest difference of an accuracy (path)"
    )


if __name__ == "__main__":
    main()
