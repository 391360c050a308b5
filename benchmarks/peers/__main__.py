"""The command: equivalence first, then throughput side by side, or the time to an equal accuracy."""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import get_args

from benchmarks.harness import Row, Table, not_negative, options, positive, positive_seconds, run
from benchmarks.pairs import abba, in_fresh_process, paired_ratio
from benchmarks.peers.images import lay_out, prepared
from benchmarks.peers.task import Recipe, Task
from replearn.progress import Progress

OURS = "benchmarks.peers.ours:throughput"
THEIRS = "benchmarks.peers.theirs:throughput"
SHIPPED = "benchmarks.peers.theirs:throughput_as_shipped"
SHIPPED_BATCH, SHIPPED_WORKERS = 128, 8
"""What lightly's CIFAR-10 script sets."""

PEERS = ("lightly", "pytorch_lightning")
RACE = {"epochs": 200, "batch_size": 512, "every": 1, "recipe": "own", "only_ours": False}
"""The options that go with --to-knn only, and what they are if absent."""

ENCODERS = ("resnet18", "convnet")
TARGETS = {("cpu", "resnet18"): 1.2, ("cpu", "convnet"): 2.0, ("cuda", "resnet18"): 1.5}
SHIPPED_TARGET = {"cuda": 3.0}


@dataclass(frozen=True, slots=True)
class Size:
    """How much to measure.

    Attributes:
        train: training images.
        batch_size: images in a step.
        seconds: to time in each run; 0 times one epoch without a look at the rate first.
        rounds: of A B B A.
    """

    train: int
    batch_size: int
    seconds: float
    rounds: int


SIZES = {
    ("cpu", "resnet18"): Size(384, 128, 15, 2),
    ("cpu", "convnet"): Size(2560, 256, 10, 3),
    ("cuda", "resnet18"): Size(50_000, 512, 30, 3),
    ("cuda", "convnet"): Size(50_000, 512, 30, 3),
}
QUICK = Size(16, 8, 0, 1)
PARITY_NOTES = (
    "lightly: JPEG files through its PIL transform in a DataLoader with persistent workers,",
    "contiguous memory, SGD as PyTorch has it by default, no logging, no checkpoints",
    "replearn: images prepared once, views in batches, a study's run with history and checkpoints",
    "both: no evaluation, epochs of the warm-up left out, BatchNorm over both views together",
)
SHIPPED_NOTES = (
    "lightly: its own ResNet-18 (no ReLU after the stem), BatchNorm after the head, one view after",
    f"the other, Lightning's Trainer at its default precision, {SHIPPED_WORKERS} workers that start",
    "anew in each epoch, a checkpoint after each; logs as CSV, without its kNN evaluation",
    'replearn: a study\'s run at precision "auto", bfloat16 on a GPU that has it, float32 on a CPU',
)
VALIDATION = 0.1
"""replearn holds this share of the images back and does not train on it."""


def main() -> None:
    """`python -m benchmarks.peers`."""
    chosen = parsed()
    peers = () if chosen.only_ours else PEERS
    if peers and find_spec("lightly") is None:
        raise SystemExit("error: lightly is not installed\n  Add it to the environment: make peers")
    if chosen.to_knn is None:
        run("peers", chosen, side_by_side, peers=peers)
    else:
        run("peers-to-knn", chosen, to_knn, peers=peers)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or other arguments, with what is absent filled in; ends the program if they clash."""
    parser = options("replearn against lightly: SimCLR on the same image files.")
    parser.add_argument(
        "--images", type=Path, help="folder with train/<class>/ and test/<class>/ of JPEG files"
    )
    parser.add_argument(
        "--encoder", nargs="+", choices=ENCODERS, help="both if absent; with --quick the convnet"
    )
    parser.add_argument("--rounds", type=positive, help="rounds of A B B A")
    parser.add_argument("--train", type=positive, help="training images")
    parser.add_argument("--seconds", type=positive_seconds, help="to time in each run")
    parser.add_argument(
        "--workers",
        type=not_negative,
        help="lightly's loader processes at parity; the best in a first look if absent",
    )
    parser.add_argument(
        "--to-knn", type=share, metavar="ACCURACY", help="time to this kNN accuracy instead"
    )
    race = parser.add_argument_group("with --to-knn")
    race.add_argument(
        "--epochs", type=positive, help=f"at most so many; {RACE['epochs']} if absent"
    )
    race.add_argument(
        "--batch-size", type=positive, help=f"replearn's; {RACE['batch_size']} if absent"
    )
    race.add_argument("--every", type=positive, help="epochs between two looks; 1 if absent")
    race.add_argument(
        "--recipe",
        choices=get_args(Recipe),
        help="what replearn trains with, its own if absent; kobak: the script simclr-cifar10 of D. Kobak; "
        "short: lightly's with half the learning rate, temperature 0.2 and a wider head",
    )
    race.add_argument(
        "--only-ours", action="store_true", default=None, help="do not train lightly beside it"
    )
    parser.add_argument(
        "--compile", choices=["off", "kernels", "graphs"], default="off", help="of replearn's steps"
    )
    chosen = parser.parse_args(arguments)
    for name, default in RACE.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, default)
        elif chosen.to_knn is None:
            parser.error(f"--{name.replace('_', '-')} goes with --to-knn only")
    if chosen.to_knn is not None:
        if not (chosen.images or chosen.quick):
            parser.error("--to-knn needs --images: else made-up images would be measured")
        if len(chosen.encoder or ()) > 1:
            parser.error("--to-knn takes one --encoder")
    return chosen


def share(text: str) -> float:
    """An option's accuracy between 0 and 1."""
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1: a share, 0.847, not 84.7")
    return float(text)


