"""Trainings side by side: they start together, and end together when one cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.packing import GIVEN_UP, one_of_several, together
from benchmarks.training import Case
from replearn.errors import UserError

CASE = Case("convnet", "simclr", 16, 1, 8, 3)


def test_two_at_once_are_counted_together() -> None:
    assert together(CASE, "cpu", jobs=2, threads=1, seconds=0.1) > 0


def test_a_training_that_fails_is_told_of() -> None:
    with pytest.raises(UserError, match="status"):
        together(replace(CASE, method="unheard-of"), "cpu", jobs=1, threads=1, seconds=0.1)


def test_nobody_waits_for_one_that_failed(tmp_path: Path) -> None:
    (tmp_path / GIVEN_UP).touch()
    case = [getattr(CASE, name) for name in CASE.__slots__]
    with pytest.raises(UserError, match="another of the trainings failed"):
        one_of_several(case, "cpu", threads=1, jobs=4, folder=str(tmp_path), seconds=0.1)
