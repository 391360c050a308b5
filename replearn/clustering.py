"""k-means on embeddings, for methods that look for neighbourhoods of the data."""

from __future__ import annotations

import torch
from torch import Tensor


def ordered_clusters(
    points: Tensor, count: int, generator: torch.Generator, rounds: int = 10
) -> Tensor:
    """k-means clusters, numbered along their centres' first principal axis.

    Clusters with neighbouring numbers are therefore near each other, so that sorting samples by cluster
    lays out the embedding space from one end to the other.

    Args:
        points: [n, d].
        count: number of clusters, at most n.
        generator: CPU generator that draws the initial centres.
        rounds: Lloyd iterations.

    Returns:
        int64 [n] cluster numbers in 0 … count − 1.
    """
    count = min(count, len(points))
    centres = points[torch.randperm(len(points), generator=generator)[:count].to(points.device)]
    nearest = torch.cdist(points, centres).argmin(1)
    for _ in range(rounds):
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        nearest = torch.cdist(points, centres).argmin(1)
    centred = centres - centres.mean(0)
    axis = torch.linalg.svd(centred.double(), full_matrices=False)[2][0].to(centred.dtype)
    rank: Tensor = (centred @ axis).argsort().argsort()
    return rank[nearest]
