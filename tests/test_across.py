"""Average ranks and critical differences, against published numbers and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from replearn.across import average_ranks, critical_difference, friedman, groups


def test_ranks_by_hand() -> None:
    values = [[0.9, 0.8, 0.7], [0.5, 0.6, 0.6], [1.0, 1.0, 1.0]]
    assert average_ranks(values) == pytest.approx([2.0, 11 / 6, 13 / 6])


def test_the_published_example() -> None:
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.90) == pytest.approx(1.12, abs=0.005)


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_published_quantiles(methods: int, q: float) -> None:
    datasets = 9
    scale = np.sqrt(methods * (methods + 1) / (6 * datasets))
    assert critical_difference(methods, datasets) / scale == pytest.approx(q, abs=1e-3)


def test_full_agreement_by_hand() -> None:
    # with k = 3 and three datasets in full agreement, chi square is N (k - 1) = 6 on 2 degrees
    values = [[0.1, 0.2, 0.3]] * 3
    assert friedman(values) == pytest.approx(np.exp(-3))


def test_equal_methods_are_not_told_apart() -> None:
    assert friedman([[0.5, 0.5, 0.5], [0.7, 0.7, 0.7]]) == 1.0


def test_false_differences_are_rare() -> None:
    rng = np.random.default_rng(0)
    studies = 2000
    false = sum(friedman(values) < 0.05 for values in rng.random((studies, 8, 5)))
    assert false / studies < 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def test_groups_may_overlap_and_small_ones_are_part_of_larger() -> None:
    assert groups([1.0, 1.8, 2.6, 5.0], 1.0) == [(0, 1), (1, 2)]
    assert groups([1.0, 1.2, 1.4], 1.0) == [(0, 2)]
    assert groups([1.0, 2.5, 4.0], 1.0) == []
