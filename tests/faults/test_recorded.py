"""Runs that fail as rows of the table: with `on_error: record` the rest of the study completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow_fixture import FinishedStudy, copy_checkout

pytestmark = pytest.mark.faults

STUDY = """
name: stumbling
datasets: {digits: {limit: 300}}
seeds: [0, 1]
encoder: {name: convnet, width: 4}
training: {epochs: 2, batch_size: 64, monitor: {bank: 100, queries: 50}}
methods:
  raw_pixels:
  simclr:
  autoencoder:
    variants:
      runaway: {optimizer: {name: sgd, lr: 1.0e+30}}
      crowded: {training: {batch_size: 2048}}
on_error: %s
"""


def checkout(root: Path, on_error: str) -> FinishedStudy:
    study = copy_checkout(root)
    (root / "study.yaml").write_text(STUDY % on_error)
    return study


def test_the_rest_completes_and_the_table_says_what_failed(tmp_path: Path) -> None:
    study = checkout(tmp_path / "study", "record")
    done = study.snakemake("--cores", "2", study="study.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    folder = study.root / "results" / "studies" / "stumbling"
    runs = pd.read_parquet(folder / "runs.parquet")
    diverged = runs[runs.variant == "runaway"]
    assert set(diverged.status) == {"diverged"} and set(diverged.verdict) == {"diverged"}
    assert diverged.message.str.contains("the loss became").all()
    for message in diverged.message:
        log = study.root / message.split("(log: ")[1].rstrip(")")
        assert "the loss became" in log.read_text()
    assert set(runs[runs.variant == "default"].status) == {"ok"}
    report = (study.root / "reports" / "stumbling" / "index.html").read_text()
    assert "the loss became" in report
    assert "larger than the" in report, "the batch that no training set can fill is named"
    table = (folder / "tables" / "comparison.md").read_text()
    assert "diverged" in table and "simclr" in table.lower()

    again = study.snakemake("--cores", "2", "-n", study="study.yaml")
    assert "Nothing to be done" in again.stdout
    retry = [sys.executable, "-m", "replearn", "retry", "study.yaml"]
    told = subprocess.run(retry, cwd=study.root, capture_output=True, text=True, check=True).stdout
    assert "2 of 7 runs will be tried again" in told
    dry = study.snakemake("--cores", "2", "-n", study="study.yaml")
    assert "pretrain" in dry.stdout and "Nothing to be done" not in dry.stdout


def test_without_it_the_study_stops_and_keeps_what_is_finished(tmp_path: Path) -> None:
    study = checkout(tmp_path / "study", "stop")
    text = yaml.safe_load((study.root / "study.yaml").read_text())
    del text["methods"]["autoencoder"]["variants"]["crowded"]
    (study.root / "study.yaml").write_text(yaml.safe_dump(text))
    done = study.snakemake("--cores", "2", study="study.yaml")
    assert done.returncode != 0
    assert "the loss became" in done.stdout and "Traceback" not in done.stdout
    evaluated = list((study.root / "results" / "runs").rglob("linear.json"))
    assert len(evaluated) == 5, "all but the two that diverge"
    partial = study.snakemake("--cores", "1", "report_partial", study="study.yaml")
    assert partial.returncode == 0, partial.stdout[-3000:]
    report = (study.root / "reports" / "stumbling" / "partial.html").read_text()
    assert "missing" in report


TAUGHT = """
name: taught
datasets: {digits: {limit: 300}}
seeds: [0]
encoder: {name: convnet, width: 4}
training: {epochs: 1, batch_size: 64, monitor: {bank: 100, queries: 50}}
methods:
  supervised:
    variants:
      runaway: {optimizer: {name: sgd, lr: 1.0e+30}}
  distillation:
    variants:
      led-astray: {teacher: supervised/runaway}
on_error: record
"""


def test_a_student_fails_with_its_teacher(tmp_path: Path) -> None:
    study = copy_checkout(tmp_path / "study")
    (study.root / "study.yaml").write_text(TAUGHT)
    done = study.snakemake("--cores", "2", study="study.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    runs = pd.read_parquet(study.root / "results" / "studies" / "taught" / "runs.parquet")
    status = {(run.method, run.variant): run.status for run in runs.itertuples()}
    assert status == {
        ("supervised", "default"): "ok",
        ("supervised", "runaway"): "diverged",
        ("distillation", "default"): "ok",
        ("distillation", "led-astray"): "diverged",
    }
    told = runs[runs.status == "diverged"].message
    assert told.str.contains("the loss became").all() and len(set(told)) == 1


BREAKING = """
import sys, torch
from replearn import train
def full(*arguments, **named):
    raise {error}
train._descend = full
from replearn.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ('torch.OutOfMemoryError("CUDA out of memory.")', "the GPU's memory is full"),
        ("MemoryError()", "the machine's memory is full"),
        ('RuntimeError("DefaultCPUAllocator: no memory")', "the machine's memory is full"),
        ('ZeroDivisionError("a defect")', "ZeroDivisionError: a defect"),
    ],
)
@pytest.mark.parametrize("on_error", ["stop", "record"])
def test_memory_that_is_not_enough(
    smoke_study: FinishedStudy, error: str, told: str, on_error: str, tmp_path: Path
) -> None:
    (directory,) = smoke_study.root.glob("results/runs/digits/simclr/default/seed-0/*")
    (manifest,) = smoke_study.root.glob("results/data/digits/*/manifest.json")
    config = json.loads((directory / "config.json").read_text()) | {"on_error": on_error}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ["pretrain", str(tmp_path / "config.json"), "--dataset", str(manifest)]
    words += ["--output", str(tmp_path / "run"), "--gpus", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BREAKING.format(error=error), *words],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert told in done.stderr
    defect = "defect" in error
    assert ("Traceback" in done.stderr) == defect, "only a defect of the program shows its place"
    if on_error == "record":
        assert done.returncode == 0
        metrics = json.loads((tmp_path / "run" / "pretrain.json").read_text())["metrics"]
        assert metrics["status"] == "failed" and told in metrics["message"]
    else:
        assert done.returncode == (1 if defect else 2)
        assert not (tmp_path / "run" / "pretrain.json").exists()
