"""Training from configuration to files: repeatable, resumable, killable."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from replearn import train
from replearn.checkpoint import Checkpoint
from replearn.errors import UserError
from replearn.methods import METHODS
from replearn.methods.base import Method
from replearn.planning import Plan
from replearn.pretrain import images_to_fit
from replearn.train import LOG_EVERY
from tests.tiny_study import TRAINED, curves, run_once, same, start, wait_for, weights


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bits(tiny_study: Plan, method: str, tmp_path: Path) -> None:
    first = run_once(tiny_study, method, tmp_path / "a")
    same(first, run_once(tiny_study, method, tmp_path / "b"))
    metrics = json.loads(first.pretrain.read_text())["metrics"]
    assert metrics["status"] == "ok"
    if method in TRAINED:
        lines = curves(first)
        assert lines[0]["step"] == 0 and "knn" in lines[0]
        assert lines[-1]["epoch"] == 3 and lines[-1]["loss"] == metrics["final_loss"]
        assert metrics["images_seen"] == 3 * (450 // 32) * 32
        other = run_once(tiny_study, method, tmp_path / "c", seed=1)
        assert any(not torch.equal(t, weights(other)[n]) for n, t in weights(first).items())


@pytest.mark.parametrize(
    ("method", "stop"),
    [("byol", signal.SIGKILL), ("triplet", signal.SIGKILL), ("dino", signal.SIGTERM)],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    tiny_study: Plan, method: str, stop: signal.Signals, tmp_path: Path
) -> None:
    whole = run_once(tiny_study, method, tmp_path / "whole")
    process = start(tiny_study, method, tmp_path / "cut")
    wait_for(tmp_path / "cut" / "state" / "checkpoint.safetensors", process)
    process.send_signal(stop)
    assert process.wait() != 0, "it was stopped before its end"
    assert not (tmp_path / "cut" / "encoder.safetensors").exists()
    same(whole, run_once(tiny_study, method, tmp_path / "cut"))


def test_schedules_follow_the_share_of_the_training_that_is_done(
    tiny_study: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was cut off in its second epoch, and goes on after the first."""
    seen: list[float] = []

    def before_step(self: Method, progress: float) -> None:
        seen.append(progress)
        if len(seen) == 21:
            raise KeyboardInterrupt

    monkeypatch.setattr(Method, "before_step", before_step)
    with pytest.raises(KeyboardInterrupt):
        run_once(tiny_study, "simclr", tmp_path)
    run_once(tiny_study, "simclr", tmp_path)
    an_epoch = 450 // 32
    assert seen == [step / (3 * an_epoch) for step in [*range(21), *range(an_epoch, 3 * an_epoch)]]


@pytest.mark.parametrize(
    ("shape", "count"),
    [((60_000, 1, 28, 28), 50_000), ((60_000, 3, 224, 224), 7_133), ((9, 3, 32, 32), 50_000)],
)
def test_references_are_fitted_to_fewer_large_images(shape: tuple[int, ...], count: int) -> None:
    assert images_to_fit(shape) == count


@pytest.mark.parametrize(("share", "saves"), [(1e9, 3), (1e-9, 2)])
def test_epochs_that_are_over_soon_share_a_checkpoint(
    tiny_study: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, saves: int
) -> None:
    """The first and the last have one in any case, those between if it takes a small part of the time."""
    written: list[int] = []
    original = Checkpoint.save

    def save(self: Checkpoint, *state: Any) -> None:
        written.append(state[2].step)
        original(self, *state)

    monkeypatch.setattr(Checkpoint, "save", save)
    monkeypatch.setattr(train, "SAVE_SHARE", share)
    run_once(tiny_study, "simclr", tmp_path / "a")
    steps = 450 // 32
    assert written == [steps, 2 * steps, 3 * steps][:: 1 if saves == 3 else 2]


@pytest.mark.parametrize("method", ["dino", "triplet"])
def test_streamed_images_give_the_same_bits(tiny_study: Plan, method: str, tmp_path: Path) -> None:
    run = next(run for run in tiny_study.runs if run.config.method == method)
    training = run.config.training
    ways = [
        run_once(
            tiny_study,
            method,
            tmp_path / where,
            training=training.model_copy(update={"images": where}),
        )
        for where in ("resident", "streamed")
    ]
    same(*ways)


def test_a_training_says_how_fast_it_was(tiny_study: Plan, tmp_path: Path) -> None:
    """Over the time of its steps, a part of the wall time, of which a share is not the model's."""
    facts = json.loads(run_once(tiny_study, "simclr", tmp_path / "a").pretrain.read_text())[
        "provenance"
    ]
    assert 0 < facts["training_seconds"] < facts["wall_seconds"]
    images = 3 * (450 // 32) * 32
    assert facts["images_per_second"] == pytest.approx(images / facts["training_seconds"])
    assert 0 < facts["outside_model"] < 1 and facts["ranks"] == 1
    assert facts["waiting_for_images"] == 0
    untrained = json.loads(run_once(tiny_study, "raw_pixels", tmp_path / "b").pretrain.read_text())
    assert "images_per_second" not in untrained["provenance"]


def test_a_batch_larger_than_the_data_is_refused(tiny_study: Plan, tmp_path: Path) -> None:
    run = next(run for run in tiny_study.runs if run.config.method == "simclr")
    training = run.config.training.model_copy(update={"batch_size": 1000})
    with pytest.raises(UserError, match="batch of 1000 is larger than the 450"):
        run_once(tiny_study, "simclr", tmp_path, training=training)
    assert not (tmp_path / "encoder.safetensors").exists()


def test_a_loss_that_diverges_ends_with_a_message(tiny_study: Plan, tmp_path: Path) -> None:
    run = next(run for run in tiny_study.runs if run.config.method == "autoencoder")
    optimizer = run.config.optimizer.model_copy(update={"lr": 1e30, "name": "sgd"})
    with pytest.raises(UserError, match="the loss became"):
        run_once(tiny_study, "autoencoder", tmp_path, optimizer=optimizer)


def test_history_is_written_every_few_steps(tiny_study: Plan, tmp_path: Path) -> None:
    steps = [line["step"] for line in curves(run_once(tiny_study, "supcon", tmp_path))]
    per_epoch = 450 // 32
    assert steps == sorted(
        {0, *range(LOG_EVERY, 3 * per_epoch, LOG_EVERY), *(per_epoch * e for e in (1, 2, 3))}
    )
