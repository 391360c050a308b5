"""Supervised learning: a linear layer and a softmax on the encoder, y = softmax(W x + β).

The lecture's classification head; the ceiling of the comparison.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.methods.base import Batch, Loss, Method
from replearn.methods.options import SupervisedOptions


class Supervised(Method):
    """Cross-entropy on the labels, one augmented view per image."""

    needs = frozenset({"labels"})

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: SupervisedOptions) -> None:
        super().__init__(encoder, shape)
        self.classifier = nn.Linear(shape.width, shape.classes)
        self.smoothing = options.label_smoothing

    def loss(self, batch: Batch) -> Loss:
        assert batch.labels is not None
        (view,) = batch.views
        logits = self.logits(view)
        accuracy = (logits.argmax(1) == batch.labels).float().mean()
        total = F.cross_entropy(logits, batch.labels, label_smoothing=self.smoothing)
        return Loss(total, {"train_accuracy": accuracy.detach()})

    def logits(self, images: Tensor) -> Tensor:
        """W h + β for each class, [n, classes]."""
        logits: Tensor = self.classifier(self.encoder(images))
        return logits
