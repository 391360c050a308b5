"""What is mixed or stale is said, at the table and above it; what is not is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replearn.collate import Run, collate, read_plan
from replearn.config import load_study
from replearn.jsonfile import read_json, write_json
from replearn.origins import Origins, origins
from replearn.planning import plan, write
from replearn.report import build
from replearn.report.provenance import warnings
from replearn.report.study import read_study
from replearn.tables import comparison, records, write_tables
from tests.boards import board, entry
from tests.test_why import finish, study_file

MADE = {"ranks": 1, "commit": "c0ffee", "torch": "2.11", "device": "cpu", "wall_seconds": 1.0}
BYOL = ("byol", "default")


@pytest.fixture
def plan_json(tmp_path: Path) -> Path:
    """Two methods, two seeds, all made by today's code on one machine."""
    made = plan(load_study(study_file(tmp_path)))
    write(made)
    for run in made.runs:
        finish(run)
        for file in (run.layout.pretrain, *run.layout.evaluation.glob("*.json")):
            protocol = {"name": file.stem, "version": 1}
            metrics = {"accuracy": 0.5 + run.config.seed / 100, "images_seen": 900}
            write_json(file, {"metrics": metrics, "protocol": protocol, "provenance": MADE})
    return made.file


def runs(plan_json: Path) -> list[Run]:
    return [run for run in read_plan(plan_json).runs if run.method == "byol"]


def change(file: Path, part: str, **values: Any) -> None:
    content = read_json(file)
    write_json(file, {**content, part: {**content[part], **values}})


def other_key(run: Run) -> None:
    """As if the run's key came from other sources than today's."""
    config = read_json(run.directory / "config.json")
    write_json(run.directory / "config.json", {**config, "key": "0123456789ab"})


def test_nothing_is_said_of_runs_that_belong_together(plan_json: Path) -> None:
    assert origins(read_plan(plan_json).runs) == Origins()


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("provenance", {"commit": "decaf"}, "commits: c0ffee and decaf"),
        ("provenance", {"torch": "2.12"}, "versions of PyTorch: 2.11 and 2.12"),
        ("provenance", {"device": "cuda"}, "kinds of device: cpu and cuda"),
    ],
)
def test_what_trainings_and_evaluations_mix(
    plan_json: Path, part: str, values: dict[str, str], words: str
) -> None:
    run = runs(plan_json)[0]
    change(run.directory / "pretrain.json", part, **values)
    assert origins(runs(plan_json)).mixed == (f"The trainings mix {words}.",)
    change(run.evaluation / "linear.json", part, **values)
    assert origins(runs(plan_json)).mixed[1] == f"The evaluations mix {words}."


def test_mixed_protocols(plan_json: Path) -> None:
    first = runs(plan_json)[0].evaluation
    change(first / "knn.json", "protocol", version=2)
    change(first / "linear.json", "protocol", strengths=3)
    assert origins(runs(plan_json)).mixed == (
        "Versions 1 and 2 of the knn protocol are mixed.",
        "The linear numbers come from protocols with different settings.",
    )


def test_mixed_evaluation_code(plan_json: Path) -> None:
    content = read_json(plan_json)
    other = content["runs"][0]["evaluation"][:-12] + "0123456789ab"
    content["runs"][0]["evaluation"] = other
    write_json(plan_json, content)
    (words,) = origins(runs(plan_json)).mixed
    assert "The evaluations come from 2 versions of code and protocols" in words


def other_training(run: Run) -> str:
    other_key(run)
    change_source(run.directory / "sources.json", "replearn.methods.byol")
    return "trained by other code (replearn.methods.byol)"


def other_training_unrecorded(run: Run) -> str:
    other_key(run)
    (run.directory / "sources.json").unlink()
    return "trained by other source, which is not recorded"


def change_source(file: Path, module: str) -> None:
    write_json(file, {**read_json(file), module: "0" * 64})


@pytest.mark.parametrize("make_stale", [other_training, other_training_unrecorded])
def test_a_stale_run_is_marked_in_the_table_and_above_it(
    plan_json: Path, make_stale: Callable[[Run], str]
) -> None:
    reason = make_stale(runs(plan_json)[1])
    assert origins(read_plan(plan_json).runs).stale == {BYOL: reason}
    folder = collate(plan_json, plan_json.parent)
    text = write_tables(plan_json, folder)
    assert f"Stale: BYOL, {reason}." in text
    assert "BYOL (stale)" in text and "SimCLR (stale)" not in text
    assert warnings(read_study(plan_json, folder)) == [f"Stale: BYOL, {reason}."]
    page = build(folder, plan_json, plan_json.with_name("report.html")).read_text()
    assert f'<p class="alert">Stale: BYOL, {reason}.</p>' in page
    assert f"<li>Stale: BYOL, {reason}.</li>" in page, "and under the table"
    assert '<span class="badge attention">BYOL (stale)</span>' in page
    assert "Pareto front" in page and "What training took" in page


def test_stale_evaluations_name_the_module(plan_json: Path) -> None:
    run = runs(plan_json)[0]
    results = run.directory.parents[5]
    key = run.evaluation.name.rpartition("-")[2]
    content = read_json(results / "protocols" / f"{key}.json")
    content["sources"]["replearn.evaluate.knn"] = "0" * 64
    write_json(results / "protocols" / "0123456789ab.json", content)
    plan_of_old = read_json(plan_json)
    moved = run.evaluation.rename(run.evaluation.with_name("evaluation-0123456789ab"))
    plan_of_old["runs"] = [
        {**entry, "evaluation": str(moved)}
        for entry in plan_of_old["runs"]
        if entry["key"] == run.key
    ]
    write_json(plan_json, plan_of_old)
    assert origins(read_plan(plan_json).runs).stale == {
        BYOL: "evaluated by other code (replearn.evaluate.knn)"
    }


def test_a_stale_row_keeps_its_name_for_sorting_and_its_reason_in_the_records() -> None:
    rows = board(entry("byol", [0.8, 0.81]), entry("simclr", [0.7, 0.72]))
    of = Origins(("The trainings mix commits: a and b.",), {BYOL: "trained by other code (x)"})
    table = comparison(rows, of)
    cell = table.groups[0].rows[0]["method"]
    assert (cell.text, cell.value, cell.badge) == ("BYOL (stale)", "BYOL", "attention")
    assert table.notes[-2:] == (of.mixed[0], "Stale: BYOL, trained by other code (x).")
    stale = [record["stale"] for record in records(rows, of)]
    assert stale == ["trained by other code (x)", None]
