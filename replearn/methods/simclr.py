"""SimCLR: find the other view of the same image among all views of the batch (Chen et al., 2020).

L_ij = −log  exp(sim(z_i, z_j) / τ) / Σ_{k ≠ i} exp(sim(z_i, z_k) / τ)     (NT-Xent, equation 1)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.distributed import gather
from replearn.encoders import EncoderShape
from replearn.heads import mlp
from replearn.methods.base import (
    Batch,
    Loss,
    Method,
    check_embeddings,
    check_temperature,
    full_precision,
)
from replearn.methods.options import SimCLROptions


@full_precision
def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent loss of two views, mean over the 2n anchors (both directions, only self excluded).

    Args:
        a, b: [n, d] projections of the two views, row i of both from image i; not necessarily normalised.
        temperature: τ.

    Raises:
        ValueError: shapes differ, the batch is empty or τ ≤ 0.
    """
    check_embeddings("nt_xent", a, b)
    check_temperature("nt_xent", temperature)
    n = len(a)
    z = F.normalize(torch.cat([a, b]), dim=1)  # [2n, d]
    logits = z @ z.T / temperature  # [2n, 2n]
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
    other_view = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, other_view)


class SimCLR(Method):
    """Both views pass the encoder f and the projection head g together, so BatchNorm sees 2n images."""

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: SimCLROptions) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, options.layers)
        self.temperature = options.temperature

    def loss(self, batch: Batch) -> Loss:
        _, z = self.embed(torch.cat(batch.views))
        assert z is not None
        a, b = z.chunk(2)
        return Loss(nt_xent(gather(a), gather(b), self.temperature))
