"""Paired timing: the order, the ratio and its interval, fresh processes."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np
import pytest

from benchmarks.pairs import (
    abba,
    in_fresh_process,
    paired_ratio,
    rate,
    seconds,
    there_and_back,
)
from replearn.errors import UserError


def test_the_order_is_a_b_b_a_and_values_stay_in_pairs() -> None:
    calls: list[str] = []
    clock = itertools.count()

    def contestant(name: str) -> float:
        calls.append(name)
        return float(next(clock))

    a, b = abba(lambda: contestant("a"), lambda: contestant("b"), 2)
    assert "".join(calls) == "abbaabba"
    assert (a, b) == ([0, 3, 4, 7], [1, 2, 5, 6])


def test_several_contestants_go_there_and_back() -> None:
    clock = itertools.count()
    values = there_and_back([lambda: float(next(clock))] * 3, 1)
    assert values == [[0, 5], [1, 4], [2, 3]]


def test_a_steady_drift_cancels_in_the_median() -> None:
    """A machine that speeds up by 1 % with each measurement; the truth is 2."""
    speed = itertools.count(100)
    a, b = abba(lambda: 2.0 * next(speed), lambda: 1.0 * next(speed), 4)
    assert paired_ratio(a, b).median == pytest.approx(2, rel=1e-3)
    one_after_the_other = [2.0 * s for s in range(100, 108)], [1.0 * s for s in range(108, 116)]
    assert paired_ratio(*one_after_the_other).median < 1.9


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits, trials = 0, 200
    for _ in range(trials):
        noise = random.lognormal(sigma=0.1, size=(2, 15))
        ratio = paired_ratio(list(1.5 * noise[0]), list(noise[1]))
        assert ratio.low <= ratio.median <= ratio.high
        hits += ratio.low <= 1.5 <= ratio.high
    assert 0.88 <= hits / trials <= 0.995


def test_an_outlier_does_not_move_the_ratio() -> None:
    a, b = [3.0, 3.0, 3.0, 3.0, 0.1], [2.0] * 5
    assert paired_ratio(a, b).median == 1.5
    assert paired_ratio(a, b) == paired_ratio(a, b)


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([1.5], "1.50 (one pair)"),
        ([0.95, 0.86], "0.91 (2 pairs, 0.86 to 0.95)"),
        ([1.0, 5.0, 0.9, 1.1, 1.2], "1.10 (5 pairs, 0.90 to 5.00)"),
    ],
)
def test_few_pairs_have_their_range_and_no_interval(pairs: list[float], text: str) -> None:
    ratio = paired_ratio(pairs, [1.0] * len(pairs))
    assert (ratio.low, ratio.high, ratio.pairs) == (min(pairs), max(pairs), tuple(pairs))
    assert str(ratio) == text


def test_six_pairs_have_an_interval_within_their_range() -> None:
    ratio = paired_ratio([0.5, 0.97, 0.98, 0.99, 1.0, 1.9], [1.0] * 6)
    assert 0.5 < ratio.low < ratio.median < ratio.high < 1.9
    assert str(ratio) == f"0.98 [{ratio.low:.2f}, {ratio.high:.2f}]"


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0])])
def test_values_that_are_no_pairs(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="as many of one as of the other"):
        paired_ratio(a, b)


def test_a_rate_counts_the_units_of_all_repeats() -> None:
    """Sleeping is never shorter than asked, so the rate has an upper bound that no busy machine breaks."""
    calls: list[float] = []
    found = rate(lambda: calls.append(time.sleep(0.01) or 0), units=5, at_least=0.05)
    assert 0 < found <= 500
    assert len(calls) >= 3
    assert seconds(lambda: time.sleep(0.02)) >= 0.02


def test_a_fresh_process_is_another_one() -> None:
    assert in_fresh_process("os:getpid") != os.getpid()
    assert in_fresh_process("builtins:dict", a=[1, 2.5], b="x") == {"a": [1, 2.5], "b": "x"}


def test_a_failed_process_says_what_went_wrong() -> None:
    with pytest.raises(UserError, match=r"status 1.*\n(.*\n)*.*ModuleNotFoundError.*nowhere"):
        in_fresh_process("nowhere:function")
