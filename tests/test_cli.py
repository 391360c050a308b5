"""The command line: help that teaches, one message for a mistake, a skeleton that passes the contract."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from replearn.methods.options import METHODS
from tests.test_config import study_with

ROOT = Path(__file__).parents[1]


def replearn(
    *arguments: str, cwd: Path | None = None, code: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "replearn.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
    )


def test_help_names_every_step_and_question() -> None:
    text = replearn("--help").stdout
    for command in ("prepare", "pretrain", "embed", "select", "evaluate", "report", "track"):
        assert command in text
    assert "snakemake --cores" in text


def test_methods_lists_every_method_with_its_options() -> None:
    text = replearn("methods").stdout
    for name in METHODS:
        assert name in text
    assert "temperature = 0.5" in text


def test_validate_prints_the_plan(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({**study_with(), "results": str(tmp_path)}))
    done = replearn("validate", str(study))
    assert done.returncode == 0, done.stderr
    assert "3 runs on digits" in done.stdout
    assert not list(tmp_path.glob("runs")), "validating writes no plan"


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "nowhere.yaml"],
        ["collate", "nowhere/plan.json"],
        ["pretrain", "nowhere.json", "--dataset", "x", "--output", "y"],
        ["new-method", "simclr"],
        ["why", "simclr", "--study", "nowhere.yaml"],
        ["new-method", "Not A Name"],
    ],
)
def test_a_mistake_is_one_message_and_status_2(arguments: list[str], tmp_path: Path) -> None:
    done = replearn(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_schema_accepts_the_shipped_studies_and_refuses_a_typo() -> None:
    import jsonschema

    schema = json.loads(replearn("schema").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    for path in [ROOT / "config/config.yaml", *(ROOT / "config/studies").glob("*.yaml")]:
        validator.validate(yaml.safe_load(path.read_text()))
    assert not validator.is_valid(study_with(methods={"simclr": {"temprature": 1}}))


def test_a_new_method_passes_the_contract_at_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "replearn", tmp_path / "replearn")
    shutil.copytree(ROOT / "tests/methods", tmp_path / "tests/methods")
    (tmp_path / "tests/__init__.py").touch()
    done = replearn("new-method", "vicreg", cwd=tmp_path, code=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "replearn/methods/vicreg.py").is_file()
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "vicreg and not golden",
            "tests/methods",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
