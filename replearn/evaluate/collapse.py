"""Diagnostics of frozen features: how much of the space they use, on one number each.

All arithmetic is in double precision. No single number decides: a centred rank cannot see that all
features are one point with noise, an uncentred one cannot see that they are a few points.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.evaluate.clusters import cluster_residual, nc1, nc2
from replearn.evaluate.lidar import between_within, lidar, lidar_null

RANK_ME_EPSILON = 1e-7
ALPHA_RANGE = (10, 100)
ALPHA_FLOOR = 1e-10
NO_VARIANCE = 1e-20
"""Variance below this share of the mean square is rounding: the features are constant."""

CHUNK = 1024


def spectrum(h: Tensor, *, centred: bool = True) -> Tensor:
    """Eigenvalues λ of the covariance (or second moments) of features h [n, d], largest first.

    Returns:
        float64 [min(n, d)], in units of the features squared; 0 for constant features if centred.

    Raises:
        ValueError: h is not [n ≥ 1, d ≥ 1].
    """
    h = _matrix(h)
    if centred:
        square = float(h.square().mean())
        h = h - h.mean(0)
        if float(h.square().mean()) <= NO_VARIANCE * square:
            return h.new_zeros(min(h.shape))
    # In double precision the Gram matrix's noise is 1e-16 of λ₁, far below what is read off.
    gram = h.T @ h if h.shape[0] >= h.shape[1] else h @ h.T
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram / len(h))
    return eigenvalues.flip(0).clamp_min(0)


def feature_std(h: Tensor) -> float:
    """√d · mean_j std_i(h_ij / ‖h_i‖): 1 if isotropic, 0 if constant (SimSiam, section 4.1)."""
    unit = F.normalize(_matrix(h), dim=1)
    return float(unit.std(0, correction=0).mean()) * math.sqrt(h.shape[1])


def direction_variance(h: Tensor) -> float:
    """1 − ‖E h/‖h‖‖²: variance of the directions; 0 if all are one, whatever their lengths, 1 if balanced."""
    return 1 - float(F.normalize(_matrix(h), dim=1).mean(0).square().sum())


def rank_me(h: Tensor) -> float:
    """exp(−Σ p ln p), p = s / Σ s + 1e-7 of the uncentred singular values (RankMe, eq. 1).

    From about 1, also for a constant with little noise, to min(n, d); 0 for all-zero features.
    """
    return _rank_me(spectrum(h, centred=False))


def effective_rank(h: Tensor) -> float:
    """exp(−Σ p ln p), p = λ / Σ λ of the centred variances; 0 for constant features."""
    return _effective_rank(spectrum(h))


def participation_ratio(h: Tensor) -> float:
    """(Σ λ)² / Σ λ² of the centred variances; 0 for constant features."""
    return _participation_ratio(spectrum(h))


def stable_rank(h: Tensor) -> float:
    """Σ λ / λ₁ of the centred variances (NESum); 0 for constant features."""
    return _stable_rank(spectrum(h))


def components_for(h: Tensor, share: float) -> int:
    """How many principal components hold `share` of the variance; 0 for constant features."""
    return _components_for(spectrum(h), share)


def alpha_req(h: Tensor) -> float:
    """Exponent α of λ_j ∝ j^−α, least squares weighted 1/j on j = 10 … 100 (α-ReQ, 2022).

    NaN where that is not defined: fewer than 20 eigenvalues, or one below 1e-10 λ₁ in the range.
    """
    return _alpha_req(spectrum(h))


def alignment(a: Tensor, b: Tensor) -> float:
    """E ‖u − u⁺‖² of positive pairs, row by row, normalised (Wang & Isola, 2020, eq. 1).

    0 for equal pairs, about 2 for unrelated ones.
    """
    if a.shape != b.shape:
        raise ValueError(f"pairs need equal shapes, not {list(a.shape)} and {list(b.shape)}")
    difference = F.normalize(_matrix(a), dim=1) - F.normalize(_matrix(b), dim=1)
    return float(difference.square().sum(1).mean())


def uniformity(h: Tensor) -> float:
    """ln E exp(−2 ‖u − v‖²) over all pairs of different rows, normalised (Wang & Isola, eq. 2).

    0 for a constant; about −4 at best (uniform on a sphere of many dimensions).
    """
    unit = F.normalize(_matrix(h), dim=1)
    n = len(unit)
    if n < 2:
        raise ValueError("uniformity needs at least 2 rows")
    norms = unit.square().sum(1)
    total = 0.0
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        squared = (norms[part, None] + norms - 2 * unit[part] @ unit.T).clamp(0, 4)
        total += float(torch.exp(-2 * squared).sum())
    # Each row's distance to itself is 0 and adds 1.
    return math.log(max(total - n, 1e-300) / (n * (n - 1)))


def marchenko_pastur(n: int, d: int, *, grid: int = 20_000) -> Tensor:
    """Expected eigenvalues of the covariance of n draws of d independent unit-variance noises.

    Returns:
        float64 [min(n, d)], largest first: quantiles of Marchenko & Pastur's law (1967), without
        its mass at 0 if n < d.
    """
    if n < 1 or d < 1:
        raise ValueError(f"n and d must be at least 1, not {n} and {d}")
    count, ratio = min(n, d), d / n
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    # With x = mid − half · cos θ the density's square root becomes smooth: sin²θ / x dθ.
    angle = (torch.arange(grid, dtype=torch.float64) + 0.5) * (math.pi / grid)
    x = (low + high) / 2 - (high - low) / 2 * angle.cos()
    mass = (angle.sin() ** 2 / x).cumsum(0)
    wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count * mass[-1]
    return x[torch.searchsorted(mass, wanted).clamp_max(grid - 1)].flip(0)


def signs(h: Tensor, some: Tensor | None = None) -> dict[str, float | None]:
    """The diagnostics that a verdict reads, quick enough for a look during training.

    Args:
        h: features of held-out images [n, d].
        some: rows of them for the k-means; all if absent.
    """
    h = _matrix(h)
    n, d = float(len(h)), float(h.shape[1])
    if not bool(torch.isfinite(h).all()):
        return {"n": n, "d": d, "finite": 0.0}
    variances = spectrum(h)
    return {
        "n": n,
        "d": d,
        "finite": 1.0,
        "feature_std": feature_std(h),
        "direction_variance": direction_variance(h),
        "relative_variance": _ratio(float(variances.sum()), float(h.mean(0).square().sum())),
        "rank_me": rank_me(h),
        "effective_rank": _effective_rank(variances),
        "cluster_residual": cluster_residual(h if some is None else some),
    }


def diagnose(
    h: Tensor, *, views: Tensor | None = None, labels: Tensor | None = None, pairs: int = 2000
) -> dict[str, float | None]:
    """All diagnostics of one network's features.

    Args:
        h: features of held-out images without augmentation [n, d].
        views: features of augmented views [v, m, d]; without them alignment and LiDAR are None.
        labels: int64 [n]; without them nc1 and nc2 are None.
        pairs: at most this many rows, evenly spaced, for what compares rows with each other.

    Returns:
        Names of the table in the documentation to numbers; None where one is not defined.
    """
    h = _matrix(h)
    some = h[:: max(1, -(-len(h) // pairs))]
    values = dict.fromkeys(NAMES) | signs(h, some)
    if not values["finite"]:
        return values
    variances = spectrum(h)
    values |= {
        "participation_ratio": _participation_ratio(variances),
        "stable_rank": _stable_rank(variances),
        "d90": float(_components_for(variances, 0.9)),
        "d99": float(_components_for(variances, 0.99)),
        "alpha_req": _alpha_req(variances),
        "uniformity": uniformity(some) if len(some) > 1 else None,
    }
    if views is not None and bool(torch.isfinite(views).all()):
        v = views.double()
        values["alignment"] = sum(
            alignment(a, b) / math.comb(len(v), 2) for a, b in combinations(v, 2)
        )
        values["lidar"] = lidar(v)
        values["lidar_null"] = lidar_null(v)
        values["between_within"] = between_within(v)
    if labels is not None:
        values["nc1"], values["nc2"] = nc1(h, labels), nc2(h, labels)
    return {name: _defined(values.get(name)) for name in NAMES}


NAMES = (
    "n",
    "d",
    "finite",
    "feature_std",
    "direction_variance",
    "relative_variance",
    "rank_me",
    "effective_rank",
    "participation_ratio",
    "stable_rank",
    "d90",
    "d99",
    "alpha_req",
    "uniformity",
    "cluster_residual",
    "alignment",
    "lidar",
    "lidar_null",
    "between_within",
    "nc1",
    "nc2",
)


def _rank_me(moments: Tensor) -> float:
    singular = moments.sqrt()
    total = float(singular.sum())
    if total == 0:
        return 0.0
    p = singular / total + RANK_ME_EPSILON
    return float(torch.exp(-(p * p.log()).sum()))


def _effective_rank(variances: Tensor) -> float:
    total = float(variances.sum())
    if total == 0:
        return 0.0
    return float(torch.exp(torch.special.entr(variances / total).sum()))


def _participation_ratio(variances: Tensor) -> float:
    shares = variances / variances.sum()
    return float(1 / shares.square().sum()) if float(variances.sum()) else 0.0


def _stable_rank(variances: Tensor) -> float:
    return float(variances.sum() / variances[0]) if float(variances[0]) else 0.0


def _components_for(variances: Tensor, share: float) -> int:
    total = float(variances.sum())
    if total == 0:
        return 0
    reached = variances.cumsum(0) / total >= share - 1e-12
    return int(reached.to(torch.int64).argmax()) + 1


def _alpha_req(variances: Tensor) -> float:
    first, last = ALPHA_RANGE[0], min(ALPHA_RANGE[1], len(variances))
    if last < 2 * first or float(variances[last - 1]) <= ALPHA_FLOOR * float(variances[0]):
        return math.nan
    j = torch.arange(first, last + 1, dtype=torch.float64)
    x, y, weight = j.log(), variances[first - 1 : last].cpu().log(), 1 / j
    weight = weight / weight.sum()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return -float((weight * x * y).sum() / (weight * x * x).sum())


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.inf


def _defined(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _matrix(h: Tensor) -> Tensor:
    if h.ndim != 2 or not h.numel():
        raise ValueError(f"features are [n, d] with n, d ≥ 1, not {list(h.shape)}")
    return h.double()
