"""What reruns and what does not, seen from the command line on a finished study."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
import yaml

from replearn.layout import FAMILIES
from replearn.methods.options import METHODS
from tests.workflow_fixture import SMOKE, FinishedStudy

IDLE = "Nothing to be done"


def planned_methods(output: str, rule: str = "pretrain") -> set[str]:
    """Methods for which a dry run plans a rule."""
    pattern = rf"rule {rule}:.*?wildcards: [^\n]*method=(\w+)"
    return set(re.findall(pattern, output, re.DOTALL))


def planned_rules(output: str) -> set[str]:
    """Rules of which a dry run plans jobs."""
    return set(re.findall(r"^(?:local)?rule (\w+):", output, re.MULTILINE))


def dry_run(study: FinishedStudy, *arguments: str) -> str:
    done = study.snakemake("--dry-run", "--quiet", "reason", *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


def edit(study: FinishedStudy, change: dict[str, object]) -> None:
    path = study.root / SMOKE
    raw = yaml.safe_load(path.read_text())
    raw["methods"] = {**raw["methods"], **change}
    path.write_text(yaml.safe_dump(raw))


def test_everything_asked_for_is_there(smoke_study: FinishedStudy) -> None:
    runs = json.loads(smoke_study.plan.read_text())["runs"]
    assert {run["method"] for run in runs} == set(METHODS)
    for run in runs:
        evaluation = smoke_study.root / run["evaluation"]
        for name in ("select", *(family for family in FAMILIES if family != "text")):
            content = json.loads((evaluation / f"{name}.json").read_text())
            assert content["run"]["key"] == run["key"]
            assert content["protocol"]["version"] >= 1
            assert content["provenance"]["wall_seconds"] >= 0
        assert (evaluation / "text.json").exists() == (run["method"] == "clip")
    for ending in ("html", "md", "tex", "csv"):
        assert (smoke_study.study / "tables" / f"comparison.{ending}").stat().st_size > 0


def test_a_second_run_has_nothing_to_do(smoke_study: FinishedStudy) -> None:
    assert IDLE in smoke_study.snakemake("--cores", "2").stdout
    assert IDLE in smoke_study.snakemake("--cores", "2", "-s", "workflow/Snakefile").stdout


def test_a_changed_temperature_reruns_that_method_alone(study_copy: FinishedStudy) -> None:
    edit(study_copy, {"simclr": {"temperature": 0.123}})
    assert planned_methods(dry_run(study_copy)) == {"simclr"}


def test_a_changed_teacher_reruns_its_student_too(study_copy: FinishedStudy) -> None:
    edit(study_copy, {"supervised": {"label_smoothing": 0.1}})
    assert planned_methods(dry_run(study_copy)) == {"supervised", "distillation"}


def test_reordered_yaml_and_touched_files_rerun_nothing(study_copy: FinishedStudy) -> None:
    path = study_copy.root / SMOKE
    raw = yaml.safe_load(path.read_text())
    raw["methods"] = dict(reversed(raw["methods"].items()))
    path.write_text(yaml.safe_dump(dict(reversed(raw.items())), sort_keys=False))
    (study_copy.root / "replearn" / "train.py").touch()
    planned = dry_run(study_copy)
    assert planned_methods(planned) == set()
    assert planned_methods(planned, "evaluate") == set()


def test_an_edited_method_reruns_alone_and_a_comment_does_not(study_copy: FinishedStudy) -> None:
    byol = study_copy.root / "replearn" / "methods" / "byol.py"
    source = byol.read_text()
    byol.write_text(source + "\n# a remark\n")
    planned = dry_run(study_copy)
    assert planned_methods(planned) == planned_methods(planned, "evaluate") == set()
    byol.write_text(source.replace("2 - 2 * F.cosine", "2 - 1.5 * F.cosine"))
    assert planned_methods(dry_run(study_copy)) == {"byol"}


def test_an_edited_metric_reevaluates_and_retrains_nothing(study_copy: FinishedStudy) -> None:
    knn = study_copy.root / "replearn" / "evaluate" / "knn.py"
    knn.write_text(knn.read_text() + "\nUNUSED = 1\n")
    planned = dry_run(study_copy)
    assert planned_methods(planned) == set()
    assert planned_methods(planned, "embed") == set()
    assert planned_methods(planned, "evaluate") == set(METHODS)


def test_a_changed_protocol_reevaluates_and_retrains_nothing(study_copy: FinishedStudy) -> None:
    planned = dry_run(study_copy, "--config", "evaluation={knn: {k: 7}}")
    assert planned_methods(planned) == planned_methods(planned, "embed") == set()
    assert planned_methods(planned, "evaluate") == set(METHODS)
    # The configurations say so now; the next look with the old protocol finds all in place.
    assert planned_methods(dry_run(study_copy), "evaluate") == set()


def test_an_edited_report_is_written_anew_and_nothing_else(study_copy: FinishedStudy) -> None:
    page = study_copy.root / "replearn" / "report" / "page.py"
    page.write_text(page.read_text() + "\nUNUSED = 1\n")
    assert planned_rules(dry_run(study_copy)) == {"report", "track", "study"}


def test_a_deleted_database_is_rebuilt(study_copy: FinishedStudy) -> None:
    database = study_copy.root / "results" / "mlflow.db"

    def contents() -> list[tuple[str, float]]:
        with sqlite3.connect(database) as connection:
            rows = connection.execute("select key, value from metrics order by key, value, step")
            return list(rows)

    before = contents()
    assert len(before) > 300
    database.unlink()
    done = study_copy.snakemake("--cores", "1")
    assert done.returncode == 0, done.stdout
    assert "rule track" in done.stdout or "track" in done.stdout
    assert contents() == before


def test_the_same_seed_gives_the_same_metrics(
    smoke_study: FinishedStudy, study_copy: FinishedStudy
) -> None:
    runs = [
        run for run in json.loads(study_copy.plan.read_text())["runs"] if run["method"] == "dino"
    ]
    for run in runs:
        shutil.rmtree(study_copy.root / run["directory"])
    # As long as the tables are there, Snakemake does not miss what they were made from.
    (study_copy.study / "results.parquet").unlink()
    done = study_copy.snakemake("--cores", "2", "tables")
    assert done.returncode == 0, done.stdout
    for run in runs:
        files = sorted((study_copy.root / run["directory"]).rglob("*.json"))
        assert len(files) >= 5
        for path in files:
            twin = smoke_study.root / path.relative_to(study_copy.root)
            assert without_times(path) == without_times(twin), path.name


def without_times(path: Path) -> object:
    content = json.loads(path.read_text())
    content.pop("provenance", None)
    return content


def test_a_partial_report_shows_what_is_finished(study_copy: FinishedStudy) -> None:
    run = next(r for r in json.loads(study_copy.plan.read_text())["runs"] if r["method"] == "byol")
    (study_copy.root / run["evaluation"] / "knn.json").unlink()
    done = study_copy.snakemake("report_partial", "--cores", "1")
    assert done.returncode == 0, done.stdout
    pages = list((study_copy.root / "reports" / "smoke").glob("partial*.html"))
    assert len(pages) == 1
    assert "SimCLR" in pages[0].read_text()


def test_lint_finds_nothing(smoke_study: FinishedStudy) -> None:
    done = smoke_study.snakemake("--lint")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"methods": {"simcrl": {}}}, "Did you mean 'simclr'?"),
        ({"methods": {"simclr": {"temperature": -0.5}}}, "methods.simclr.temperature"),
        ({"traning": {}}, "Did you mean 'training'?"),
        ({"datasets": {"mine": {"source": "folder", "path": "no/such/folder"}}}, "no/such/folder"),
        ({"datasets": {"digits": {"limit": 60}}}, "batch of 128 is larger than"),
        ({"results": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_bad_input_is_one_message(
    smoke_study: FinishedStudy, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    raw = yaml.safe_load((smoke_study.root / SMOKE).read_text())
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**raw, "results": str(tmp_path / "results"), **change}))
    done = smoke_study.snakemake("--cores", "1", study=str(path))
    assert done.returncode != 0
    assert says in done.stdout
    assert "Traceback" not in done.stdout
    assert done.stdout.count("error") == 1
    assert not (tmp_path / "results" / "runs").exists()


def test_a_gpu_asked_for_where_there_is_none(study_copy: FinishedStudy) -> None:
    for arguments in (["--resources", "gpu=0"], []):
        done = study_copy.snakemake(
            "--cores", "1", *arguments, "--config", "device=cuda", "seeds=[7]"
        )
        assert done.returncode != 0
        assert "the study asks for a GPU" in done.stdout
        assert "Traceback" not in done.stdout
        if not arguments:
            assert "this machine shows none" in done.stdout


def test_a_number_written_as_1e_3_is_accepted(study_copy: FinishedStudy) -> None:
    path = study_copy.root / SMOKE
    path.write_text(path.read_text().replace("  byol:", "  byol: {optimizer: {lr: 1e-3}}"))
    assert planned_methods(dry_run(study_copy)) == {"byol"}
