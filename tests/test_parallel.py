"""Threads that work ahead: in order, bounded, and gone when nobody listens any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from replearn.parallel import in_order


def working() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    found = list(in_order(slow_at_first, range(50), threads=4, ahead=8))
    assert found == [number * number for number in range(50)]
    assert working() == []


def test_no_more_is_begun_than_is_allowed() -> None:
    taken = 0

    def counted() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    for done, _ in enumerate(in_order(str, counted(), threads=2, ahead=3)):
        assert taken <= done + 1 + 3


def test_items_are_worked_on_side_by_side() -> None:
    together = threading.Barrier(3, timeout=30)
    assert len(list(in_order(lambda _: together.wait(), range(3), threads=3, ahead=3))) == 3


def test_an_exception_comes_in_its_turn_and_ends_the_threads() -> None:
    def odd_ones_fail(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    found = []
    with pytest.raises(ValueError, match="three"):
        found.extend(in_order(odd_ones_fail, range(10), threads=2, ahead=6))
    assert found == [0, 1, 2]
    assert working() == []


def test_closing_drops_what_has_not_begun() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return number

    results = in_order(work, range(1000), threads=1, ahead=100)
    assert next(results) == 0
    results.close()
    assert len(begun) < 10
    assert working() == []
