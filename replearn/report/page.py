"""Puts the report together and writes it as one file."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from replearn import __version__
from replearn.formats import join, to_html
from replearn.jsonfile import read_json, write_text
from replearn.report import maps, pictures, provenance
from replearn.report.across import across
from replearn.report.block import make_block
from replearn.report.palette import method_colours, variables
from replearn.report.study import StudyFiles, read_study

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def build(study_dir: str | Path, plan_json: str | Path, output_html: str | Path) -> Path:
    """Write a study's report: one HTML file that needs nothing else, not even a network.

    Args:
        study_dir: the collated study, whole or partial.
        plan_json: its plan.
        output_html: the file to write.

    Raises:
        UserError: the study is not collated, or a file of it is missing or damaged.
    """
    study = read_study(plan_json, study_dir)
    output = Path(output_html)
    write_text(output, render(study, source=str(read_json(plan_json).get("source") or "")))
    return output


def render(study: StudyFiles, *, source: str = "") -> str:
    """The page of a study; `source` is the study file that made it."""
    colours = method_colours(entry for board in study.boards for entry in board.entries)
    numbers = {name: number for number, name in enumerate(colours)}
    blocks = [
        make_block(study, board, position, numbers, provenance.budget(study, board.dataset))
        for position, board in enumerate(study.boards)
    ]
    light, dark = variables(colours)
    protocols = study.protocols()
    states = study.runs["status"].value_counts().to_dict()
    return (
        environment()
        .get_template("report.html")
        .render(
            study=study,
            plan=study.plan,
            blocks=blocks,
            across=across(study.boards, numbers),
            light=Markup(light),
            dark=Markup(dark),
            methods=len(colours),
            finished=states.get("ok", 0),
            planned=len(study.runs),
            protocols=protocols,
            versions={family: join(_heads(words)) for family, words in protocols.items()},
            cards=provenance.dataset_cards(study),
            runs=Markup(to_html(provenance.run_table(study))),
            warnings=provenance.warnings(study),
            papers=provenance.papers(study),
            source=source,
            version=__version__,
            written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            map_title=maps.TITLE,
            neighbours=pictures.NEIGHBOURS,
        )
    )


def _heads(words: Iterable[str]) -> list[str]:
    """Names and versions of protocols in words."""
    return list(dict.fromkeys(text.split(":")[0] for text in words))


def environment() -> Environment:
    """Templates of the report, strict about names, escaping what they are given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["include_raw"] = _raw
    return environment


def _raw(name: str) -> Markup:
    """A style sheet or script of the package as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
