"""Gram anchoring: DINO whose patch features keep their similarities (DINOv3; Siméoni et al., 2025).

L = L_DINO + w ‖X_S X_Sᵀ − X_G X_Gᵀ‖²_F   (section 4.2 of the paper, the norm as a mean over entries)

X are the L2-normalised features [p, d] of an image's patches, of the student and of the Gram teacher: an
earlier state of DINO's teacher. Features may move as long as their similarities stay, and long trainings
lose just those.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.ema import frozen_copy, update_ema
from replearn.encoders import EncoderShape, with_patches
from replearn.methods.base import Batch, Loss, full_precision
from replearn.methods.dino import DINO, GLOBAL_VIEWS
from replearn.methods.options import GramOptions


@full_precision
def gram_loss(student: Tensor, anchor: Tensor) -> Tensor:
    """Mean squared difference of the cosine similarities between patches; a scalar.

    Args:
        student, anchor: patch features [n, p, d] and [n, p, e]; no gradient reaches the anchor's.

    Raises:
        ValueError: the shapes do not fit or the batch is empty.
    """
    if student.ndim != 3 or anchor.ndim != 3 or student.shape[:2] != anchor.shape[:2]:
        shapes = [tuple(student.shape), tuple(anchor.shape)]
        raise ValueError(f"gram_loss needs features [n, p, d] of the same patches, not {shapes}")
    if student.shape[:2].numel() == 0:
        raise ValueError("gram_loss got an empty batch")
    x_s, x_g = F.normalize(student, dim=2), F.normalize(anchor.detach(), dim=2)
    return F.mse_loss(x_s @ x_s.mT, x_g @ x_g.mT)


class Places(nn.Module):
    """An encoder that also gives the features of the patches, [n, 1 + p, d]."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return with_patches(self.encoder, images)


class Gram(DINO):
    """The anchor is the teacher's encoder as it was at a share of the training; before, this is DINO."""

    options: GramOptions

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: GramOptions) -> None:
        super().__init__(encoder, shape, options)
        self.places = Places(encoder)
        self.anchor = Places(frozen_copy(encoder))
        self._anchors, self._anchored = 0, False

    def loss(self, batch: Batch) -> Loss:
        places = self.apart(self.places, batch.views)  # the features h, then the patches
        _, head = self.student
        dino = self.distil([head(view[:, 0]) for view in places], batch)
        drift = self.drift(places[:GLOBAL_VIEWS], batch)
        total = dino.total
        if self.options.gram_weight:
            total = total + self.options.gram_weight * drift
        return Loss(total, {**dino.scalars, "gram_drift": drift.detach()})

    def drift(self, places: list[Tensor], batch: Batch) -> Tensor:
        """The Gram loss of the global views, a mean over them; 0 while there is no anchor yet."""
        if not self._anchored:
            return torch.zeros((), device=batch.index.device)
        with torch.no_grad():
            kept = self.apart(self.anchor, batch.views[:GLOBAL_VIEWS])
        losses = [gram_loss(x[:, 1:], g[:, 1:]) for x, g in zip(places, kept, strict=True)]
        return torch.stack(losses).mean()

    def before_step(self, progress: float) -> None:
        super().before_step(progress)
        self._anchors = self.anchors(progress)
        self._anchored = self._anchors > 0  # for the loss, compiled anew when what it reads changes

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        if self.anchors(progress) > self._anchors:
            update_ema(self.anchor.encoder, self.encoder, momentum=0.0)

    def anchors(self, progress: float) -> int:
        """How often the anchor has been taken by this point of the training."""
        start, every = self.options.anchor_start, self.options.anchor_every
        if progress < start:
            return 0
        return 1 + int((progress - start) / every) if every else 1
