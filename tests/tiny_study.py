"""A study of every method on a few digits, whose trainings take a second or two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from replearn.config import parse_study
from replearn.data import open_prepared, prepare
from replearn.layout import RunLayout
from replearn.methods import METHODS
from replearn.planning import Plan, PlannedRun, plan, write
from replearn.pretrain import pretrain

TIMES = ("time", "seconds", "images_per_second", "outside_model", "waiting_for_images")
TRAINED = [name for name, options in METHODS.items() if options.trained]


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Every method on digits, planned, with the dataset prepared; read only."""
    return make_study(tmp_path_factory.mktemp("tiny"))


def make_study(root: Path) -> Plan:
    """Plan the study below `root`, prepare its dataset and train the one that others learn from."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "datasets": {"digits": {"limit": 500}},
        "seeds": [0],
        "encoder": {"name": "convnet", "width": 4},
        "training": {"epochs": 3, "batch_size": 32, "monitor": {"bank": 100, "queries": 50}},
        "methods": {name: {} for name in METHODS},
        "results": str(root / "results"),
    }
    raw["methods"]["triplet"] = {"neighbourhoods": 4}
    planned = plan(parse_study(raw, "tiny"))
    write(planned)
    dataset = planned.datasets["digits"]
    prepare("digits", dataset.options, dataset.directory, raw=root / "raw")
    run_once(planned, "supervised", run_of(planned, "supervised").layout.root)
    return planned


def run_of(study: Plan, method: str) -> PlannedRun:
    return next(run for run in study.runs if run.config.method == method)


def run_once(study: Plan, method: str, root: Path, device: str = "cpu", **change: Any) -> RunLayout:
    run = run_of(study, method)
    layout = RunLayout(root, "f", "e")
    config = run.config.model_copy(update=change)
    torch.set_num_threads(1)
    dataset = open_prepared(study.datasets["digits"].directory)
    pretrain(config, dataset, layout, device, run.teacher)
    return layout


def weights(layout: RunLayout) -> dict[str, torch.Tensor]:
    return load_file(layout.encoder)


def same(a: RunLayout, b: RunLayout) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert (
        json.loads(a.pretrain.read_text())["metrics"]
        == json.loads(b.pretrain.read_text())["metrics"]
    )
    assert curves(a) == curves(b)


def curves(layout: RunLayout) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in layout.history.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def command(study: Plan, method: str, root: Path) -> list[str]:
    """What Snakemake would run to train a method into `root`."""
    run = run_of(study, method)
    manifest = study.datasets["digits"].manifest
    arguments = ["--dataset", str(manifest), "--output", str(root), "--gpus", "0"]
    arguments += [] if run.teacher is None else ["--teacher", str(run.teacher)]
    return [sys.executable, "-m", "replearn", "pretrain", str(run.layout.config), *arguments]


def start(study: Plan, method: str, root: Path) -> subprocess.Popen[bytes]:
    """Train in a process of its own, which can be killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(study, method, root), env=environment, stderr=subprocess.PIPE)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)
