"""Times of laps and the share outside the model."""

from __future__ import annotations

import time

import pytest
import torch

from replearn.stopwatch import Stopwatch


def test_a_lap_holds_what_was_outside_the_model() -> None:
    watch = Stopwatch(torch.device("cpu"))
    began = time.perf_counter()
    with watch.model():
        time.sleep(0.05)
    inside = time.perf_counter() - began
    time.sleep(0.05)
    lap = watch.lap()
    whole = time.perf_counter() - began
    assert inside < lap.seconds <= whole + 1e-3
    assert lap.outside == pytest.approx(1 - inside / lap.seconds, abs=0.05)


def test_a_lap_begins_where_the_last_one_ended_or_the_watch_was_restarted() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.model():
        time.sleep(0.01)
    watch.lap()
    time.sleep(0.01)
    between = watch.lap()
    assert between.seconds >= 0.01 and between.outside == 1
    time.sleep(0.2)
    watch.restart()
    assert watch.lap().seconds < 0.2
