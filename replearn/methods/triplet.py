"""Triplet loss with negative mining (Weinberger & Saul, 2009; Schroff et al., FaceNet, 2015).

    L = max(0, −x_a·x_p + x_a·x_n + m)   for L2-normalised embeddings

Most random negatives are easy: they satisfy the margin and give no gradient. Two remedies: choose the
negative within the batch (`mine`), and fill a batch from one neighbourhood of the embedding space, which a
clustering phase recomputes every few epochs (`neighbourhoods`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.clustering import ordered_clusters
from replearn.distributed import gather
from replearn.encoders import EncoderShape
from replearn.heads import mlp
from replearn.methods.base import Batch, Loss, Method, check_embeddings, full_precision
from replearn.methods.options import TripletOptions


@full_precision
def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, cos(a, n) − cos(a, p) + margin) over anchors.

    Args:
        anchor, positive, negative: [n, d], not necessarily normalised.
        margin: the separation m asked for, at least 0.

    Raises:
        ValueError: shapes differ, the batch is empty or the margin is negative.
    """
    check_embeddings("triplet_loss", anchor, positive, negative)
    if margin < 0:
        raise ValueError(f"triplet_loss needs a margin of at least 0, not {margin}")
    similar = F.cosine_similarity(anchor, positive, dim=1)
    different = F.cosine_similarity(anchor, negative, dim=1)
    return F.relu(different - similar + margin).mean()


@full_precision
def similarities(z: Tensor) -> Tensor:
    """Cosine similarities [n, n] of normalised embeddings [n, d]; in bfloat16, near ones would be ties."""
    return z @ z.T


def mine(similarity: Tensor, positive: Tensor, labels: Tensor, how: str, draws: Tensor) -> Tensor:
    """Choose a negative for each anchor.

    Args:
        similarity: [n, n] cosine similarities.
        positive: [n] similarity of each anchor to its positive.
        labels: int64 [n].
        how: "random"; "semi-hard", the most similar negative that is still less similar than the positive,
            or the least similar one where none is (FaceNet, section 3.2); "hard", the most similar negative.
        draws: [n] uniform numbers in [0, 1) for the random choice.

    Returns:
        int64 [n], column of the chosen negative; meaningless for an anchor without any negative.
    """
    negatives = labels[:, None] != labels[None, :]  # [n, n]
    if how == "random":
        return pick(negatives, draws)
    hardest = similarity.masked_fill(~negatives, -torch.inf)
    if how == "hard":
        return hardest.argmax(1)
    semi = negatives & (similarity < positive[:, None])
    most_similar_below = similarity.masked_fill(~semi, -torch.inf).argmax(1)
    least_similar = similarity.masked_fill(~negatives, torch.inf).argmin(1)
    return torch.where(semi.any(1), most_similar_below, least_similar)


def pick(allowed: Tensor, draws: Tensor) -> Tensor:
    """A uniformly drawn allowed column of each row: allowed bool [n, m], draws [n] → int64 [n]."""
    rank = (draws * allowed.sum(1)).long() + 1  # 1 … number allowed
    return (allowed.cumsum(1) >= rank[:, None]).int().argmax(1)


class Triplet(Method):
    """Anchors are all views in the batch; positives are drawn from their class."""

    needs = frozenset({"labels"})

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: TripletOptions) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, layers=2)
        self.margin, self.mining = options.margin, options.mining
        self.neighbourhood_count = options.neighbourhoods
        self.neighbourhood_interval = options.recluster_every if options.neighbourhoods else 0

    def loss(self, batch: Batch) -> Loss:
        assert batch.labels is not None
        views = len(batch.views)
        _, z = self.embed(torch.cat(batch.views))
        assert z is not None
        z = torch.cat([gather(view) for view in z.chunk(views)])  # [views·n, d]
        z = F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)
        labels = gather(batch.labels).repeat(views)
        choose_positive, choose_negative = _shifted(gather(batch.draws), views)

        similarity = similarities(z.detach())
        positives = labels[:, None] == labels[None, :]
        positives.fill_diagonal_(False)
        p = pick(positives, choose_positive)
        s_pos = similarity.gather(1, p[:, None])[:, 0]
        n = mine(similarity, s_pos, labels, self.mining, choose_negative)

        usable = positives.any(1) & (labels[:, None] != labels[None, :]).any(1)
        hinge = F.relu((z * z[n]).sum(1) - (z * z[p]).sum(1) + self.margin) * usable
        total = hinge.sum() / usable.sum().clamp(min=1)
        active = ((hinge > 0) & usable).sum() / usable.sum().clamp(min=1)
        return Loss(total, {"triplet_active": active.detach()})

    def neighbourhoods(self, embeddings: Tensor, generator: torch.Generator) -> Tensor | None:
        normalised = F.normalize(embeddings.float(), dim=1)
        return ordered_clusters(normalised, self.neighbourhood_count, generator)


def _shifted(draws: Tensor, views: int) -> tuple[Tensor, Tensor]:
    """Draws [n, 2] of the samples → two sets [views·n], another number for each view of a sample."""
    shifts = torch.arange(views, device=draws.device)[:, None, None] * 0.6180339887
    per_view = (draws[None] + shifts) % 1.0  # [views, n, 2]
    first, second = per_view.reshape(-1, 2).unbind(1)
    return first, second
