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
    cosine = F.cosine_similarity(prediction, target.detach(), dim=1)
    return (2 - 2 * cosine).mean()


class BYOL(Method):
    """Online encoder, projector and predictor; the target is an EMA of the first two.

    Views pass one by one, so that BatchNorm statistics stay within a view, as in the paper.
    """

    projector: nn.Module

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: BYOLOptions) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, layers=2)
        self.predictor = mlp(options.output, options.predictor_hidden, options.output, layers=2)
        self.target = frozen_copy(nn.Sequential(self.encoder, self.projector))
        self.momentum = options.momentum

    def loss(self, batch: Batch) -> Loss:
        first, second = batch.views
        predictions = [self.predictor(self.projector(self.encoder(v))) for v in (first, second)]
        with torch.no_grad():
            targets = [self.target(v) for v in (first, second)]
        return Loss(byol_loss(predictions[0], targets[1]) + byol_loss(predictions[1], targets[0]))

    def after_step(self, progress: float) -> None:
        online = nn.Sequential(self.encoder, self.projector)
        update_ema(self.target, online, cosine_momentum(self.momentum, progress))
