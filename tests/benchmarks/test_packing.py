"""Trainings side by side: they start together, and end together when one cannot."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from benchmarks import packing
from benchmarks.packing import GIVEN_UP, main, one_of_several, together
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
        one_of_several(case, "cpu", threads=1, jobs=2, folder=str(tmp_path), seconds=0.1)


def test_an_interrupt_tells_the_trainings_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []

    def interrupted(jobs: list[Future[float]]) -> NoReturn:
        raise KeyboardInterrupt

    def waits(function: str, folder: str, **_: object) -> None:
        """Like a training whose fellow never gets ready."""
        deadline = time.monotonic() + 10
        while not (found := (Path(folder) / GIVEN_UP).exists()) and time.monotonic() < deadline:
            time.sleep(0.01)
        told.append(found)

    monkeypatch.setattr(packing, "as_completed", interrupted)
    monkeypatch.setattr(packing, "in_fresh_process", waits)
    with pytest.raises(KeyboardInterrupt):
        together(CASE, "cpu", jobs=2, threads=1, seconds=0.1)
    assert told == [True, True]


def test_it_divides_the_cores_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["packing", "--threads", "2"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "unrecognized arguments: --threads 2" in capsys.readouterr().err