def side_by_side(chosen: argparse.Namespace) -> Iterator[Table]:
    """Views per second of both, with the same parts and each as it is shipped."""
    parity = Table(
        "Parity: the same backbone, head, loss, batch, views, optimiser and precision",
        notes=list(PARITY_NOTES),
    )
    shipped = Table(
        "As shipped: lightly's CIFAR-10 script, and the same recipe as a study's run",
        notes=list(SHIPPED_NOTES),
    )
    yield from (parity, shipped)
    for encoder in chosen.encoder or (ENCODERS[1:] if chosen.quick else ENCODERS):
        size = QUICK if chosen.quick else SIZES[chosen.device, encoder]
        size = replace(
            size,
            rounds=chosen.rounds or size.rounds,
            train=chosen.train or size.train,
            seconds=size.seconds if chosen.seconds is None else chosen.seconds,
        )
        with tempfile.TemporaryDirectory() as folder:
            task = laid_out(Path(folder), chosen, encoder, size)
            parity.notes.extend(
                in_fresh_process("benchmarks.peers.gate:notes", task=task.as_dict())
            )
            parity.rows.append(at_parity(task, size, chosen.workers))
            if encoder == "resnet18":
                task = replace(task, batch_size=min(SHIPPED_BATCH, size.batch_size))
                shipped.rows.append(as_shipped(replace(task, workers=SHIPPED_WORKERS), size))


def laid_out(folder: Path, chosen: argparse.Namespace, encoder: str, size: Size) -> Task:
    """The task, its images laid out below `folder`; `size.train` of them for each side at least."""
    count = math.ceil(size.train / (1 - VALIDATION)) + 20
    images = lay_out(folder / "images", chosen.images, count, size.batch_size)
    return Task(
        images=str(images),
        prepared=str(prepared(images, folder, VALIDATION)),
        encoder=encoder,
        batch_size=size.batch_size,
        warm_up=1,
        epochs=2,
        device=chosen.device,
        threads=chosen.threads or 0,
        compile=chosen.compile,
    )


def at_parity(task: Task, size: Size, workers: int | None) -> Row:
    """Both with equal parts; lightly with as many workers, or with the number that suits it best."""
    tried = candidates(len(os.sched_getaffinity(0))) if size.seconds else [1]
    tried = tried if workers is None else [workers]
    loads = [replace(task, workers=workers) for workers in tried]
    found = first_looks([(THEIRS, load) for load in loads] + [(OURS, task)], size)
    fastest = max(range(len(tried)), key=lambda place: found[place])
    rates = ", ".join(f"{n}: {rate:,.0f}" for n, rate in zip(tried, found, strict=False))
    looked = f", the best in a first look (workers: views/s): {rates}" if size.seconds else ""
    return compared(
        f"{task.encoder}, batch {task.batch_size}",
        (OURS, lasting(task, size, found[-1])),
        (THEIRS, lasting(loads[fastest], size, found[fastest])),
        size.rounds,
        TARGETS.get((task.device, task.encoder)),
        f"lightly with {tried[fastest]} worker(s){looked}",
    )


def as_shipped(task: Task, size: Size) -> Row:
    """lightly's script with its own numbers, replearn with the same recipe."""
    theirs, ours = first_looks([(SHIPPED, task), (OURS, task)], size)
    return compared(
        f"resnet18, batch {task.batch_size}",
        (OURS, lasting(task, size, ours)),
        (SHIPPED, lasting(task, size, theirs)),
        size.rounds,
        SHIPPED_TARGET.get(task.device),
    )


def first_looks(runs: Sequence[tuple[str, Task]], size: Size) -> list[float]:
    """Views per second of one run each, to choose by; zeros if nothing is to be chosen."""
    if not size.seconds:
        return [0.0] * len(runs)
    found = []
    with Progress(len(runs), f"{runs[0][1].encoder}: first looks", "runs") as progress:
        for function, task in runs:
            found.append(in_fresh_process(function, task=task.as_dict()))
            progress.advance()
    return found


