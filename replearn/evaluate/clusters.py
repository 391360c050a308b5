"""Whether features gather in few points: with labels (neural collapse) and without."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CLUSTERS = 20
ROUNDS = 10


def cluster_residual(h: Tensor, clusters: int = CLUSTERS) -> float | None:
    """Share of the variance of h [n, d] that k-means with `clusters` centres leaves: 0 … 1.

    Near 0 the features are a few points. Starts from far-apart rows, hence the same every time.
    None if there is no variance, or fewer than 5 rows per centre.
    """
    h = h.double() - h.double().mean(0)
    total = float(h.square().sum())
    if len(h) < 5 * clusters or total == 0:
        return None
    chosen = [h.square().sum(1).argmax()]
    distance = torch.full((len(h),), torch.inf, dtype=torch.float64, device=h.device)
    for _ in range(clusters - 1):
        distance = torch.minimum(distance, (h - h[chosen[-1]]).square().sum(1))
        chosen.append(distance.argmax())
    centres = h[torch.stack(chosen)]
    for _ in range(ROUNDS):
        member = F.one_hot(_nearest(h, centres), clusters).double()
        size = member.sum(0)
        means = member.T @ h / size.clamp_min(1)[:, None]
        centres = torch.where(size[:, None] > 0, means, centres)
    return float((h - centres[_nearest(h, centres)]).square().sum()) / total


def nc1(h: Tensor, labels: Tensor) -> float:
    """tr(S_w S_b⁺) / C: spread within classes in units of the spread between (Papyan et al., 2020).

    Args:
        h: features [n, d].
        labels: int64 [n]; C counts the classes that occur.

    Returns:
        0 in full neural collapse; NaN with fewer than two classes or equal class means.
    """
    h, present, means = _class_means(h, labels)
    count = len(means)
    if count < 2:
        return float("nan")
    _, singular, directions = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    kept = singular > 1e-10 * h.square().mean().sqrt() + 1e-9 * singular[0]
    if not bool(kept.any()):
        return float("nan")
    residual = (h - means[present]) @ directions[kept].T
    inverse = count / singular[kept].square()
    return float((residual.square().mean(0) * inverse).sum()) / count


def nc2(h: Tensor, labels: Tensor) -> float:
    """Mean |cos − (−1/(C − 1))| over pairs of centred class means (Papyan et al., 2020, NC2).

    0 if the C means are a simplex; NaN with fewer than two classes or equal class means.
    """
    _, _, means = _class_means(h, labels)
    count = len(means)
    centred = means - means.mean(0)
    if count < 2 or float(centred.square().sum()) == 0:
        return float("nan")
    unit = F.normalize(centred, dim=1)
    i, j = torch.triu_indices(count, count, 1, device=h.device)
    return float(((unit @ unit.T)[i, j] + 1 / (count - 1)).abs().mean())


def _class_means(h: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """h in double precision, the row of `means` of each sample, and the means [C, d]."""
    if labels.shape != h.shape[:1]:
        raise ValueError(f"{list(labels.shape)} labels for {list(h.shape)} features")
    h = h.double()
    classes, present = labels.unique(return_inverse=True)
    member = F.one_hot(present, len(classes)).double()
    return h, present, member.T @ h / member.sum(0)[:, None]


def _nearest(h: Tensor, centres: Tensor) -> Tensor:
    return (centres.square().sum(1) - 2 * h @ centres.T).argmin(1)
