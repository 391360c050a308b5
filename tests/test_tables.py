"""The comparison table: what stands in it, and that no text can break its format."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replearn.formats import (
    Cell,
    Column,
    Group,
    Table,
    count,
    duration,
    join,
    latex_text,
    markdown_text,
    memory,
    one_line,
    percent,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)
from replearn.standings import Standings
from replearn.tables import comparison, records
from tests.boards import board, entry

NASTY = [
    "<script>alert(1)</script>",
    "R&D",
    "snake_case",
    "a|b",
    "100%",
    "$x^2$ {~} #1 \\end",
    "q\"'",
]


@pytest.fixture
def study() -> Standings:
    return board(
        entry("simclr", [0.80, 0.81, 0.80]),
        entry("byol", [0.79, 0.81, 0.80]),
        entry("autoencoder", [0.60, 0.61, 0.60], verdicts=["healthy", "dimensional", "healthy"]),
        entry("supcon", [0.90, 0.91, 0.90], supervision="labels"),
        entry("raw_pixels", [0.7], reference=True, deterministic=True, supervision="–"),
        entry("random_init", [0.5, 0.52, 0.51], reference=True, supervision="–"),
        entry("supervised", [0.93, 0.92, 0.93], reference=True, supervision="labels"),
    )


def cells(table: Table, column: str) -> dict[str, Cell]:
    return {row["method"].text: row[column] for group in table.groups for row in group.rows}


class TestComparison:
    def test_methods_come_by_accuracy_and_references_apart(self, study: Standings) -> None:
        groups = comparison(study).groups
        names = [[row["method"].text for row in group.rows] for group in groups]
        assert names == [
            ["SupCon", "SimCLR", "BYOL", "Autoencoder"],
            ["Supervised", "Raw pixels", "Random encoder"],
        ]

    def test_ties_share_a_rank_and_references_have_none(self, study: Standings) -> None:
        shown = {name: cell.text for name, cell in cells(comparison(study), "rank").items()}
        assert shown["SupCon"] == "1"
        assert shown["SimCLR"] == shown["BYOL"] == "2"
        assert shown["Autoencoder"] == "4"
        assert shown["Raw pixels"] == "–"

    def test_the_best_of_each_supervision_is_bold_with_its_ties(self, study: Standings) -> None:
        bold = {name for name, cell in cells(comparison(study), "linear").items() if cell.bold}
        assert bold == {"SimCLR", "BYOL", "SupCon"}

    def test_mean_spread_and_full_precision(self, study: Standings) -> None:
        cell = cells(comparison(study), "linear")["SimCLR"]
        assert cell.text == "80.3 ± 0.6"
        assert cell.value == pytest.approx(np.mean([0.80, 0.81, 0.80]), abs=1e-15)

    def test_a_row_without_seeds_shows_no_spread(self, study: Standings) -> None:
        assert cells(comparison(study), "linear")["Raw pixels"].text == "70.0"

    def test_score_runs_from_random_to_supervised(self, study: Standings) -> None:
        shown = cells(comparison(study), "score")
        assert shown["Random encoder"].text == "0.00"
        assert shown["Supervised"].text == "1.00"

    def test_no_score_where_noise_would_set_the_scale(self) -> None:
        random = entry("random_init", [0.80, 0.86], reference=True, supervision="–")
        ceiling = entry("supervised", [0.85, 0.84], reference=True, supervision="labels")
        table = comparison(board(entry("simclr", [0.9, 0.91]), random, ceiling))
        assert cells(table, "score")["SimCLR"].text == "–"
        assert any(note.startswith("No score") for note in table.notes)

    def test_the_worst_verdict_shows_with_its_rule(self, study: Standings) -> None:
        cell = cells(comparison(study), "verdict")["Autoencoder"]
        assert (cell.text, cell.note) == ("dimensional (1 of 3)", "rule of dimensional")

    def test_a_training_that_was_ended_early_says_so(self, study: Standings) -> None:
        stopped = entry("dino", [0.3, 0.3, 0.3], verdicts=["complete"] * 3)
        runs = tuple(
            {**run, "ended_early": seed == 0, "epochs": 3.0 if seed == 0 else 12.0}
            for seed, run in enumerate(stopped.runs)
        )
        shown = cells(comparison(board(replace(stopped, runs=runs), *study.entries)), "epochs")
        assert shown["DINO"].text == "9 (ended early)"
        assert shown["DINO"].note.startswith("1 of 3 trainings")
        assert shown["BYOL"].text == "10"

    def test_wildly_varying_methods_are_never_bold(self) -> None:
        calm = [entry(f"m{i}", [0.80 + i / 1e3, 0.801 + i / 1e3, 0.802]) for i in range(6)]
        table = comparison(board(*calm, entry("wild", [0.2, 0.9, 0.6])))
        assert not cells(table, "linear")["wild"].bold

    def test_without_labels_no_accuracy_is_claimed(self) -> None:
        table = comparison(board(entry("simclr", [])))
        names = [column.name for column in table.columns]
        assert "linear" not in names
        assert "rank_me" in names
        assert "no labels" in table.notes[0]

    def test_records_carry_intervals_at_full_precision(self, study: Standings) -> None:
        rows = {row["method"]: row for row in records(study)}
        low, mean, high = (rows["simclr"][n] for n in ("linear_low", "linear", "linear_high"))
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert low < np.mean([0.80, 0.81, 0.80]) < high
        assert mean == pytest.approx(np.mean([0.80, 0.81, 0.80]), abs=1e-15)


class TagCollector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def nasty_table(text: str) -> Table:
    column = Column("method", text, text, numeric=False)
    return Table(
        text, (column,), (Group(text, ({"method": Cell(text, text, True, text, "x")},)),), (text,)
    )


class TestEscaping:
    @pytest.mark.parametrize("text", NASTY)
    def test_html_shows_the_text_and_gains_no_element(self, text: str) -> None:
        parser = TagCollector()
        parser.feed(to_html(nasty_table(text)))
        assert parser.tags <= {
            "div",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "span",
            "strong",
            "ul",
            "li",
        }
        assert parser.text.count(text) == 5

    @pytest.mark.parametrize("text", NASTY)
    def test_markdown_keeps_its_columns(self, text: str) -> None:
        lines = to_markdown(nasty_table(text)).splitlines()
        rows = [line for line in lines if line.startswith("|")]
        assert len(rows) == 4
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 2 for row in rows)
        assert "<script" not in "".join(lines)

    @pytest.mark.parametrize("text", NASTY)
    def test_latex_has_no_open_special(self, text: str) -> None:
        escaped = latex_text(text)
        bare = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]", "", escaped)
        assert not set(bare) & set("&%$#_{}~^\\<>|")
        assert escaped in to_latex(nasty_table(text))

    @given(st.text(alphabet=st.characters(codec="utf-8")))
    def test_csv_gives_the_text_back_unless_a_spreadsheet_would_run_it(self, text: str) -> None:
        (row,) = csv.DictReader(io.StringIO(to_csv([{"a": text, "b": 0.1}])), strict=True)
        line = one_line(text)
        risky = line[:1] in tuple("=+-@") and line != "-"
        assert row["a"] == (f"'{line}" if risky else line)
        assert row["b"] == "0.1"

    @given(st.text())
    def test_one_markdown_cell_stays_on_one_line(self, text: str) -> None:
        shown = markdown_text(text)
        assert "\n" not in shown
        assert not re.search(r"(?<!\\)\|", shown.replace("\\\\", ""))

    def test_text_columns_line_up(self) -> None:
        columns = (Column("a", "Name", numeric=False), Column("b", "Value"))
        rows = (
            {"a": Cell("x"), "b": Cell("1.0", bold=True)},
            {"a": Cell("longer"), "b": Cell("22.0")},
        )
        lines = to_text(Table("T", columns, (Group("", rows),))).splitlines()
        assert lines[2:6] == ["Name    Value", "─" * 13, "x        1.0*", "longer   22.0"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.87125), "87.1"),
        (percent(None), "–"),
        (count(950), "950"),
        (count(54_000), "54 k"),
        (count(1_234_000), "1.23 M"),
        (duration(0.42), "0.4 s"),
        (duration(250), "4.2 min"),
        (duration(11_160), "3.1 h"),
        (memory(612.4), "612 MB"),
        (memory(1840), "1.8 GB"),
        (join(["a", "b", "c"]), "a, b and c"),
        (join([]), ""),
    ],
)
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected
