"""SupCon: all images of a class attract each other (Khosla et al., 2020).

    L = Σ_i −1/|P(i)| Σ_{p ∈ P(i)} log  exp(x_i·x_p / τ) / Σ_{k ∈ A(i)} exp(x_i·x_k / τ)

The paper's L_out (equation 2), with the sum over anchors as a mean over those that have a positive.
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
from replearn.methods.options import SupConOptions


@full_precision
def sup_con(z: Tensor, labels: Tensor, temperature: float, chosen: Tensor | None = None) -> Tensor:
    """Supervised contrastive loss, mean over anchors that have a positive (0 if none has).

    Args:
        z: [n, d] embeddings of all views, not necessarily normalised.
        labels: int64 [n].
        temperature: τ.
        chosen: bool [n, n], which of its class's images are an anchor's positives; all if absent. The others
            stay in the denominator.

    Raises:
        ValueError: shapes do not match, the batch is empty or τ ≤ 0.
    """
    check_embeddings("sup_con", z)
    check_temperature("sup_con", temperature)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"sup_con needs one label per embedding, not {tuple(labels.shape)}")
    z = F.normalize(z, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    log_probability = F.log_softmax(logits, dim=1).masked_fill(itself, 0.0)  # [n, n]
    positives = (labels[:, None] == labels[None, :]) & ~itself
    if chosen is not None:
        positives &= chosen
    count = positives.sum(1)
    per_anchor = -(log_probability * positives).sum(1) / count.clamp(min=1)
    return per_anchor.sum() / (count > 0).sum().clamp(min=1)


def choose_positives(labels: Tensor, images: Tensor, draws: Tensor, most: int) -> Tensor:
    """At most so many positives for each anchor: other views of its image first, then drawn ones.

    Args:
        labels, images: int64 [n], class and image of each view.
        draws: [n] uniform numbers, one for each view.
        most: how many.

    Returns:
        bool [n, n], a row for each anchor; never the anchor itself.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    allowed = (labels[:, None] == labels[None, :]) & ~itself
    # One number for each pair, as if drawn: a column's number turned by the row's.
    order = (
        draws[None, :] + 0.6180339887 * torch.arange(len(draws), device=draws.device)[:, None]
    ) % 1.0
    order = order - (images[:, None] == images[None, :]).to(order.dtype)
    order = order.masked_fill(~allowed, torch.inf)
    best = order.topk(min(most, len(labels)), largest=False).indices
    return torch.zeros_like(allowed).scatter_(1, best, True) & allowed


class SupCon(Method):
    """Two views of each image pass the encoder and the head together."""

    needs = frozenset({"labels"})

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: SupConOptions) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, layers=2)
        self.temperature = options.temperature
        self.positives = options.positives

    def loss(self, batch: Batch) -> Loss:
        assert batch.labels is not None
        _, z = self.embed(torch.cat(batch.views))
        assert z is not None
        views = len(batch.views)
        z = torch.cat([gather(view) for view in z.chunk(views)])
        labels = gather(batch.labels).repeat(views)
        chosen = None
        if self.positives is not None:
            images = torch.arange(len(labels) // views, device=z.device).repeat(views)
            draws = (gather(batch.draws)[:, 0] + _turns(views, z)).reshape(-1) % 1.0
            chosen = choose_positives(labels, images, draws, self.positives)
        return Loss(sup_con(z, labels, self.temperature, chosen))


def _turns(views: int, like: Tensor) -> Tensor:
    """An offset [views, 1] that gives each view of an image a uniform number of its own."""
    return torch.arange(views, device=like.device)[:, None] * 0.7548776662
