"""k-means from several k-means++ starts, all at once, and the agreement of two groupings."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 100


def kmeans(rows: Tensor, clusters: int, random: torch.Generator, restarts: int = 5) -> Tensor:
    """Lloyd's algorithm from `restarts` k-means++ starts (Arthur & Vassilvitskii, 2007).

    The starts move as one batch, until none changes. A cluster that loses all rows keeps its centre.

    Args:
        rows: [n, d], finite.
        clusters: at least 1.
        random: CPU generator of the starts.
        restarts: how many starts.

    Returns:
        int64 [n], the clusters of the start whose rows are nearest to their centres.

    Raises:
        ValueError: fewer rows than clusters, or no cluster.
    """
    if rows.ndim != 2 or not 1 <= clusters <= len(rows):
        raise ValueError(f"{clusters} clusters of rows {list(rows.shape)}")
    centres = _spread_starts(rows, clusters, random, restarts)
    first = torch.arange(restarts, device=rows.device)[:, None] * clusters
    member, distance = _nearest(rows, centres)
    for _ in range(ROUNDS):
        chosen = rows.new_zeros(len(rows), restarts * clusters)
        chosen.scatter_(1, (member + first).T, 1)
        size = chosen.sum(0)[:, None]
        means = (chosen.T @ rows / size.clamp_min(1)).view_as(centres)
        centres = torch.where(size.view(restarts, clusters, 1) > 0, means, centres)
        before, (member, distance) = member, _nearest(rows, centres)
        if torch.equal(before, member):
            break
    return member[distance.double().sum(1).argmin()]


def nmi(a: Tensor, b: Tensor) -> float:
    """I(a; b) / ½ (H(a) + H(b)) of two groupings int64 [n]: 1 if equal up to names, 0 if unrelated.

    1 as well if both have a single group.
    """
    joint = _contingency(a, b).double() / len(a)
    entropy_a, entropy_b = (torch.special.entr(joint.sum(axis)).sum() for axis in (1, 0))
    mutual = entropy_a + entropy_b - torch.special.entr(joint).sum()
    mean = float(entropy_a + entropy_b) / 2
    return max(0.0, float(mutual) / mean) if mean else 1.0


def ari(a: Tensor, b: Tensor) -> float:
    """Adjusted Rand index (Hubert & Arabie, 1985): pairs that agree, less those expected by chance.

    1 if equal up to names, 0 on average for unrelated groupings int64 [n], negative if worse.
    """
    counts = _contingency(a, b)
    total = _pairs(torch.tensor(len(a)))
    together = _pairs(counts).sum()
    of_a, of_b = _pairs(counts.sum(1)).sum(), _pairs(counts.sum(0)).sum()
    expected = float(of_a) * float(of_b) / float(total) if int(total) else 0.0
    most = float(of_a + of_b) / 2
    return (float(together) - expected) / (most - expected) if most != expected else 1.0


def _spread_starts(rows: Tensor, clusters: int, random: torch.Generator, restarts: int) -> Tensor:
    """Centres [restarts, clusters, d]: rows drawn with probability ∝ squared distance to the nearest."""
    u = torch.rand(clusters, restarts, 1, dtype=torch.float64, generator=random).to(rows.device)
    distance = torch.ones(restarts, len(rows), dtype=torch.float64, device=rows.device)
    centres = rows.new_empty(restarts, clusters, rows.shape[1])
    for number in range(clusters):
        mass = distance.cumsum(1)
        drawn = torch.searchsorted(mass, u[number] * mass[:, -1:], right=True)
        centres[:, number] = rows[drawn[:, 0].clamp_max(len(rows) - 1)]
        found = _nearest(rows, centres[:, number : number + 1])[1].double()
        distance = found if number == 0 else torch.minimum(distance, found)
    return centres


def _nearest(rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of [restarts, clusters, d] and its squared distance, each [restarts, n]."""
    restarts, clusters, width = centres.shape
    flat = centres.reshape(-1, width)
    gap = (flat.square().sum(1) - 2 * rows @ flat.T).view(-1, restarts, clusters)
    value, index = gap.min(2)
    return index.T, (value.T + rows.square().sum(1)).clamp_min(0)


def _contingency(a: Tensor, b: Tensor) -> Tensor:
    """How often each group of `a` meets each of `b`: int64 [groups of a, groups of b]."""
    of_a, of_b = (grouping.unique(return_inverse=True)[1] for grouping in (a, b))
    rows, columns = int(of_a.max()) + 1, int(of_b.max()) + 1
    return torch.bincount(of_a * columns + of_b, minlength=rows * columns).view(rows, columns)


def _pairs(count: Tensor) -> Tensor:
    return count * (count - 1) // 2
