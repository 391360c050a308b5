"""Why a run would run again: each cause is named, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from replearn import embed
from replearn.config import load_study
from replearn.errors import UserError
from replearn.jsonfile import read_json, write_json
from replearn.layout import FAMILIES, protocol_file
from replearn.planning import PlannedRun, plan, write
from replearn.why import FEATURES, why
from tests.test_cli import ROOT, replearn
from tests.test_config import study_with

ID = "digits/byol/default/seed-0"


def study_file(folder: Path, **change: Any) -> Path:
    file = folder / "study.yaml"
    raw = {**study_with(methods={"byol": {}, "simclr": {}}), "results": str(folder / "results")}
    file.write_text(yaml.safe_dump({**raw, **change}))
    return file


def planned(study: Path) -> PlannedRun:
    made = plan(load_study(study))
    write(made)
    return next(run for run in made.runs if run.config.id == ID)


def finish(run: PlannedRun) -> None:
    """Leave the files that the steps would, without their content."""
    layout = run.layout
    tensors = {"h": np.zeros((1, 1), np.float32)}
    layout.features.mkdir(parents=True)
    save_file(tensors, layout.encoder)
    layout.history.write_text("")
    write_json(layout.pretrain, {"metrics": {"status": "ok"}})
    for name in FEATURES:
        save_file(tensors, layout.features / name)
    for family in FAMILIES:
        write_json(layout.evaluation / f"{family}.json", {"metrics": {}})


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, PlannedRun]:
    study = study_file(tmp_path)
    run = planned(study)
    finish(run)
    return study, run


def test_it_looks_for_every_file_that_embedding_writes() -> None:
    assert FEATURES == embed.OUTPUTS


def test_a_finished_run_has_nothing_to_do(finished: tuple[Path, PlannedRun]) -> None:
    study, run = finished
    lines = why(study, ID)
    assert lines[0] == ID
    assert run.config.key in lines[1]
    assert [line.split()[1] for line in lines[2:]] == ["finished,"] * 3
    assert why(study, run.config.key) == lines, "its key means the same run"
    assert why(study, str(run.layout.root)) == lines, "and so does its directory"


def test_a_run_that_never_ran_says_so(tmp_path: Path) -> None:
    lines = why(study_file(tmp_path), ID)
    assert "never been trained" in lines[2]
    assert all("the step before" in line for line in lines[3:])


def test_a_changed_value_is_named_with_both_values(finished: tuple[Path, PlannedRun]) -> None:
    study, run = finished
    study_file(study.parent, methods={"byol": {"momentum": 0.5}, "simclr": {}})
    lines = why(study, ID)
    old = run.config.options.model_dump()["momentum"]
    assert f"there is {run.config.key}, but" in lines[2]
    assert [line.strip() for line in lines[3:-2]] == [f"options.momentum: {old} → 0.5"]
    by_directory = why(study, str(run.layout.root))
    assert f"{run.config.key} is another run:" in by_directory[2]


def test_changed_data_are_named(finished: tuple[Path, PlannedRun]) -> None:
    study, _ = finished
    study_file(study.parent, datasets={"digits": {"limit": 900}})
    (change,) = [line.strip() for line in why(study, ID) if "→" in line]
    assert change.startswith("digest of the dataset: ")


def test_a_changed_protocol_evaluates_again_and_trains_nothing(
    finished: tuple[Path, PlannedRun],
) -> None:
    study, run = finished
    study_file(study.parent, evaluation={"knn": {"k": 5}})
    lines = why(study, ID)
    assert "finished" in lines[2] and "finished" in lines[3]
    assert f"there is {run.layout.evaluation.name}, but" in lines[4]
    assert lines[5].strip() == "knn.k: 20 → 5"


def edited(folder: Path, module: str, old: str, new: str) -> Path:
    """A copy of the package with one module changed."""
    copy = folder / "code"
    if not copy.exists():
        shutil.copytree(ROOT / "replearn", copy / "replearn")
    file = copy / "replearn" / module
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return copy


def test_the_module_that_changed_is_named(finished: tuple[Path, PlannedRun]) -> None:
    study, run = finished
    code = edited(study.parent, "methods/byol.py", "2 - 2 * F.cosine", "2 - 1.9 * F.cosine")
    done = replearn("why", ID, "--study", str(study), cwd=study.parent, code=code)
    assert done.returncode == 0, done.stderr
    assert "made by other code (replearn.methods.byol)" in done.stdout
    run.layout.sources.unlink()
    unrecorded = replearn("why", ID, "--study", str(study), cwd=study.parent, code=code).stdout
    assert "made by other source, which is not recorded" in unrecorded


def test_a_changed_evaluation_module_is_named(finished: tuple[Path, PlannedRun]) -> None:
    study, _ = finished
    module = "evaluate/knn.py"
    text = (ROOT / "replearn" / module).read_text()
    code = edited(study.parent, module, text, text + "\nCHANGED = True\n")
    said = replearn("why", ID, "--study", str(study), cwd=study.parent, code=code).stdout
    assert "training    finished" in said and "features    finished" in said
    assert "made by other code (replearn.evaluate.knn)" in said


def test_planning_records_what_the_keys_were_made_of(finished: tuple[Path, PlannedRun]) -> None:
    study, run = finished
    assert "replearn.methods.byol" in read_json(run.layout.sources)
    results = plan(load_study(study)).study.results
    features = read_json(protocol_file(results, run.layout.features_key))
    evaluations = read_json(protocol_file(results, run.layout.evaluation_key))
    assert set(features["protocols"]) == {"views", "robustness"}
    assert evaluations["protocols"] == run.config.evaluation.model_dump(mode="json")
    assert "replearn.evaluate.knn" in evaluations["sources"]


def test_a_recorded_failure_is_told(finished: tuple[Path, PlannedRun]) -> None:
    study, run = finished
    write_json(run.layout.pretrain, {"metrics": {"status": "diverged", "message": "loss is nan"}})
    assert "diverged: loss is nan; replearn retry forgets it" in why(study, ID)[2]


def test_a_run_that_the_study_dropped_is_left_over(finished: tuple[Path, PlannedRun]) -> None:
    study, run = finished
    study_file(study.parent, methods={"simclr": {}})
    for asked in (ID, run.config.key, str(run.layout.root)):
        lines = why(study, asked)
        assert lines[0] == ID
        assert "does not plan it any more" in lines[1] and run.config.key in lines[1]


def test_a_misspelt_run_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run is called[\s\S]*Did you mean 'digits/byol/def"):
        why(study_file(tmp_path), "digits/byol/defualt/seed-0")
