"""The cost benchmark: what was measured before an interrupt stays, and it offers what it obeys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost


def test_an_interrupt_leaves_the_studies_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def finished(folder: Path, content: dict[str, Any]) -> tuple[float, list[dict[str, float]]]:
        if len(content["seeds"]) > 1:
            raise KeyboardInterrupt
        return 12.5, [{"training": 1.0, "select": 2.0, "evaluate": 3.0}]

    monkeypatch.setattr(cost, "finished", finished)
    tables = cost.against_seeds(3, epochs=1)
    table = next(tables)
    with pytest.raises(KeyboardInterrupt):
        next(tables)
    assert [(row.case, row.values) for row in table.rows] == [("1 seed", {"wall": 12.5})]


@pytest.mark.parametrize("option", ["--device", "--threads"])
def test_it_offers_neither_a_device_nor_threads(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["cost", option, "2"])
    with pytest.raises(SystemExit, match="2"):
        cost.main()
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
