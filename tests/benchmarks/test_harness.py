"""What a benchmark leaves: the table, the JSON file, the plot and the machine's facts."""

from __future__ import annotations

import argparse
import json
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import machine
from benchmarks.harness import Row, Table, one_by_one, options, publish, run
from benchmarks.pairs import paired_ratio
from replearn.errors import UserError

RATIO = paired_ratio([1.3, 1.4, 1.5], [1.0, 1.0, 1.0])
TABLE = Table(
    "Parity",
    [
        Row("large", {"ours": 13.0, "theirs": 10.0}, "views/s", RATIO, 1.2, "few steps"),
        Row("small", {"ours": 24680.0}, "views/s", RATIO, 2.0),
    ],
    ["same batch"],
)


def test_a_table_is_aligned_and_says_what_was_reached() -> None:
    title, head, large, small, *notes = TABLE.text().splitlines()
    assert title == "Parity"
    assert " ".join(large.split()) == "large 13 10 views/s 1.40 [1.30, 1.50] ≥ 1.2 reached"
    assert " ".join(small.split()) == "small 24,680 views/s 1.40 [1.30, 1.50] ≥ 2 missed"
    assert head.index("ratio") == large.index("1.40") == small.index("1.40")
    assert head.index("ours") + 4 == large.index("13") + 2 == small.index("24,680") + 6
    assert [note.strip() for note in notes] == ["same batch", "large: few steps"]


def test_the_files_hold_rows_and_machine(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    publish("speed", [TABLE], machine.facts("cpu"), tmp_path / "new")
    content = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert content["tables"][0]["rows"][0]["ratio"]["pairs"] == [1.3, 1.4, 1.5]
    assert content["machine"]["torch"] == metadata.version("torch")
    assert content["machine"]["cores"] >= 1
    drawing = (tmp_path / "new" / "speed.svg").read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert TABLE.text() in capsys.readouterr().out


def test_cases_tell_how_far_they_are(capsys: pytest.CaptureFixture) -> None:
    assert list(one_by_one(("grey", "colour"), "speed")) == ["grey", "colour"]
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert "speed  50%  1/2 cases" in first and "ETA" in first
    assert "speed 100%  2/2 cases" in second


def test_a_benchmark_measures_and_publishes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def measure(chosen: argparse.Namespace) -> list[Table]:
        assert chosen.quick
        return [TABLE]

    arguments = ["--quick", "--device", "cpu", "--output", str(tmp_path)]
    run("speed", options("Speed.").parse_args(arguments), measure)
    assert json.loads((tmp_path / "speed.json").read_text())["quick"] is True
    assert "the figures show that it runs" in capsys.readouterr().out


def test_a_mistake_is_told_in_one_message() -> None:
    def measure(chosen: argparse.Namespace) -> list[Table]:
        raise UserError("the losses differ", where="gate")

    chosen = options("Speed.").parse_args(["--device", "cpu"])
    with pytest.raises(SystemExit, match=r"^error: gate: the losses differ$"):
        run("speed", chosen, measure)
