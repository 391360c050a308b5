"""What a benchmark leaves: the table, the JSON file, the plot and the machine's facts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import harness, machine
from benchmarks.harness import (
    Row,
    Table,
    not_negative,
    one_by_one,
    options,
    positive,
    positive_seconds,
    publish,
    run,
)
from benchmarks.pairs import Ratio, paired_ratio
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
    assert " ".join(large.split()) == f"large 13 10 views/s {RATIO} ≥ 1.2 reached"
    assert " ".join(small.split()) == f"small 24,680 views/s {RATIO} ≥ 2 missed"
    assert head.index("ratio") == large.index("1.40") == small.index("1.40")
    assert head.index("ours") + 4 == large.index("13") + 2 == small.index("24,680") + 6
    assert [note.strip() for note in notes] == ["same batch", "large: few steps"]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.9, 1.2, "reached"), (0.8, 0.89, "missed"), (0.8, 0.9, "open"), (0.89, 0.95, "open")],
)
def test_a_target_within_the_interval_is_open(low: float, high: float, verdict: str) -> None:
    row = Row("case", {}, "s", Ratio((low + high) / 2, low, high, (low, high)), 0.9)
    assert row.verdict == verdict


def test_the_files_hold_rows_and_machine(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = {**machine.facts("cpu"), "date": "2026-11-26T18:30:00+00:00"}
    publish("speed", [Table("Empty"), TABLE], found, tmp_path / "new")
    content = json.loads((tmp_path / "new" / "speed-20261126T183000.json").read_text())
    assert [table["title"] for table in content["tables"]] == ["Parity"]
    assert content["complete"] is True
    assert content["tables"][0]["rows"][0]["ratio"]["pairs"] == [1.3, 1.4, 1.5]
    assert content["machine"]["torch"] == metadata.version("torch")
    assert content["machine"]["cores"] >= 1
    drawing = (tmp_path / "new" / "speed-20261126T183000.svg").read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    said = capsys.readouterr().out
    assert TABLE.text() in said
    assert f"{tmp_path}/new/speed-20261126T183000.json, " in said


@pytest.mark.parametrize(("busy", "warned"), [(1.0, False), (6.12, True)])
def test_a_busy_machine_is_warned_of(
    busy: float, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    publish("speed", [TABLE], {**machine.facts("cpu"), "cores": 2, "busy_cores": busy}, tmp_path)
    warning = "Warning: the machine was busy (6.1 of 2 cores by other work): timings may mislead.\n"
    assert (warning in capsys.readouterr().out) is warned


def test_cases_tell_how_far_they_are(capsys: pytest.CaptureFixture) -> None:
    assert list(one_by_one(("grey", "colour"), "speed")) == ["grey", "colour"]
    before, first, second, *_ = capsys.readouterr().err.splitlines()
    assert "speed   0%  0/2 cases" in before
    assert "speed  50%  1/2 cases" in first and "ETA" in first
    assert "speed 100%  2/2 cases" in second


def test_a_benchmark_measures_and_publishes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def measure(chosen: argparse.Namespace) -> list[Table]:
        assert chosen.quick
        return [TABLE]

    arguments = ["--quick", "--device", "cpu", "--output", str(tmp_path)]
    run("speed", options("Speed.").parse_args(arguments), measure)
    (file,) = tmp_path.glob("speed-*.json")
    assert json.loads(file.read_text())["quick"] is True
    assert "the figures show that it runs" in capsys.readouterr().out


def ended_early(
    measure: Callable[[argparse.Namespace], Iterable[Table]], output: Path, code: int | str = 130
) -> None:
    """Run a benchmark that does not reach its end, after Ctrl-C unless another exit code is given."""
    chosen = options("Speed.").parse_args(["--device", "cpu", "--output", str(output)])
    with pytest.raises(SystemExit) as ended:
        run("speed", chosen, measure)
    assert ended.value.code == code


@pytest.mark.parametrize(
    ("ended_by", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (SystemExit(130), 130, "Interrupted"),
        (
            UserError("no images", where="--images"),
            "error: --images: no images",
            "Ended by a mistake",
        ),
    ],
)
def test_what_ends_it_early_leaves_the_rows_that_are_done(
    ended_by: BaseException,
    code: int | str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    def measure(chosen: argparse.Namespace) -> Iterator[Table]:
        begun = Table("Begun")
        yield begun
        begun.rows.append(TABLE.rows[0])
        yield Table("Hardly begun")
        raise ended_by

    ended_early(measure, tmp_path, code)
    assert f"{words}: the rows that were finished.\nBegun\n" in capsys.readouterr().out
    (file,) = tmp_path.glob("speed-*.json")
    content = json.loads(file.read_text())
    assert content["complete"] is False
    assert [row["case"] for table in content["tables"] for row in table["rows"]] == ["large"]


def test_an_exit_of_another_kind_keeps_its_own_words(tmp_path: Path) -> None:
    def measure(chosen: argparse.Namespace) -> Iterator[Table]:
        yield TABLE
        raise SystemExit("error: no images")

    ended_early(measure, tmp_path, "error: no images")


def test_an_interrupt_before_the_first_row_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def measure(chosen: argparse.Namespace) -> Iterator[Table]:
        yield Table("Begun")
        raise KeyboardInterrupt

    ended_early(measure, tmp_path)
    assert "nothing is written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_files_are_written_has_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(harness, "write_json", write)
    ended_early(lambda chosen: [TABLE], tmp_path)


@pytest.mark.parametrize("option", ["--device", "--threads"])
def test_an_option_that_would_not_be_obeyed_is_refused(
    option: str, capsys: pytest.CaptureFixture
) -> None:
    parser = options("Speed.", device=False, threads=False)
    assert vars(parser.parse_args([])).items() >= {"device": "cpu", "threads": None}.items()
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([option, "1"])
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err


def test_numbers_that_make_no_sense_are_refused() -> None:
    assert positive("12") == 12
    assert not_negative("0") == 0
    assert positive_seconds("0.05") == 0.05
    for text in ("0", "-3", "1.5", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match=rf"^{text} is not a whole number"):
            positive(text)
    with pytest.raises(argparse.ArgumentTypeError, match="0 or more"):
        not_negative("-1")
    for text in ("0", "-1", "inf", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0"):
            positive_seconds(text)
    with pytest.raises(ValueError, match="x"):
        positive_seconds("x")


def test_a_mistake_is_told_in_one_message() -> None:
    def measure(chosen: argparse.Namespace) -> list[Table]:
        raise UserError("the losses differ", where="gate")

    chosen = options("Speed.").parse_args(["--device", "cpu"])
    with pytest.raises(SystemExit, match=r"^error: gate: the losses differ$"):
        run("speed", chosen, measure)
