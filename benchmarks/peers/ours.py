"""replearn's side: the training that a study's job does, from its configuration to its history."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.images import NAME
from benchmarks.peers.task import (
    CONVNET_WIDTH,
    HEADS,
    MOMENTUM,
    TEMPERATURE,
    VIEW,
    WEIGHT_DECAY,
    Recipe,
    Task,
    limit_threads,
)
from replearn.allocator import keep_freed_memory
from replearn.config import parse_study
from replearn.data import open_prepared
from replearn.planning import PlannedRun, plan
from replearn.pretrain import LR_BATCH, pretrain


def planned(task: Task, results: Path, method: dict[str, Any], precision: str) -> PlannedRun:
    """The one run of a study that trains SimCLR on the task's images."""
    study = parse_study(
        {
            "name": "peers",
            "datasets": {NAME: {"source": "folder", "path": task.images}},
            "methods": {"simclr": method},
            "seeds": [0],
            "encoder": {"name": task.encoder, "width": CONVNET_WIDTH},
            "training": {
                "epochs": task.epochs,
                "batch_size": task.batch_size,
                "precision": precision,
                "compile": task.compile,
                "monitor": {"epochs": 0},
            },
            "results": str(results),
        },
        where="benchmarks.peers",
    )
    (run,) = plan(study).runs
    return run


def equal_parts(task: Task) -> dict[str, Any]:
    """SimCLR's block of a study with everything that lightly's side has."""
    hidden, output = HEADS[task.encoder]
    return {
        "temperature": TEMPERATURE,
        "hidden": hidden,
        "output": output,
        "optimizer": {
            "name": "sgd",
            "lr": task.lr * LR_BATCH / task.batch_size,
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
        },
        "views": [VIEW.model_dump()] * 2,
    }


def parts_of(recipe: Recipe, task: Task) -> dict[str, Any]:
    """SimCLR's block of a study by a recipe's name; empty for replearn's own.

    "kobak" has the values of D. Kobak's script simclr-cifar10 (83.2 % after 100 epochs with k = 10),
    "short" half of lightly's learning rate, a lower temperature and a wider head, for two hundred epochs.
    """
    if recipe == "own":
        return {}
    parts = equal_parts(task)
    if recipe == "lightly":
        return parts
    if recipe == "short":
        return parts | {
            "temperature": 0.2,
            "hidden": 1024,
            "optimizer": parts["optimizer"] | {"lr": 0.06},
        }
    view = VIEW.model_dump() | {"crop_scale": (0.2, 1.0), "grayscale": 0.1}
    optimizer = parts["optimizer"] | {"lr": 0.03}
    return parts | {"hidden": 1024, "optimizer": optimizer, "views": [view] * 2}


def throughput(task: dict[str, Any]) -> float:
    """Views per second after the warm-up, two for each image."""
    wanted = Task(**task)
    limit_threads(wanted.threads)
    keep_freed_memory()  # as the `replearn` command does
    with tempfile.TemporaryDirectory() as results:
        run = planned(wanted, Path(results), equal_parts(wanted), "auto")
        pretrain(run.config, open_prepared(wanted.prepared), run.layout, wanted.device)
        lines = [json.loads(line) for line in run.layout.history.read_text().splitlines()]
    first = next(line for line in lines if line["epoch"] >= wanted.warm_up)
    seconds = lines[-1]["time"] - first["time"]
    return float(2 * wanted.batch_size * (lines[-1]["step"] - first["step"]) / seconds)
