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

    BatchNorm statistics stay within a view, as in the paper.
    """

    projector: nn.Module

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: BYOLOptions) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, layers=2)
        self.predictor = mlp(options.output, options.predictor_hidden, options.output, layers=2)
        self.target = frozen_copy(nn.Sequential(self.encoder, self.projector))
        self.momentum = options.momentum

    def loss(self, batch: Batch) -> Loss:
        online = nn.Sequential(self.encoder, self.projector, self.predictor)
        first, second = self.apart(online, batch.views)
        with torch.no_grad():
            target_first, target_second = self.apart(self.target, batch.views)
        return Loss(byol_loss(first, target_second) + byol_loss(second, target_first))

    def after_step(self, progress: float) -> None:
        online = nn.Sequential(self.encoder, self.projector)
        update_ema(self.target, online, cosine_momentum(self.momentum, progress))
