"""Shares of images, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from replearn.proportions import bonett_price, discordant, mcnemar, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (7, 20), (20, 20), (150, 200)])
def test_wilson(successes: int, n: int) -> None:
    oracle = scipy_stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
    assert wilson(successes, n, 0.9) == pytest.approx((oracle.low, oracle.high))


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_of_nonsense(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes"):
        wilson(successes, n, 0.95)


def test_bonett_price_is_wald_after_one_more_image_on_either_side() -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [32, 14, 56])
    half = scipy_stats.norm.ppf(0.975) * differences.std() / np.sqrt(102)
    expected = differences.mean() - half, differences.mean() + half
    assert bonett_price(31, 13, 100, 0.95) == pytest.approx(expected)


def test_discordant_by_hand() -> None:
    assert discordant([1, 1, 1, 0, 0, 1], [1, 0, 0, 1, 0, 1]) == (2, 1, 6)


@pytest.mark.parametrize(("only_a", "only_b"), [(12, 3), (3, 12), (4, 4), (1, 0)])
def test_mcnemar(only_a: int, only_b: int) -> None:
    oracle = scipy_stats.binomtest(only_a, only_a + only_b).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(oracle)


def test_mcnemar_of_equal_predictions() -> None:
    assert mcnemar(0, 0) == 1.0


def test_predictions_must_be_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="one length"):
        discordant(np.ones(3), np.ones(4))
