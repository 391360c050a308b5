"""Training from configuration to files: repeatable, resumable, killable."""

from __future__ import annotations

import json
import os
import signal
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
from replearn.errors import UserError
from replearn.layout import RunLayout
from replearn.methods import METHODS
from replearn.planning import Plan, plan, write
from replearn.pretrain import pretrain
from replearn.train import LOG_EVERY

TIMES = ("time", "seconds", "images_per_second", "outside_model", "waiting_for_images")
TRAINED = [name for name, options in METHODS.items() if options.trained]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("study")
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
    return planned


def run_once(study: Plan, method: str, root: Path, **change: Any) -> RunLayout:
    run = next(run for run in study.runs if run.config.method == method)
    layout = RunLayout(root, "f", "e")
    config = run.config.model_copy(update=change)
    torch.set_num_threads(1)
    pretrain(config, open_prepared(study.datasets["digits"].directory), layout, "cpu")
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


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bits(study: Plan, method: str, tmp_path: Path) -> None:
    first = run_once(study, method, tmp_path / "a")
    same(first, run_once(study, method, tmp_path / "b"))
    metrics = json.loads(first.pretrain.read_text())["metrics"]
    assert metrics["status"] == "ok"
    if method in TRAINED:
        lines = curves(first)
        assert lines[0]["step"] == 0 and "knn" in lines[0]
        assert lines[-1]["epoch"] == 3 and lines[-1]["loss"] == metrics["final_loss"]
        assert metrics["images_seen"] == 3 * (450 // 32) * 32
        other = run_once(study, method, tmp_path / "c", seed=1)
        assert any(not torch.equal(t, weights(other)[n]) for n, t in weights(first).items())


KILLED = """
import sys
from pathlib import Path
import torch
from replearn.config import read_run_config
from replearn.data import open_prepared
from replearn.layout import RunLayout
from replearn.pretrain import pretrain
torch.set_num_threads(1)
config, dataset, root = sys.argv[1:]
pretrain(read_run_config(config), open_prepared(dataset), RunLayout(Path(root), "f", "e"), "cpu")
"""


def start(study: Plan, method: str, root: Path) -> subprocess.Popen[bytes]:
    run = next(run for run in study.runs if run.config.method == method)
    command = [sys.executable, "-c", KILLED, str(run.layout.config)]
    command += [str(study.datasets["digits"].directory), str(root)]
    return subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("method", "stop"),
    [("byol", signal.SIGKILL), ("triplet", signal.SIGKILL), ("dino", signal.SIGTERM)],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    study: Plan, method: str, stop: signal.Signals, tmp_path: Path
) -> None:
    whole = run_once(study, method, tmp_path / "whole")
    process = start(study, method, tmp_path / "cut")
    wait_for(tmp_path / "cut" / "state" / "checkpoint.safetensors", process)
    process.send_signal(stop)
    assert process.wait() != 0, "it was stopped before its end"
    assert not (tmp_path / "cut" / "encoder.safetensors").exists()
    same(whole, run_once(study, method, tmp_path / "cut"))


@pytest.mark.parametrize("method", ["dino", "triplet"])
def test_streamed_images_give_the_same_bits(study: Plan, method: str, tmp_path: Path) -> None:
    run = next(run for run in study.runs if run.config.method == method)
    training = run.config.training
    ways = [
        run_once(
            study,
            method,
            tmp_path / where,
            training=training.model_copy(update={"images": where}),
        )
        for where in ("resident", "streamed")
    ]
    same(*ways)


def test_a_training_says_how_fast_it_was(study: Plan, tmp_path: Path) -> None:
    """Over the time of its steps, a part of the wall time, of which a share is not the model's."""
    facts = json.loads(run_once(study, "simclr", tmp_path / "a").pretrain.read_text())["provenance"]
    assert 0 < facts["training_seconds"] < facts["wall_seconds"]
    images = 3 * (450 // 32) * 32
    assert facts["images_per_second"] == pytest.approx(images / facts["training_seconds"])
    assert 0 < facts["outside_model"] < 1 and facts["ranks"] == 1
    assert facts["waiting_for_images"] == 0
    untrained = json.loads(run_once(study, "raw_pixels", tmp_path / "b").pretrain.read_text())
    assert "images_per_second" not in untrained["provenance"]


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(
    study: Plan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = run_once(study, "simclr", tmp_path / "whole")
    other = run_once(study, "simclr", tmp_path / "other", key="0" * 12)
    same(whole, other)
    checkpoint = other.state / "checkpoint.safetensors"
    capfd.readouterr()
    same(whole, run_once(study, "simclr", tmp_path / "other"))
    assert "belongs to another run" in capfd.readouterr().err
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    same(whole, run_once(study, "simclr", tmp_path / "other"))
    assert "damaged" in capfd.readouterr().err


def test_a_batch_larger_than_the_data_is_refused(study: Plan, tmp_path: Path) -> None:
    run = next(run for run in study.runs if run.config.method == "simclr")
    training = run.config.training.model_copy(update={"batch_size": 1000})
    with pytest.raises(UserError, match="batch of 1000 is larger than the 450"):
        run_once(study, "simclr", tmp_path, training=training)
    assert not (tmp_path / "encoder.safetensors").exists()


def test_a_loss_that_diverges_ends_with_a_message(study: Plan, tmp_path: Path) -> None:
    run = next(run for run in study.runs if run.config.method == "autoencoder")
    optimizer = run.config.optimizer.model_copy(update={"lr": 1e30, "name": "sgd"})
    with pytest.raises(UserError, match="the loss became"):
        run_once(study, "autoencoder", tmp_path, optimizer=optimizer)


def test_history_is_written_every_few_steps(study: Plan, tmp_path: Path) -> None:
    steps = [line["step"] for line in curves(run_once(study, "supcon", tmp_path))]
    per_epoch = 450 // 32
    assert steps == sorted(
        {0, *range(LOG_EVERY, 3 * per_epoch, LOG_EVERY), *(per_epoch * e for e in (1, 2, 3))}
    )
