"""How long until a kNN classifier on the features reaches an accuracy: both sides with their own recipe."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.task import MEAN, STD, Recipe, Task, limit_threads
from replearn.allocator import keep_freed_memory
from replearn.augment import clean
from replearn.data import PartName, PreparedDataset, open_prepared
from replearn.evaluate.knn import knn_predict

K, KNN_TEMPERATURE = 200, 0.1
"""lightly's protocol: a bank of all training images, 200 neighbours."""
CHUNK = 1000


class Reached(Exception):
    """The accuracy is there; the training need not go on."""


@dataclass
class Watch:
    """Accuracy after each epoch on the test images; the time it takes does not count.

    Attributes:
        data: bank and test images.
        device: of the model.
        mean, std: with which the model's images are normalised.
        target: accuracy at which `Reached` is raised.
        every: epochs between two looks; the last epoch has one in any case.
        epochs: of the training.
        curve: (epoch, seconds of training so far, accuracy).
    """

    data: PreparedDataset
    device: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: float
    every: int
    epochs: int
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    resumed: float = 0.0
    trained: float = 0.0
    loaded: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def start(self) -> None:
        """The training begins."""
        self.resumed = self._now()

    def look(self, encoder: nn.Module, epoch: int) -> None:
        """Measure the encoder after `epoch` epochs, if it is time to."""
        if epoch % self.every and epoch != self.epochs:
            return
        self.trained += self._now() - self.resumed
        self.curve.append((epoch, self.trained, self.accuracy(encoder)))
        print(
            f"epoch {epoch}: kNN {self.curve[-1][2]:.2%} after {self.trained:.1f} s of training",
            file=sys.stderr,
        )
        if self.curve[-1][2] >= self.target:
            raise Reached
        self.resumed = self._now()

    @torch.no_grad()
    def accuracy(self, encoder: nn.Module) -> float:
        """Share of the test images that the kNN classifier gets right."""
        training = encoder.training
        encoder.eval()
        bank, bank_labels = self._features(encoder, "train")
        queries, labels = self._features(encoder, "test")
        encoder.train(training)
        predicted = knn_predict(
            bank,
            bank_labels,
            queries,
            classes=len(self.data.manifest.classes),
            k=K,
            temperature=KNN_TEMPERATURE,
        )
        return float((predicted == labels).float().mean())

    def _features(self, encoder: nn.Module, name: PartName) -> tuple[Tensor, Tensor]:
        if name not in self.loaded:
            part = self.data.part(name)
            pixels = torch.from_numpy(np.asarray(part.images))
            self.loaded[name] = pixels, torch.as_tensor(part.labels, device=self.device)
        pixels, labels = self.loaded[name]
        features = [
            encoder(clean(images.to(self.device), None, self.mean, self.std)).flatten(1)
            for images in pixels.split(CHUNK)
        ]
        return torch.cat(features), labels

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def our_curve(
    task: dict[str, Any], target: float, every: int, recipe: Recipe
) -> list[tuple[int, float, float]]:
    """replearn's accuracy over training time, until `target` or the last epoch.

    Args:
        task: what to train.
        target: accuracy.
        every: epochs between two looks.
        recipe: what it trains with.
    """
    from benchmarks.peers.ours import parts_of, planned
    from replearn import pretrain
    from replearn.methods.base import Method

    wanted = Task(**task)
    limit_threads(wanted.threads)
    keep_freed_memory()  # as the `replearn` command does
    data = open_prepared(wanted.prepared)
    manifest = data.manifest
    watch = Watch(data, wanted.device, manifest.mean, manifest.std, target, every, wanted.epochs)

    class Monitor:
        """Stands where a run looks at itself between epochs."""

        def look(self, method: Method, epoch: int) -> dict[str, float]:
            if epoch == 0:
                watch.start()
            else:
                watch.look(method.encoder, epoch)
            return {}

    def build_monitor(*_: object, **__: object) -> Monitor:
        return Monitor()

    pretrain.build_monitor = build_monitor  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as results:
        run = planned(wanted, Path(results), parts_of(recipe, wanted), "auto")
        _until_reached(
            lambda: pretrain.pretrain(run.config, data, run.layout, wanted.device),
        )
    return watch.curve


def their_curve(task: dict[str, Any], target: float, every: int) -> list[tuple[int, float, float]]:
    """lightly's recipe for CIFAR-10, likewise."""
    from benchmarks.peers.theirs import fit

    wanted = Task(**task)
    data = open_prepared(wanted.prepared)
    watch = Watch(data, wanted.device, MEAN, STD, target, every, wanted.epochs)
    _until_reached(lambda: fit(wanted, watch.look, watch.start))
    return watch.curve


def _until_reached(training: Callable[[], None]) -> None:
    try:
        training()
    except Reached:
        return
