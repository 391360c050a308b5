"""How sure an order of methods is: the share of draws in which each takes each rank.

A rank is a harsh summary of means that hardly differ, so it comes with its uncertainty (Goldstein
and Spiegelhalter 1996, JRSS A 159).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replearn.pooling import Name, Noise, Spread, Values, sample_sd
from replearn.stats import OWN_SPREAD_FROM, Scope

DRAWS = 4000
"""A share is known to about a hundredth."""


@dataclass(frozen=True, slots=True)
class RankStability(Generic[Name]):
    """How often each method takes each rank when chance is drawn again, and in words which chance.

    `shares[name][r]` is the share of rank r + 1; methods that tie in a draw share the better rank.
    """

    shares: Mapping[Name, tuple[float, ...]]
    basis: str
    scope: Scope


def rank_stability(
    table: Mapping[Name, Values],
    *,
    noise: Noise | None = None,
    correct: ArrayLike | None = None,
) -> RankStability[Name] | None:
    """P(rank = r) of each method; None where nothing says how much the values vary.

    From six common seeds on they are drawn again with replacement, the same for all methods. With
    fewer, each mean is drawn from its t distribution around the observed one, with the pooled
    residual deviation: what seeds have in common cancels in a rank. With one seed the test images
    are drawn again, which speaks about these checkpoints.

    Args:
        table: metric by seed of each method; higher is better. Only seeds that all have are used.
        noise: pooled noise of the same dataset and metric (used with up to five common seeds); a
            method outside the pool has its own deviation.
        correct: per-image 0/1 correctness [methods, images] (used with one common seed).
    """
    common = sorted(set.intersection(*map(set, table.values()))) if len(table) > 1 else []
    if not common:
        return None
    values = np.array([[row[seed] for seed in common] for row in table.values()])
    n, rng = len(common), np.random.default_rng(0)
    scope: Scope = "seeds"
    if n >= OWN_SPREAD_FROM:
        means, basis = _drawn_again(values, rng), f"bootstrap of {n} common seeds"
    elif n == 1 and correct is not None:
        images = np.asarray(correct, dtype=np.float64)
        means, scope = _drawn_again(images, rng), "these checkpoints"
        basis = f"bootstrap of {images.shape[1]:,} test images"
    elif noise is not None and noise.paired is not None:
        pooled = noise.paired
        spreads = [_own(table[m]) if m in noise.uneven else pooled for m in table]
        means = values.mean(axis=1) + _t_draws(spreads, rng) / math.sqrt(n)
        basis = f"t, pooled sd, {pooled.degrees} degrees of freedom, {n} common seed(s)"
    else:
        return None
    above = (means[:, None, :] > means[:, :, None]).sum(axis=2)
    shares = {
        name: tuple((np.bincount(above[:, i], minlength=len(table)) / DRAWS).tolist())
        for i, name in enumerate(table)
    }
    return RankStability(shares, basis, scope)


def _drawn_again(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sums over resampled columns [draws, methods]; equal columns are drawn together."""
    columns, counts = np.unique(values, axis=1, return_counts=True)
    n = values.shape[1]
    return rng.multinomial(n, counts / n, DRAWS) @ columns.T


def _t_draws(spreads: Sequence[Spread], rng: np.random.Generator) -> NDArray[np.float64]:
    """Multivariate t [draws, methods]: methods of one pool share the error of its deviation."""
    scales = {
        spread: spread.sd * np.sqrt(spread.degrees / rng.chisquare(spread.degrees, DRAWS))
        for spread in dict.fromkeys(spreads)
    }
    return rng.standard_normal((DRAWS, len(spreads))) * np.stack(
        [scales[spread] for spread in spreads], axis=1
    )


def _own(values: Values) -> Spread:
    sd = sample_sd(values.values())
    assert sd is not None
    return Spread(sd, len(values) - 1)
