"""Checkpoints: what they hold, and that nothing but a whole one of the same run is ever used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from replearn import energy, provenance, train
from replearn.layout import RunLayout
from replearn.planning import Plan
from tests.tiny_study import TRAINED, curves, run_once, same

CURRENT, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
STEPS_PER_EPOCH = 450 // 32
EVERY_EPOCH = float("inf")
"""Of the time, for checkpoints: each epoch then ends with one, however short."""


def stopped(study: Plan, method: str, root: Path, step: int, number: int = signal.SIGTERM) -> None:
    """Train up to `step`, where a signal arrives in the middle of it."""
    patch = pytest.MonkeyPatch()
    descend = train._descend
    taken = facts(root / "state" / CURRENT)["step"] if (root / "state" / CURRENT).exists() else 0

    def interrupted(*arguments: object, **named: object) -> None:
        nonlocal taken
        assert isinstance(taken, int)
        taken += 1
        if taken == step:
            os.kill(os.getpid(), number)
        descend(*arguments, **named)  # type: ignore[arg-type]

    patch.setattr(train, "_descend", interrupted)
    patch.setattr(train, "SAVE_SHARE", EVERY_EPOCH)
    try:
        with pytest.raises(SystemExit) as ended:
            run_once(study, method, root)
    finally:
        patch.undo()
    assert ended.value.code == 128 + number
    assert facts(root / "state" / CURRENT)["step"] == step


def facts(checkpoint: Path) -> dict[str, object]:
    with safe_open(checkpoint, framework="pt") as file:
        found: dict[str, object] = json.loads(file.metadata()["replearn"])
        return found


@pytest.fixture(scope="module")
def whole(tiny_study: Plan, tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    return run_once(tiny_study, "byol", tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def cut(tiny_study: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training stopped in its third epoch, with two checkpoints; to be copied."""
    root = tmp_path_factory.mktemp("cut") / "run"
    stopped(tiny_study, "byol", root, 2 * STEPS_PER_EPOCH + 5)
    return root


@pytest.mark.parametrize("method", TRAINED)
def test_a_signal_in_the_middle_of_a_window_costs_nothing(
    tiny_study: Plan, method: str, tmp_path: Path
) -> None:
    """Not even the means of the losses that history shows: those of the window's first steps are kept."""
    stopped(tiny_study, method, tmp_path / "cut", STEPS_PER_EPOCH + 3)
    stopped(tiny_study, method, tmp_path / "cut", STEPS_PER_EPOCH + 5, signal.SIGINT)
    same(
        run_once(tiny_study, method, tmp_path / "whole"),
        run_once(tiny_study, method, tmp_path / "cut"),
    )


def test_the_state_is_also_saved_within_an_epoch(
    tiny_study: Plan, whole: RunLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(train, "LOG_EVERY", 5)
    seen = []
    save = train.Checkpoint.save

    def watched(self: train.Checkpoint, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        seen.append(facts(self.path)["step"])

    monkeypatch.setattr(train.Checkpoint, "save", watched)
    layout = run_once(tiny_study, "byol", tmp_path)
    assert seen[:4] == [5, 10, 14, 15]
    for name, tensor in load_file(whole.encoder).items():
        assert torch.equal(tensor, load_file(layout.encoder)[name])


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """One bit, in the middle of a weight."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def header_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 4
    path.write_bytes(bytes(content))


def rewritten(change: dict[str, object]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        changed = {**facts(path), **change}
        save_file(load_file(path), path, metadata={"replearn": json.dumps(changed)})

    return rewrite


def of_another_key(path: Path) -> None:
    rewritten({"key": "0" * 12})(path)


def of_another_torch(path: Path) -> None:
    rewritten({"torch": "1.0"})(path)


DAMAGES = [shorter, emptied, flipped, header_flipped, of_another_key, of_another_torch]


@pytest.mark.parametrize("damaged", [(CURRENT,), (CURRENT, BEFORE)])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_whole_is_told_of_and_the_one_before_used(
    tiny_study: Plan,
    whole: RunLayout,
    cut: Path,
    damage: Callable[[Path], None],
    damaged: tuple[str, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """If that is damaged too, training starts afresh."""
    root = tmp_path / "run"
    shutil.copytree(cut, root)
    for name in damaged:
        damage(root / "state" / name)
    same(whole, run_once(tiny_study, "byol", root))
    told = capfd.readouterr().err
    for name in damaged:
        assert f"{name} is not used: " in told
    resumed = f"resuming after {2 * STEPS_PER_EPOCH * 32:,} images" in told
    assert resumed == (BEFORE not in damaged)


def hundred_watts() -> energy.Reading:
    now = time.time()
    return energy.Reading(now, {"intel-rapl:0": (100 * (now % 1e5), 1e7)})


def test_what_earlier_processes_took_is_counted(
    tiny_study: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hundred_watts()
    monkeypatch.setattr(energy, "read", hundred_watts)
    monkeypatch.setattr(provenance, "READINGS", [first])
    stopped(tiny_study, "byol", tmp_path, STEPS_PER_EPOCH + 5)
    layout = run_once(tiny_study, "byol", tmp_path)
    took = json.loads(layout.pretrain.read_text())["provenance"]
    joules = energy.between(first, provenance.READINGS[-1])
    assert took["energy_joules"] == pytest.approx(joules, abs=0.3)
    assert took["wall_seconds"] == pytest.approx(took["energy_joules"] / 100, rel=0.2)


def test_energy_that_one_process_could_not_read_is_not_claimed(
    tiny_study: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "read", lambda: energy.Reading(time.time()))
    monkeypatch.setattr(provenance, "READINGS", [energy.read()])
    stopped(tiny_study, "byol", tmp_path, STEPS_PER_EPOCH + 5)
    monkeypatch.setattr(energy, "read", hundred_watts)
    monkeypatch.setattr(provenance, "READINGS", [hundred_watts()])
    layout = run_once(tiny_study, "byol", tmp_path)
    assert json.loads(layout.pretrain.read_text())["provenance"]["energy_joules"] is None


@pytest.mark.parametrize("damage", [shorter, emptied, Path.unlink])
def test_a_history_that_is_not_the_checkpoint_s_own_is_not_continued(
    tiny_study: Plan, whole: RunLayout, cut: Path, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(cut, root)
    damage(root / "state" / "history.jsonl")
    again = run_once(tiny_study, "byol", root)
    same(whole, again)
    assert curves(again)[0]["step"] == 0


def test_what_a_killed_process_was_writing_is_cleared_away(
    tiny_study: Plan, whole: RunLayout, cut: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(cut, root)
    dead = 2**22 + 1  # above the largest number a process can have
    left = root / "state" / f".{CURRENT}.{os.uname().nodename}.{dead}"
    left.write_bytes(b"half of a checkpoint")
    same(whole, run_once(tiny_study, "byol", root))
    assert not left.exists()
