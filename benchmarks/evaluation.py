"""Exact kNN and the linear probe's path, beside scikit-learn on the same features.

    python -m benchmarks.evaluation                  # on the CPU, some five minutes
    python -m benchmarks.evaluation --device cuda    # replearn on a GPU, scikit-learn on the CPU

Features are made up: variances that fall like 1/j, as those of trained encoders about do, and a mean for
each class. Ours are on the device before the clock starts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.harness import Row, Table, one_by_one, options, run
from benchmarks.pairs import abba, paired_ratio, seconds
from replearn.evaluate.knn import knn_predict
from replearn.evaluate.linear import select_strength
from replearn.evaluate.protocol import KnnProtocol, LinearProtocol

CLASSES = 10
FULL = {"rows": 50_000, "queries": 10_000, "width": 512}
MIDDLE = {"rows": 10_000, "queries": 2_000, "width": 128}
QUICK = {"rows": 3_000, "queries": 600, "width": 64}
TARGETS = {"cpu": (5.0, 180.0), "cuda": (0.2, 20.0)}
"""Seconds that kNN and the path may take."""
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


def knn(task: Task, k: int, device: str, rounds: int) -> Outcome:
    """Exact nearest neighbours with the main protocol's vote; theirs is the brute-force search."""
    protocol = KnnProtocol()
    rows, labels, queries = (x.to(device) for x in (task.rows, task.labels, task.queries))
    theirs = KNeighborsClassifier(
        k,
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
            k=k,
            temperature=protocol.temperature,
        )

    def reference() -> Tensor:
        return torch.from_numpy(theirs.predict(task.queries.numpy()))

    difference = (ours().cpu() != reference()).double().mean().item()
    return Outcome(*_timed(ours, reference, device, rounds), difference)


def path(task: Task, device: str) -> Sequence[float]:
    """Accuracies of the probe at all strengths of the protocol, however soon it would stop."""
    protocol = LinearProtocol()
    rows, labels, queries, answers = (
        x.to(device) for x in (task.rows, task.labels, task.queries, task.answers)
    )
    return select_strength(
        rows,
        labels,
        queries,
        answers,
        classes=CLASSES,
        strengths=protocol.strengths,
        patience=protocol.strength_count,
        tolerance=protocol.path_tolerance,
        max_iterations=protocol.max_iterations,
    ).accuracies


def probe_path(task: Task, device: str, rounds: int) -> Outcome:
    """The path over all strengths; theirs is extrapolated from `COMPARED` of them.

    Each of theirs starts from zero, at scikit-learn's default tolerance. With hardly any penalty
    that ends about 1 % above the minimum, so that a few accuracies differ: ours goes further.
    """
    strengths = LinearProtocol().strengths
    chosen = np.linspace(0, len(strengths) - 1, COMPARED).astype(int)
    # Both standardise; scikit-learn's scaler takes no time worth counting.
    mean, deviation = task.rows.mean(0), task.rows.std(0, correction=0)
    fitted, asked = (((x - mean) / deviation).numpy() for x in (task.rows, task.queries))

    def reference() -> Sequence[float]:
        accuracies = []
        for i in chosen:
            model = LogisticRegression(C=strengths[i], max_iter=10_000)
            model.fit(fitted, task.labels.numpy())
            accuracies.append(float((model.predict(asked) == task.answers.numpy()).mean()))
        return accuracies

    found = np.array(path(task, device))[chosen]
    difference = float(np.abs(found - np.array(reference())).max())
    own, theirs = _timed(partial(path, task, device), reference, device, rounds)
    scale = len(strengths) / len(chosen)
    return Outcome(own, [scale * each for each in theirs], difference)


def _timed(
    ours: Callable[[], object], theirs: Callable[[], object], device: str, rounds: int
) -> list[list[float]]:
    return abba(partial(seconds, ours, device), partial(seconds, theirs, device), rounds=rounds)


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    device, rounds = chosen.device, 1
    large, middle = (
        (made_up(**QUICK), made_up(**QUICK))
        if chosen.quick
        else (
            made_up(**FULL),
            made_up(**MIDDLE),
        )
    )
    seconds_knn, seconds_path = TARGETS[device]
    table = Table(
        "Seconds of evaluations, scikit-learn's ÷ ours",
        notes=[
            f"targets: kNN {seconds_knn:g} s, path {seconds_path:g} s at the full size",
            f"scikit-learn's path is extrapolated from {COMPARED} of the strengths",
        ],
    )
    yield table
    with threadpool_limits(torch.get_num_threads()):
        works = [
            *((f"exact kNN, k = {k}", large, partial(knn, large, k)) for k in (20, 200)),
            ("probe path", middle, partial(probe_path, middle)),
        ]
        for name, task, work in one_by_one(works, "beside scikit-learn"):
            table.rows.append(_row(name, task, work(device, rounds)))
        took = [seconds(partial(path, large, device), device) for _ in range(2)]
        label = f"probe path, {_size(large)}"
        table.rows.append(Row(label, {"replearn": median(took)}, "s"))


def _row(name: str, task: Task, outcome: Outcome) -> Row:
    values = {"scikit-learn": median(outcome.theirs), "replearn": median(outcome.ours)}
    ratio = paired_ratio(outcome.theirs, outcome.ours)
    note = f"the two differ in {outcome.difference:.2%}"
    return Row(f"{name}, {_size(task)}", values, "s", ratio, note=note)


def _size(task: Task) -> str:
    return f"{len(task.rows) // 1000}k × {task.rows.shape[1]}"


def main() -> None:
    run("evaluation", options(__doc__ or "").parse_args(), measure, peers=["scikit-learn"])


if __name__ == "__main__":
    main()
