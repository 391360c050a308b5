from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replearn.data.splits import quotas, subset


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 400), min_size=1, max_size=9), share=st.floats(0, 1))
def test_quotas_sum_and_stay_within_one_of_proportion(counts: list[int], share: float) -> None:
    sizes = np.array(counts, dtype=np.int64)
    total = round(share * sizes.sum())
    taken = quotas(sizes, total)
    assert taken.sum() == total
    assert (taken <= sizes).all()
    if sizes.sum():
        assert (np.abs(taken - sizes * total / sizes.sum()) < 1).all()


def test_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot take 3 of 2"):
        quotas(np.array([1, 1]), 3)


def test_subset_is_stratified_fixed_and_depends_on_content_and_purpose() -> None:
    labels = np.repeat(np.arange(3), [600, 300, 100]).astype(np.int64)
    rows = subset(labels, 100, "abc", "validation")
    assert np.bincount(labels[rows]).tolist() == [60, 30, 10]
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, subset(labels, 100, "abc", "validation"))
    assert not np.array_equal(rows, subset(labels, 100, "abd", "validation"))
    assert not np.array_equal(rows, subset(labels, 100, "abc", "limit"))


def test_the_choice_never_changes() -> None:
    # Fixed for good: another choice would silently be another dataset.
    assert subset(None, 5, "content", "validation", count=40).tolist() == [0, 4, 15, 20, 26]


def test_smaller_choices_are_part_of_larger_ones() -> None:
    labels = np.repeat(np.arange(4), 50).astype(np.int64)
    small, large = (subset(labels, total, "x", "limit") for total in (20, 80))
    assert set(small) < set(large)


def test_choice_is_not_periodic_in_the_row() -> None:
    rows = subset(None, 5000, "x", "limit", count=10_000)
    assert abs((rows % 2).mean() - 0.5) < 0.03
    assert abs((rows < 5000).mean() - 0.5) < 0.03


def test_groups_stay_together() -> None:
    groups = np.repeat(np.arange(100), 5).astype(np.int64)
    rows = subset(None, 100, "x", "test", count=500, groups=groups)
    assert len(rows) == 100
    assert np.bincount(groups[rows], minlength=100).tolist().count(5) == 20


def test_leave_keeps_and_takes_at_least_one_of_every_class() -> None:
    labels = np.array([0] * 100 + [1] * 2 + [2], dtype=np.int64)
    rows = subset(labels, 10, "x", "validation", leave=1)
    taken = np.bincount(labels[rows], minlength=3)
    assert taken[1] == 1
    assert taken[2] == 0
