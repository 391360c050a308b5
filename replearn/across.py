"""Several datasets: average ranks, whether methods differ at all, and which ones.

Each dataset is one observation of every method, so that comparisons are paired over datasets and
an accuracy is never averaged with that of an easier dataset. A handful of observations decide
nothing, hence the least number of datasets.

Source: Demšar (2006, JMLR 7, section 3.2): Friedman's test, then Nemenyi's critical difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replearn.stats import LEVEL

DATASETS_TO_TEST = 6
METHODS_TO_TEST = 3


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Mean rank over datasets of each method; the highest value has rank 1, ties their mean rank.

    Args:
        values: [datasets, methods].
    """
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(-np.asarray(values), axis=1).mean(axis=0)
    return ranks


def friedman(values: ArrayLike) -> float:
    """p that all methods are equally good, from their ranks within [datasets, methods] values.

    Raises:
        ValueError: fewer than three methods.
    """
    from scipy.stats import friedmanchisquare

    array = np.asarray(values)
    if (array == array[:, :1]).all():
        return 1.0
    return float(friedmanchisquare(*array.T).pvalue)


def critical_difference(methods: int, datasets: int, level: float = LEVEL) -> float:
    """Least difference of average ranks that tells two methods apart (Nemenyi)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(level, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * datasets))


def groups(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last position of every largest run of two or more within `difference`.

    Args:
        ranks: average ranks in ascending order.
        difference: the critical difference.
    """
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(i for i, other in enumerate(ranks) if other - rank < difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
