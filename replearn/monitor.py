"""A look at the features while they are trained: validation kNN and signs of collapse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replearn.augment import clean
from replearn.evaluate.collapse import feature_std, rank_me
from replearn.evaluate.knn import knn_predict
from replearn.methods.base import Method


@dataclass(frozen=True)
class Monitor:
    """Images that are looked at now and then; they never enter the training's randomness.

    Attributes:
        bank, queries: uint8 [n, c, h, w], training and validation images.
        bank_labels, query_labels: int64 [n], or None for a dataset without labels.
        mean, std: per channel, on the 0–1 scale.
        classes: number of classes.
        every: epochs between two looks.
    """

    bank: Tensor
    queries: Tensor
    bank_labels: Tensor | None
    query_labels: Tensor | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    every: int

    def look(self, method: Method, epoch: int) -> dict[str, float]:
        """kNN accuracy on the queries, and feature_std and rank_me of their features; empty between looks."""
        if not self.every or epoch % self.every:
            return {}
        queries = self._features(method, self.queries)
        values = {"feature_std": feature_std(queries), "rank_me": rank_me(queries)}
        if self.bank_labels is not None and self.query_labels is not None:
            bank = self._features(method, self.bank)
            predicted = knn_predict(bank, self.bank_labels, queries, classes=self.classes)
            values["knn"] = (predicted == self.query_labels).float().mean().item()
        return values

    @torch.no_grad()
    def _features(self, method: Method, images: Tensor, chunk: int = 1024) -> Tensor:
        method.eval()
        parts = [
            method.encoder(clean(part, None, self.mean, self.std)) for part in images.split(chunk)
        ]
        return torch.cat(parts).float()
