"""Verdicts on real trainings: every one broken on purpose is caught, no healthy one is accused.

Five ways to break a method and eleven healthy methods and variants on scikit-learn's digits, with three and
two seeds, of which `make test` takes the first; a run takes about two seconds, DINO's more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from replearn import train
from replearn.config import RunConfig, parse_study
from replearn.data import open_prepared, prepare
from replearn.embed import part_features, trained_method
from replearn.evaluate.collapse import diagnose
from replearn.evaluate.verdict import verdict
from replearn.layout import RunLayout
from replearn.planning import Plan, PlannedRun, plan, write
from replearn.pretrain import pretrain
from replearn.progress import Progress

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
UNSHARPENED = {"teacher_temperature_start": 1.0, "teacher_temperature": 1.0}
BROKEN: Mapping[str, dict[str, Any]] = {
    "byol/no_predictor": {"predictor": False},
    "byol/no_stop_gradient": {"stop_gradient": False},
    "triplet/hard": {"mining": "hard"},
    "triplet/no_margin": {"mining": "hard", "margin": 0},
    "dino/no_sharpening": {
        **UNSHARPENED,
        "optimizer": {"lr": 0.02},
        "training": {"epochs": 24},
    },
}
HEALTHY: Mapping[str, dict[str, Any]] = {
    "byol/no_average": {"ema": False},
    "triplet/random": {"mining": "random"},
    "simclr/hot": {"temperature": 1.0},
}
HEALTHY_METHODS = ("autoencoder", "supervised", "supcon", "simclr", "clip", "byol", "dino")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("verdicts")
    methods: dict[str, Any] = {name: {"variants": {}} for name in (*HEALTHY_METHODS, "triplet")}
    for row, options in {**BROKEN, **HEALTHY}.items():
        method, _, variant = row.partition("/")
        methods[method]["variants"][variant] = options
    raw = {
        "name": "verdicts",
        "datasets": {"digits": {}},
        "seeds": [0, 1, 2],
        "encoder": {"name": "convnet", "width": 8},
        "training": {
            "epochs": 12,
            "batch_size": 64,
            "monitor": {"bank": 200, "queries": 150},
        },
        "methods": methods,
        "results": str(root / "results"),
    }
    planned = plan(parse_study(raw, "verdicts"))
    write(planned)
    dataset = planned.datasets["digits"]
    prepare("digits", dataset.options, dataset.directory, raw=root / "raw")
    return planned


def run_of(study: Plan, row: str, seed: int) -> PlannedRun:
    method, _, variant = row.partition("/")
    wanted = (method, variant or "default", seed)
    return next(
        run
        for run in study.runs
        if (run.config.method, run.config.variant, run.config.seed) == wanted
    )


def judged(study: Plan, row: str, seed: int) -> tuple[str, str]:
    """Verdict and rule on the test images, of a run that is trained here."""
    run = run_of(study, row, seed)
    dataset = open_prepared(study.datasets["digits"].directory)
    torch.set_num_threads(1)
    pretrain(run.config, dataset, run.layout, "cpu")
    method = trained_method(run.config, dataset, run.layout.encoder, "cpu")
    part = dataset.part("test")
    with torch.no_grad(), Progress(len(part), "features", silent=True) as progress:
        features = part_features(method, dataset, part, "cpu", progress)
    z = features.get("z")
    found = verdict(
        diagnose(features["h"]),
        None if z is None else diagnose(z),
        supervision=run.config.supervision,
    )
    return found.status, found.rule


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("row", BROKEN)
def test_a_broken_training_is_caught(study: Plan, row: str, seed: int) -> None:
    status, rule = judged(study, row, seed)
    assert status == "complete", rule
    assert timeline(run_of(study, row, seed).layout)[-1] == "complete"


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("row", [*HEALTHY_METHODS, "triplet", *HEALTHY])
def test_a_healthy_training_is_not_accused(study: Plan, row: str, seed: int) -> None:
    status, rule = judged(study, row, seed)
    assert status == "healthy", rule


def timeline(layout: RunLayout) -> list[str]:
    lines = [json.loads(line) for line in layout.history.read_text().splitlines()]
    return [line["verdict"] for line in lines if "verdict" in line]


def early(config: RunConfig) -> RunConfig:
    training = config.training.model_copy(update={"stop_on_collapse": True})
    return config.model_copy(update={"training": training})


def test_a_collapse_can_end_a_training_early(
    study: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_SHARE", 1e-9)  # after the first epoch, only the end is saved
    broken = run_of(study, "byol/no_stop_gradient", 0)
    dataset = open_prepared(study.datasets["digits"].directory)
    layout = RunLayout(tmp_path, "f", "e")
    pretrain(early(broken.config), dataset, layout, "cpu")
    metrics = json.loads(layout.pretrain.read_text())["metrics"]
    assert metrics["ended_early"] is True
    assert metrics["epochs"] < broken.config.training.epochs
    assert metrics["images_seen"] == metrics["steps"] * 64
    assert timeline(layout)[-2:] == ["complete", "complete"]
    assert "complete" not in timeline(layout)[1:-2]
    # Started again, as after a kill between the end of the training and its files, it stays ended.
    before = layout.history.read_text()
    layout.pretrain.unlink()
    pretrain(early(broken.config), dataset, layout, "cpu")
    assert layout.history.read_text() == before


def test_a_healthy_training_keeps_its_budget(study: Plan, tmp_path: Path) -> None:
    healthy = run_of(study, "simclr", 0)
    layout = RunLayout(tmp_path, "f", "e")
    dataset = open_prepared(study.datasets["digits"].directory)
    pretrain(early(healthy.config), dataset, layout, "cpu")
    metrics = json.loads(layout.pretrain.read_text())["metrics"]
    assert metrics["ended_early"] is False
    assert metrics["epochs"] == 12
