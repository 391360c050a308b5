"""Training from end to end against its model alone: what do data, augmentation and bookkeeping cost?

    python -m benchmarks.training

End to end is `replearn.train.train`, with its history and its checkpoints. The model alone makes the same
steps (forward, backward, optimiser, averages) on batches that lie on the device already. A training that is
timed writes one checkpoint, at its end: after few steps of many parameters that is most of the difference.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks.harness import Row, Table, one_by_one, options, positive, run
from benchmarks.pairs import abba, paired_ratio, seconds
from replearn.allocator import keep_freed_memory
from replearn.batches import Augmentation, TrainingData, epoch_batches
from replearn.build import build_method
from replearn.checkpoint import Checkpoint
from replearn.config import RunConfig, parse_study
from replearn.data.prepared import Manifest
from replearn.engine import Engine
from replearn.errors import UserError
from replearn.history import History
from replearn.images import ResidentImages
from replearn.methods.base import Batch, Method
from replearn.methods.options import METHODS
from replearn.planning import plan
from replearn.pretrain import training_budget, training_optimizer
from replearn.progress import Progress
from replearn.train import train

TARGET = {"cpu": 0.90, "cuda": 0.95}
TRAINED = [name for name, o in METHODS.items() if o.trained and "teacher" not in o.model_fields]
"""Methods that need no other run's encoder to learn from."""
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One training to time."""

    encoder: str
    method: str
    size: int
    channels: int
    batch_size: int
    steps: int


def cases(device: str, quick: bool) -> list[Case]:
    """The small encoder on grey 28×28 and colour 32×32 images; ResNet-18 on the latter."""
    small, large = (4, 2) if quick else (120, 4) if device == "cpu" else (2000, 1000)
    batch = {"cpu": 64, "cuda": 512}[device]
    names = ("simclr", "dino") if quick else TRAINED
    grey = [Case("convnet", name, 28, 1, 128, small) for name in names]
    colour = [Case("convnet", name, 32, 3, 128, small) for name in ("simclr", "byol", "dino")]
    deep = ("simclr",) if device == "cpu" else ("simclr", "supcon", "byol", "dino")
    return [*grey, *colour, *(Case("resnet18", name, 32, 3, batch, large) for name in deep)]


def configuration(case: Case, **training: object) -> RunConfig:
    """The run of a case, with the recipe that a study would give it."""
    study = {
        "name": "benchmark",
        "datasets": {"cifar10": {}},
        "seeds": [0],
        "encoder": {"name": case.encoder, "width": 32},
        "training": {"epochs": 1, "batch_size": case.batch_size, **training},
        "methods": {case.method: {}},
    }
    return plan(parse_study(study, "benchmark")).runs[0].config


def manifest(case: Case) -> Manifest:
    """What a prepared dataset of the case's shape would say."""
    return Manifest(
        name="random",
        source="random",
        digest="0" * 64,
        licence="",
        citation="",
        classes=tuple(map(str, range(CLASSES))),
        channels=case.channels,
        height=case.size,
        width=case.size,
        splits={},
        files={},
        mean=(0.5,) * case.channels,
        std=(0.25,) * case.channels,
        captions="templates",
        templates=("a photo of a {}.",),
        conversions=(),
        validation=0.1,
    )


