"""The benchmark of the workflow's start: what was measured before an interrupt stays, and what it offers."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import dag


def test_an_interrupt_leaves_the_starts_that_were_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(command: list[str], folder: Path) -> tuple[float, str]:
        if "--dry-run" in command:
            raise KeyboardInterrupt
        return (0.5 if "--version" in command else 1.25), ""

    monkeypatch.setattr(dag, "_timed", timed)
    tables = dag.measure(Namespace(quick=True))
    whole, starts = next(tables), next(tables)
    with pytest.raises(KeyboardInterrupt):
        next(tables)
    assert whole.rows == []
    assert [row.values["time"] for row in starts.rows] == [1.25, 0.5]


@pytest.mark.parametrize("option", ["--device", "--threads"])
def test_it_offers_neither_a_device_nor_threads(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["dag", option, "2"])
    with pytest.raises(SystemExit, match="2"):
        dag.main()
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
