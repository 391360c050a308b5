"""BYOL: predict what a slowly moving copy of the network says of another view (Grill et al., 2020).

L = ‖q̄_θ(z) − z̄'_ξ‖² = 2 − 2 cos(q_θ(z), z'_ξ),     ξ ← λ ξ + (1 − λ) θ
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.ema import cosine_momentum, frozen_copy, update_ema
from replearn.encoders import EncoderShape
from replearn.heads import mlp
from replearn.methods.base import Batch, Loss, Method, check_embeddings, full_precision
from replearn.methods.options import BYOLOptions


@full_precision
def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """2 − 2 cos(prediction, target), mean over samples (equation 2); no gradient reaches the target.

    Args:
        prediction: [n, d] output of the predictor.
        target: [n, d] projection of the other view by the target network.

    Raises:
        ValueError: shapes differ or the batch is empty.
    """
    check_embeddings("byol_loss", prediction, target)
    return alignment_loss(prediction, target.detach())


@full_precision
def alignment_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """The same with a gradient to both sides, which a constant map minimises."""
    return (2 - 2 * F.cosine_similarity(prediction, target, dim=1)).mean()


class BYOL(Method):
    """Online encoder, projector and predictor; the target is an EMA of the first two.

    BatchNorm statistics stay within a view, as in the paper. Each guard against collapse can be
    taken away: the predictor; the EMA, which leaves the online network as its own target (SimSiam,
    Chen & He, 2021); and the stop-gradient, which needs that target too.
    """

    projector: nn.Module

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: BYOLOptions) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, layers=2)
        self.predictor = (
            mlp(options.output, options.predictor_hidden, options.output, layers=2)
            if options.predictor
            else nn.Identity()
        )
        self.stop_gradient = options.stop_gradient
        self.target = (
            frozen_copy(nn.Sequential(self.encoder, self.projector))
            if options.ema and options.stop_gradient
            else None
        )
        self.momentum = options.momentum

    def loss(self, batch: Batch) -> Loss:
        online = nn.Sequential(self.encoder, self.projector)
        z = self.apart(online, batch.views)
        first, second = self.apart(self.predictor, z)
        if self.target is None:
            target_first, target_second = z
        else:
            with torch.no_grad():
                target_first, target_second = self.apart(self.target, batch.views)
        if self.stop_gradient:
            return Loss(byol_loss(first, target_second) + byol_loss(second, target_first))
        return Loss(alignment_loss(first, target_second) + alignment_loss(second, target_first))

    def after_step(self, progress: float) -> None:
        if self.target is not None:
            online = nn.Sequential(self.encoder, self.projector)
            update_ema(self.target, online, cosine_momentum(self.momentum, progress))