def random_data(case: Case, device: str) -> TrainingData:
    """Random images, labels and prompts on the device."""
    random = torch.Generator(device).manual_seed(0)

    def drawn(low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.randint(low, high, shape, generator=random, dtype=dtype, device=device)

    count = case.batch_size * case.steps
    return TrainingData(
        images=ResidentImages(
            drawn(0, 256, count, case.channels, case.size, case.size, dtype=torch.uint8)
        ),
        mean=(0.5,) * case.channels,
        std=(0.25,) * case.channels,
        labels=drawn(0, CLASSES, count),
        tokens=drawn(1, 400, CLASSES, 4, 16),
    )


class Contest:
    """One method that can be trained either way, from end to end or on batches that are there already."""

    def __init__(self, case: Case, device: str, folder: Path, **training: object) -> None:
        self.device, self.folder = device, folder
        self.images = case.batch_size * case.steps
        config = configuration(case, **training)
        self.engine = Engine(config.training.engine == "fast", config.training.compile)
        self.method: Method = self.engine.settle(build_method(config, manifest(case)), device)
        self.data = random_data(case, device)
        self.budget = training_budget(config, device)
        compiled = self.engine.compiles_views(device)
        self.augmentation = Augmentation(config.views, 0, compiled=compiled)
        self.optimizer = training_optimizer(config, self.method, lr=1e-4, fused=self.engine.fast)
        self.loss_of = self.engine.loss_of(self.method.train())
        self.batches = self._batches(case)
        self.runs = 0

    def end_to_end(self) -> None:
        """One epoch of the training loop."""
        self.runs += 1
        place = self.folder / str(self.runs)
        progress = Progress(0, "benchmark", stream=io.StringIO(), silent=True)
        train(
            self.method,
            self.data,
            self.optimizer,
            budget=self.budget,
            augmentation=self.augmentation,
            checkpoint=Checkpoint(place / "checkpoint.safetensors", str(self.runs)),
            history=History(place / "history.jsonl", progress),
            on_epoch=lambda epoch: {},
            engine=self.engine,
        )

    def model_alone(self) -> None:
        """The same number of steps on batches made beforehand."""
        for number, batch in enumerate(self.batches):
            self.method.before_step(number / len(self.batches))
            with torch.autocast(
                self.device, self.budget.precision, self.budget.precision != torch.float32
            ):
                loss = self.loss_of(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            self.optimizer.step()
            self.method.after_step((number + 1) / len(self.batches))

    def _batches(self, case: Case) -> list[Batch]:
        order = torch.arange(min(case.steps, 8) * case.batch_size)
        made = list(
            epoch_batches(
                self.data,
                order,
                case.batch_size,
                self.augmentation,
                epoch=0,
                needs=self.method.needs,
            )
        )
        return (made * case.steps)[: case.steps]


def label(case: Case) -> str:
    """The case in words."""
    return f"{case.method}, {case.encoder}, {case.size}²×{case.channels}, batch {case.batch_size}"


def compared(case: Case, device: str, rounds: int, **training: object) -> Row:
    """Images per second both ways, and their ratio over A B B A rounds."""
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(case, device, Path(folder), **training)
        ways: list[Callable[[], float]] = []
        for work in (contest.end_to_end, contest.model_alone):
            work()
            ways.append(partial(_rate, work, contest.images, device))
        whole, alone = abba(*ways, rounds=rounds)
    ratio = paired_ratio(whole, alone)
    values = {"end to end": median(whole), "model alone": median(alone)}
    return Row(label(case), values, "images/s", ratio, TARGET[device])


def switched(case: Case, device: str, rounds: int, ways: dict[str, dict[str, object]]) -> Row:
    """Images per second of whole epochs under two settings of the engine."""
    # Compiled steps of earlier cases count towards a limit, beyond which nothing is compiled.
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as folder:
        timed = []
        for name, training in ways.items():
            contest = Contest(case, device, Path(folder) / name, **training)
            contest.end_to_end()
            timed.append(partial(_rate, contest.end_to_end, contest.images, device))
        first, second = abba(*timed, rounds=rounds)
    values = dict(zip(ways, (median(first), median(second)), strict=True))
    return Row(label(case), values, "images/s", paired_ratio(first, second))


def _rate(work: Callable[[], object], images: int, device: str) -> float:
    return images / seconds(work, device)


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    keep_freed_memory()  # as the `replearn` command does
    rounds = 1 if chosen.quick else chosen.rounds
    found = [
        replace(case, steps=chosen.steps or case.steps)
        for case in cases(chosen.device, chosen.quick)
        if all(word in label(case) for word in chosen.only)
    ]
    if not found:
        names = "\n  ".join(label(case) for case in cases(chosen.device, chosen.quick))
        raise UserError(
            "no case has all of these words in its name",
            where=f"--only {' '.join(chosen.only)}",
            hint=f"The cases:\n  {names}",
        )
    whole = Table(
        "Training from end to end ÷ its model alone",
        notes=[f"random images; {rounds} rounds of A B B A in one process"],
    )
    yield whole
    for case in one_by_one(found, "end to end, model alone"):
        whole.rows.append(compared(case, chosen.device, rounds))
    deep = [case for case in found if case.encoder == "resnet18"]
    wanted = [*(c for c in found if c.method in ("byol", "dino") and c.channels == 1), *deep]
    ways: dict[str, dict[str, object]] = {"fast": {}, "plain": {"engine": "plain"}}
    fast = Table("The fast engine ÷ the plain one")
    yield fast
    for case in one_by_one(wanted, "fast, plain"):
        fast.rows.append(switched(case, chosen.device, rounds, ways))
    for setting in chosen.compile:
        ways = {setting: {"compile": setting}, "off": {}}
        compiled = Table(f"torch.compile, {setting} ÷ without", notes=["compilation not counted"])
        yield compiled
        for case in one_by_one(wanted, setting):
            compiled.rows.append(switched(case, chosen.device, rounds, ways))


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of A B B A")
    parser.add_argument(
        "--only", nargs="*", default=[], help="cases with these words in their names"
    )
    parser.add_argument("--steps", type=positive, help="of each training that is timed")
    parser.add_argument(
        "--compile",
        nargs="*",
        choices=["kernels", "graphs"],
        default=[],
        help="also measure torch.compile (minutes of compilation)",
    )
    run("training", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
