"""Every command of the workflow, killed at each point where it touches a file, and made up for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replearn.planning import Plan
from tests.tiny_study import command
from tests.workflow_fixture import FinishedStudy

pytestmark = pytest.mark.faults


def tried(folder: Path, arguments: list[str], cwd: Path | None = None) -> int:
    """Kill and make up for it at each point of a command; the number of kills."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.crashing", str(folder), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["unlike"] == []
    assert found["kills"] == found["touches"] > 0
    print(f"{found['kills']} kills: {arguments[0]}")  # shown by pytest -rP
    return int(found["kills"])


@pytest.mark.parametrize("method", ["pca", "simclr", "triplet", "dino"])
def test_training(tiny_study: Plan, method: str, tmp_path: Path) -> None:
    assert tried(tmp_path / "run", command(tiny_study, method, tmp_path / "run")[3:]) > 5


@pytest.fixture
def finished(study_copy: FinishedStudy) -> dict[str, Path]:
    """Paths of the finished CLIP run, which has every kind of file."""
    root = study_copy.root
    (run,) = (root / "results" / "runs" / "digits" / "clip" / "default" / "seed-0").iterdir()
    (features,) = run.glob("features-*")
    (evaluation,) = features.glob("evaluation-*")
    (manifest,) = root.glob("results/data/digits/*/manifest.json")
    return {
        "root": root,
        "run": run,
        "features": features,
        "evaluation": evaluation,
        "manifest": manifest,
    }


@pytest.mark.parametrize("step", ["embed", "embed-text", "select", "evaluate", "text"])
def test_the_steps_after_training(finished: dict[str, Path], step: str, tmp_path: Path) -> None:
    run, features, evaluation = finished["run"], finished["features"], finished["evaluation"]
    data = ["--dataset", str(finished["manifest"]), "--encoder", str(run / "encoder.safetensors")]
    read = ["--features", str(features)]
    inputs = {
        "embed": data,
        "embed-text": data,
        "select": read,
        "evaluate": [*read, "--select", str(evaluation / "select.json")],
        "text": read,
    }
    output = tmp_path / "output"
    tried(output, [step, str(run / "config.json"), *inputs[step], "--output", str(output)])


def test_the_tables(finished: dict[str, Path]) -> None:
    plan = finished["root"] / "results" / "studies" / "smoke" / "plan.json"
    tried(plan.parent, ["collate", str(plan)])


def test_the_preparation_of_data(tiny_study: Plan, tmp_path: Path) -> None:
    request = tiny_study.datasets["digits"].request
    output = tmp_path / "results" / "data" / "digits" / "prepared"
    tried(tmp_path / "results", ["prepare", str(request), "--output", str(output)])
