"""Seed-to-seed noise, pooled over the methods of one dataset and metric.

Sources: Cochran's test for an outlying variance, ISO 5725-2 (section 7.3.3), with 't Lam (2010,
Anal. Chim. Acta 659, equation 28) for unequal numbers; the residual of method + seed is that of a
randomised block design.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Values = Mapping[int, float]
"""Value of a metric by seed."""
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Spread:
    """A standard deviation and its degrees of freedom."""

    sd: float
    degrees: int


@dataclass(frozen=True, slots=True)
class Noise:
    """Seed-to-seed noise of one metric on one dataset.

    Attributes:
        within: standard deviation within a method, pooled over methods.
        paired: residual standard deviation after removing method and seed effects.
        uneven: methods so much noisier than the rest (Cochran's test at 1 %) that they are left
            out of both pools and
            keep their own standard deviation.
    """

    within: Spread | None = None
    paired: Spread | None = None
    uneven: frozenset[Hashable] = frozenset()


def pool(groups: Mapping[Name, Values], *, alpha: float = 0.01) -> Noise:
    """Pool the seed-to-seed noise of methods; leave those without randomness out of `groups`."""
    repeated = {name: values for name, values in groups.items() if len(values) > 1}
    uneven: set[Hashable] = set()
    while True:
        kept = {name: values for name, values in repeated.items() if name not in uneven}
        outlier = _outlying(kept, alpha)
        if outlier is None:
            return Noise(_within(kept.values()), _paired(list(kept.values())), frozenset(uneven))
        uneven.add(outlier)


def sample_sd(values: Iterable[float]) -> float | None:
    """Standard deviation with n - 1; None for fewer than two values."""
    array = np.fromiter(values, dtype=np.float64)
    return float(array.std(ddof=1)) if array.size > 1 else None


def _sums(groups: Iterable[Values]) -> tuple[float, int]:
    squares, degrees = 0.0, 0
    for values in groups:
        array = np.fromiter(values.values(), dtype=np.float64)
        squares += float(((array - array.mean()) ** 2).sum())
        degrees += array.size - 1
    return squares, degrees


def _within(groups: Iterable[Values]) -> Spread | None:
    squares, degrees = _sums(groups)
    return Spread(math.sqrt(squares / degrees), degrees) if degrees else None


def _paired(groups: list[Values]) -> Spread | None:
    """Residual of value = method + seed by least squares, which allows for missing cells."""
    seeds = sorted({seed for values in groups for seed in values})
    cells = [
        (row, seeds.index(seed), v)
        for row, values in enumerate(groups)
        for seed, v in values.items()
    ]
    if len(groups) < 2:
        return None
    design = np.zeros((len(cells), len(groups) + len(seeds)))
    target = np.array([value for _, _, value in cells])
    for position, (row, column, _) in enumerate(cells):
        design[position, row] = design[position, len(groups) + column] = 1
    solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    degrees = len(cells) - int(rank)
    residual = float(((target - design @ solution) ** 2).sum())
    return Spread(math.sqrt(residual / degrees), degrees) if degrees > 0 else None


def _outlying(groups: Mapping[Name, Values], alpha: float) -> Name | None:
    """The group whose variance is too large for the pool by Cochran's one-sided test, if any."""
    if len(groups) < 3:
        return None
    from scipy.special import fdtri

    total, degrees = _sums(groups.values())
    for name, values in groups.items():
        squares, own = _sums([values])
        critical = float(fdtri(own, degrees - own, 1 - alpha / len(groups)))
        if total > 0 and squares / total > 1 / (1 + (degrees / own - 1) / critical):
            return name
    return None
