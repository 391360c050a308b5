"""A look at the features while they are trained: validation kNN and signs of collapse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from replearn.augment import clean
from replearn.evaluate.collapse import signs
from replearn.evaluate.knn import knn_predict
from replearn.evaluate.verdict import verdict
from replearn.images import chunk_size
from replearn.methods.base import Method

LOOKS = ("feature_std", "rank_me", "effective_rank")
"""Signs of collapse that become curves."""
FATAL = ("complete", "diverged")
"""Verdicts from which a training does not come back."""


@dataclass(frozen=True)
class Monitor:
    """Images that are looked at now and then; they never enter the training's randomness.

    Attributes:
        bank, queries: uint8 [n, c, h, w], training and validation images.
        bank_labels, query_labels: int64 [n], or None for a dataset without labels.
        mean, std: per channel, on the 0–1 scale.
        classes: number of classes.
        every: epochs between two looks.
        supervision: of the method, for the verdict.
    """

    bank: Tensor
    queries: Tensor
    bank_labels: Tensor | None
    query_labels: Tensor | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    every: int
    supervision: str = "none"

    def look(self, method: Method, epoch: int) -> dict[str, float | str | None]:
        """kNN accuracy of the queries, signs of collapse and the verdict on them; empty between looks."""
        if not self.every or epoch % self.every:
            return {}
        queries, projected = self._features(method, self.queries)
        found = signs(queries)
        of_projector = None if projected is None else signs(projected)
        judged = verdict(found, of_projector, supervision=self.supervision)
        values: dict[str, float | str | None] = {name: found.get(name) for name in LOOKS}
        values["verdict"] = judged.status
        if self.bank_labels is not None and self.query_labels is not None and found["finite"]:
            bank, _ = self._features(method, self.bank)
            predicted = knn_predict(bank, self.bank_labels, queries, classes=self.classes)
            values["knn"] = (predicted == self.query_labels).float().mean().item()
        return values

    @torch.no_grad()
    def _features(self, method: Method, images: Tensor) -> tuple[Tensor, Tensor | None]:
        method.eval()
        found = [
            method.embed(clean(part, None, self.mean, self.std))
            for part in images.split(chunk_size(images.shape))
        ]
        h = torch.cat([h for h, _ in found]).float()
        projected = [z for _, z in found if z is not None]
        return h, torch.cat(projected).float() if projected else None


def collapsed(history: Path, looks: int = 2) -> bool:
    """Whether the last looks of a recorded training, after its start, all saw a complete collapse."""
    if not history.is_file():
        return False
    lines = [json.loads(line) for line in history.read_bytes().splitlines()]
    seen = [line["verdict"] for line in lines if "verdict" in line and line["step"]]
    return len(seen) >= looks and all(word in FATAL for word in seen[-looks:])
