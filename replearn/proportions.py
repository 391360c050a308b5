"""Shares of test images: intervals of one and of a paired difference, and the test of a difference.

Sources: Wilson (1927); Bonett and Price (2012, JEBS 37, equation 6); McNemar (1947), exact.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def wilson(successes: float, n: int, level: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    Args:
        successes: out of n; a tie may count as half a success.
        n: number of trials.
        level: confidence level.

    Raises:
        ValueError: unless 0 <= successes <= n and n > 0.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    z = _normal_quantile(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bonett_price(only_a: int, only_b: int, n: int, level: float) -> tuple[float, float]:
    """Interval of the difference of two accuracies over the same n images.

    Args:
        only_a: images that only the first has right.
        only_b: images that only the second has right.
        n: number of images.
        level: confidence level.
    """
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_a - share_b
    half = _normal_quantile(level) * math.sqrt((share_a + share_b - centre**2) / (n + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p that two methods are equally often the only one that is right."""
    from scipy.special import bdtr

    total = only_a + only_b
    return 1.0 if total == 0 else min(1.0, 2 * float(bdtr(min(only_a, only_b), total, 0.5)))


def discordant(correct_a: ArrayLike, correct_b: ArrayLike) -> tuple[int, int, int]:
    """Images that only a has right, that only b has right, and all.

    Raises:
        ValueError: the two are not non-empty vectors of one length.
    """
    left, right = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if left.shape != right.shape or left.ndim != 1 or not left.size:
        raise ValueError(
            "paired correctness needs two non-empty vectors of one length,"
            f" not shapes {left.shape} and {right.shape}"
        )
    return int((left & ~right).sum()), int((right & ~left).sum()), left.size


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))
