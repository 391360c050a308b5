"""Disks that are full or read-only: real ones, small file systems in memory mounted for the test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from replearn.layout import RunLayout
from replearn.planning import Plan
from tests.faults.namespaces import MOUNTS, alone
from tests.tiny_study import command, run_once, same
from tests.workflow_fixture import FinishedStudy

pytestmark = pytest.mark.faults


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script where it may mount file systems that nobody else sees."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*alone(*MOUNTS), "bash", "-euc", script], capture_output=True, text=True, env=environment
    )


def mounted(folder: Path, size: str) -> str:
    return f"mount -t tmpfs -o size={size} none {shlex.quote(str(folder))}"


def said(folder: Path, name: str) -> str:
    text = (folder / name).read_text()
    assert "Traceback" not in text, text
    return text


def run(words: Sequence[str], log: Path) -> str:
    """A command whose failure is expected: its output and its status go to `log`."""
    told = shlex.quote(str(log))
    return f"{shlex.join(words)} >{told} 2>&1 && echo status 0 >>{told} || echo status $? >>{told}"


@pytest.mark.parametrize("free", [8, 24, 60, 100])
def test_a_training_on_a_full_disk_goes_on_when_there_is_room(
    tiny_study: Plan, free: int, tmp_path: Path
) -> None:
    """Kilobytes that fit nothing, some of history, or one checkpoint and not the next."""
    whole = run_once(tiny_study, "byol", tmp_path / "whole")
    disk = tmp_path / "disk"
    disk.mkdir()
    train = command(tiny_study, "byol", disk / "run")
    done = in_namespace(
        f"{mounted(disk, f'{free}k')}\n"
        f"{run(train, tmp_path / 'full')}\n"
        f"mount -o remount,size=64m {disk}\n"
        f"{run(train, tmp_path / 'room')}\n"
        f"cp -r {disk}/run {tmp_path}/kept"
    )
    assert done.returncode == 0, done.stderr
    full = said(tmp_path, "full")
    assert "No space left on device" in full and "status 2" in full
    assert "Free some space" in full
    assert "status 0" in said(tmp_path, "room")
    same(whole, RunLayout(tmp_path / "kept", "f", "e"))


@pytest.mark.parametrize("step", ["embed", "select"])
def test_a_later_step_on_a_full_disk(study_copy: FinishedStudy, step: str, tmp_path: Path) -> None:
    (directory,) = study_copy.root.glob("results/runs/digits/simclr/default/seed-0/*")
    (features,) = directory.glob("features-*")
    (manifest,) = study_copy.root.glob("results/data/digits/*/manifest.json")
    disk = tmp_path / "disk"
    disk.mkdir()
    inputs = {
        "embed": [
            *("--dataset", str(manifest)),
            *("--encoder", str(directory / "encoder.safetensors")),
        ],
        "select": ["--features", str(features)],
    }[step]
    words = [sys.executable, "-m", "replearn", step, str(directory / "config.json"), *inputs]
    words += ["--output", str(disk / "output")]
    size = {"embed": "40k", "select": "4k"}[step]
    done = in_namespace(
        f"{mounted(disk, size)}\n"
        f"{run(words, tmp_path / 'full')}\n"
        f"ls -A {disk}/output >{tmp_path}/left 2>/dev/null || true"
    )
    assert done.returncode == 0, done.stderr
    full = said(tmp_path, "full")
    assert "No space left on device" in full and "status 2" in full
    assert (tmp_path / "left").read_text().split() == [], "nothing half-written stays"


def test_a_workflow_on_a_full_disk_loses_nothing_and_goes_on(
    smoke_study: FinishedStudy, study_copy: FinishedStudy, tmp_path: Path
) -> None:
    root = study_copy.root
    disk = root / "disk"
    disk.mkdir()
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile"]
    snakemake += ["config/studies/smoke.yaml", "--config", "results=disk/results"]
    done = in_namespace(
        f"cd {shlex.quote(str(root))}\n"
        f"{mounted(disk, '3m')}\n"
        f"{run(snakemake, tmp_path / 'full')}\n"
        f"find disk/results -name encoder.safetensors | sort >{tmp_path}/finished\n"
        f"mount -o remount,size=200m {shlex.quote(str(disk))}\n"
        f"{run(snakemake, tmp_path / 'room')}\n"
        f"cp disk/results/studies/smoke/results.csv {tmp_path}/results.csv"
    )
    full = (tmp_path / "full").read_text()
    assert "No space left on device" in full and "status 0" not in full
    room = (tmp_path / "room").read_text()
    assert done.returncode == 0, room[-3000:]
    for finished in (tmp_path / "finished").read_text().split():
        method = finished.split("/runs/digits/")[1].split("/")[0]
        assert f"digits/{method}/default/seed-0 100%" not in room, "trained a second time"
    assert (tmp_path / "results.csv").read_text() == (smoke_study.study / "results.csv").read_text()


def test_results_that_are_read_only(study_copy: FinishedStudy, tmp_path: Path) -> None:
    root = study_copy.root
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile"]
    snakemake += ["config/studies/smoke.yaml", "--config", "seeds=[1]"]
    done = in_namespace(
        f"cd {shlex.quote(str(root))}\n"
        "mount --bind results results\n"
        "mount -o remount,bind,ro results\n"
        f"{run(snakemake, tmp_path / 'told')}"
    )
    assert done.returncode == 0, done.stderr
    told = said(tmp_path, "told")
    assert "Read-only file system" in told and "status 2" in told
    assert "results:" in told, "it says what to change"


def test_data_that_cannot_be_read(tmp_path: Path, smoke_study: FinishedStudy) -> None:
    """A prepared array cut short, as by a copy that broke off."""
    (manifest,) = smoke_study.root.glob("results/data/digits/*/manifest.json")
    (directory,) = smoke_study.root.glob("results/runs/digits/simclr/default/seed-0/*")
    copy = tmp_path / "prepared"
    copy.mkdir()
    for file in manifest.parent.iterdir():
        content = file.read_bytes()
        cut = file.name.startswith("train") and file.suffix == ".npy"
        (copy / file.name).write_bytes(content[: len(content) // 2] if cut else content)
    words = [sys.executable, "-m", "replearn", "pretrain", str(directory / "config.json")]
    words += ["--dataset", str(copy / "manifest.json"), "--output", str(tmp_path / "run")]
    done = subprocess.run([*words, "--gpus", "0"], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert str(copy) in done.stderr