def compared(
    case: str,
    ours: tuple[str, Task],
    theirs: tuple[str, Task],
    rounds: int,
    target: float | None,
    note: str = "",
) -> Row:
    """A row of A B B A, each measurement in a process of its own."""
    with Progress(4 * rounds, case, "runs") as progress:

        def timed(function: str, task: Task) -> float:
            found: float = in_fresh_process(function, task=task.as_dict())
            progress.advance()
            return found

        a, b = abba(partial(timed, *ours), partial(timed, *theirs), rounds)
    values = {"replearn": median(a), "lightly": median(b)}
    return Row(case, values, "views/s", paired_ratio(a, b), target, note)


def lasting(task: Task, size: Size, rate: float) -> Task:
    """The task with enough epochs after the warm-up to fill the seconds to be timed at `rate` views/s."""
    epoch = 2 * (size.train // task.batch_size) * task.batch_size
    return replace(task, epochs=task.warm_up + max(1, math.ceil(size.seconds * rate / epoch)))


def candidates(cores: int) -> list[int]:
    """Numbers of workers to try: none, one, half the cores, all."""
    return sorted({0, 1, max(1, cores // 2), cores})


def to_knn(chosen: argparse.Namespace) -> Iterator[Table]:
    """Training time until the features reach an accuracy, each side with its own recipe."""
    target = chosen.to_knn
    names = {"own": "its own", "lightly": "lightly's", "kobak": "Kobak's", "short": "the short"}
    table = Table(
        f"Training time to a kNN accuracy of {target:g}, evaluation not counted",
        notes=[
            f"replearn with {names[chosen.recipe]} recipe, compile: {chosen.compile}",
            "kNN with 200 neighbours and temperature 0.1 on the test images",
        ],
    )
    yield table
    (encoder,) = chosen.encoder or ["convnet" if chosen.quick else "resnet18"]
    train, test = (128, 64) if chosen.quick else (50_000, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        images = lay_out(Path(folder) / "images", chosen.images, train, test)
        # As few images as the prepared format allows are held back from the training.
        data = prepared(images, Path(folder), 0.01)
        ours = Task(
            images=str(images),
            prepared=str(data),
            encoder=encoder,
            batch_size=chosen.batch_size,
            warm_up=0,
            epochs=chosen.epochs,
            device=chosen.device,
            threads=chosen.threads or 0,
            compile=chosen.compile,
        )
        theirs = replace(ours, batch_size=SHIPPED_BATCH, workers=SHIPPED_WORKERS)
        if chosen.quick:
            ours, theirs = (replace(task, batch_size=32) for task in (ours, theirs))
        sides = (("replearn", "our_curve", ours), ("lightly", "their_curve", theirs))
        sides = sides[:1] if chosen.only_ours else sides
        curves: dict[str, list[list[float]]] = {}
        try:
            for name, function, task in sides:
                curves[name] = in_fresh_process(
                    f"benchmarks.peers.knn:{function}",
                    show=not chosen.quick,
                    task=task.as_dict(),
                    target=target,
                    every=chosen.every,
                    **({"recipe": chosen.recipe} if name == "replearn" else {}),
                )
        finally:
            # Of the first side too, when the second is interrupted.
            if curves:
                fill(table, curves, target)


def fill(table: Table, curves: dict[str, list[list[float]]], target: float) -> None:
    """Say in the table who was there when, from curves of (epoch, seconds, accuracy)."""
    ends = {name: curve[-1] for name, curve in curves.items()}
    table.rows.append(Row("time to the last epoch", {n: end[1] for n, end in ends.items()}, "s"))
    table.rows.append(Row("epochs", {n: end[0] for n, end in ends.items()}, "epochs"))
    best = {name: max(point[2] for point in curve) for name, curve in curves.items()}
    table.rows.append(Row("best accuracy", best, ""))
    if len(curves) == 2 and all(accuracy >= target for accuracy in best.values()):
        ratio = paired_ratio([ends["lightly"][1]], [ends["replearn"][1]])
        table.rows[0] = replace(table.rows[0], case="time to the accuracy", ratio=ratio)
    else:
        late = [name for name, accuracy in best.items() if accuracy < target]
        if late:
            table.notes.append(f"not reached by {' and '.join(late)}; no ratio")
    for name, curve in curves.items():
        points = ", ".join(f"{epoch}: {accuracy:.2%}" for epoch, _, accuracy in curve)
        table.notes.append(f"{name}, accuracy after so many epochs: {points}")


if __name__ == "__main__":
    main()
