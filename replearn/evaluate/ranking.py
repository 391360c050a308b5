"""Retrieval of images by images: how many of the nearest are of the same class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.evaluate.knn import most_similar

CHUNK = 1024
"""Queries at a time."""


def retrieval(h: Tensor, labels: Tensor) -> dict[str, float] | None:
    """Each row asks for the others of its class among all other rows, by cosine similarity.

    MAP@R (Musgrave et al., 2020, section 3.2) looks at the R most similar rows, R the number of
    others of the query's class: the mean over queries of (1 / R) Σ_i≤R P(i) · [i-th is right], with
    P(i) the share of right ones among the first i. Rows without another of their class do not ask.

    Args:
        h: features [n, d], finite.
        labels: int64 [n].

    Returns:
        map_at_r and recall_at_1 (the most similar one is right), 0 … 1; None if no row can ask.
        Equally similar rows come in their order.
    """
    unit = F.normalize(h.float(), dim=1)
    _, group, size = labels.unique(return_inverse=True, return_counts=True)
    wanted = size[group] - 1
    asking = wanted.nonzero()[:, 0]
    if not len(asking):
        return None
    depth = int(wanted.max())
    place = torch.arange(1, depth + 1, device=h.device)
    precision = first = 0.0
    for rows in asking.split(CHUNK):
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(rows), device=h.device), rows] = -torch.inf
        right = labels[most_similar(similarity, depth)[1]] == labels[rows, None]
        counted = right & (place <= wanted[rows, None])
        gained = (right.cumsum(1) / place * counted).sum(1, dtype=torch.float64) / wanted[rows]
        precision += float(gained.sum())
        first += float(right[:, 0].sum())
    return {"map_at_r": precision / len(asking), "recall_at_1": first / len(asking)}
