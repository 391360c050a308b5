"""The page of claims: each statement with its experiment, figure, effect, interval and verdict."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from replearn import __version__
from replearn.claims.claim import split_row
from replearn.claims.judge import effect_words
from replearn.collate import read_plan, read_tables
from replearn.formats import (
    Cell,
    Column,
    Group,
    Table,
    duration,
    join,
    to_csv,
    to_html,
    to_markdown,
)
from replearn.jsonfile import read_json, write_json, write_text
from replearn.report.dots import dots
from replearn.report.page import environment
from replearn.report.palette import SPARE_COLOURS, variables
from replearn.standings import RANDOM, Entry, Standings, standings

MOST_ROWS = 16
COLUMNS = (
    Column("claim", "Claim", numeric=False),
    Column("verdict", "Verdict", numeric=False),
    Column("criterion", "Criterion", numeric=False),
    Column("effect", "Effect [95 % interval]", numeric=False),
    Column("wanted", "Wanted", "Fixed in the claim's file before the run", numeric=False),
    Column("published", "Published", numeric=False),
)


@dataclass(frozen=True, slots=True)
class Section:
    """One claim on the page."""

    anchor: str
    found: Mapping[str, Any]
    table: Markup
    figures: list[Markup]
    cost: str
    study_page: str
    """Where the study's own report lies, as seen from the page; empty if it is not there."""


def write_page(verdicts: Sequence[Path], output: Path) -> None:
    """Write the page, and the same as tables (.csv, .md) and as JSON, beside each other.

    Args:
        verdicts: claim.json of each claim, in the folder of its collated study.
        output: the HTML file.

    Raises:
        UserError: a claim has not been judged, or its study is not collated.
    """
    claims = [read_json(file) for file in verdicts]
    sections = [
        _section(number, found, file.parent, output.parent)
        for number, (found, file) in enumerate(zip(claims, verdicts, strict=True))
    ]
    light, dark = variables(
        {(str(n), ""): SPARE_COLOURS[n % len(SPARE_COLOURS)] for n in range(MOST_ROWS)}
    )
    counted = [
        (word, sum(found["verdict"] == word for found in claims))
        for word in ("supported", "inconclusive", "contradicted")
    ]
    page = (
        environment()
        .get_template("claims.html")
        .render(
            sections=sections,
            counted=counted,
            light=Markup(light),
            dark=Markup(dark),
            version=__version__,
            machines=join(sorted({name for found in claims for name in found["devices"]})),
            commits=sorted({commit[:10] for found in claims for commit in found["commits"]}),
            written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )
    write_text(output, page)
    write_json(output.with_suffix(".json"), claims)
    write_text(output.with_suffix(".csv"), to_csv(records(claims)))
    write_text(output.with_suffix(".md"), to_markdown(overview(claims)))


def overview(claims: Sequence[Mapping[str, Any]]) -> Table:
    """Every inequality of every claim on a line."""
    rows = []
    for record in records(claims):
        cells = {column.name: Cell(str(record[column.name])) for column in COLUMNS}
        rows.append(cells)
    return Table("Claims of the lecture", COLUMNS, (Group("", tuple(rows)),))


def records(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The same as records at full precision; a claim's own verdict stands in `overall`."""
    return [
        {
            "claim": found["claim"],
            "overall": found["verdict"],
            "verdict": part["verdict"],
            "criterion": finding["says"],
            "part": part["says"],
            "effect": effect_words(part),
            "wanted": part["wanted"],
            "published": found["published"]["effect"],
            "estimate": part["effect"],
            "low": part["low"],
            "high": part["high"],
            "unit": part["unit"],
            "basis": part["basis"],
            "seeds": len(found["seeds"]),
        }
        for found in claims
        for finding in found["findings"]
        for part in finding["parts"]
    ]


def _section(number: int, found: Mapping[str, Any], folder: Path, page: Path) -> Section:
    plan = folder / "plan.json"
    boards = standings(*read_tables(folder), read_plan(plan))
    figures = [svg for board in boards for svg in _figures(found, board, f"k{number}")]
    cost = f"{found['runs']} runs, seeds {join(map(str, found['seeds']))}"
    cost += f", {duration(found['seconds'])} of training and evaluation on {join(found['devices'])}"
    cost += f"; data: {join(found['datasets'])}"
    study_page = f"../{found['study']}/index.html"
    if not (page / study_page).is_file():
        study_page = ""
    return Section(
        found["claim"].replace("_", "-"), found, _criteria(found), figures, cost, study_page
    )


def _criteria(found: Mapping[str, Any]) -> Markup:
    columns = (
        Column("verdict", "Verdict", numeric=False),
        Column("criterion", "Criterion", numeric=False),
        Column("part", "Measured", numeric=False),
        Column("effect", "Effect [95 % interval]", numeric=False),
        Column("wanted", "Wanted", numeric=False),
    )
    rows = []
    for finding in found["findings"]:
        for position, part in enumerate(finding["parts"]):
            rows.append(
                {
                    "verdict": Cell(part["verdict"], badge=part["verdict"]),
                    "criterion": Cell("" if position else finding["says"]),
                    "part": Cell(part["says"]),
                    "effect": Cell(effect_words(part), note=part["basis"]),
                    "wanted": Cell(part["wanted"]),
                }
            )
    return Markup(to_html(Table("", columns, (Group("", tuple(rows)),)), sortable=False))


def _figures(found: Mapping[str, Any], board: Standings, prefix: str) -> list[Markup]:
    """A chart for each metric that a criterion names, with the rows it names and the random encoder."""
    metrics: dict[tuple[str, str], list[float]] = {}
    for finding in found["findings"]:
        criterion = finding["criterion"]
        for key in ("metric", "than_metric"):
            if criterion.get(key):
                family, _, name = criterion[key].partition("/")
                limits = [criterion.get("above"), criterion.get("below")]
                metrics.setdefault((family, name), []).extend(n for n in limits if n is not None)
    names = {split_row(row) for finding in found["findings"] for row in _rows(finding["criterion"])}
    entries = [e for e in board.entries if e.name in names or e.method == RANDOM]
    drawn = [
        dots(board, metric, _with_value(entries, metric), limits, f"{prefix}{position}")
        for position, (metric, limits) in enumerate(metrics.items())
    ]
    return [svg for svg in drawn if svg is not None]


def _with_value(entries: Sequence[Entry], metric: tuple[str, str]) -> list[Entry]:
    return [entry for entry in entries if entry.values.get(metric)][:MOST_ROWS]


def _rows(criterion: Mapping[str, Any]) -> list[str]:
    single = [criterion[key] for key in ("better", "row", "equals") if criterion.get(key)]
    return [*criterion.get("rows", []), *criterion.get("than", []), *single]
