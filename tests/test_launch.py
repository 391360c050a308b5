"""A training on several ranks, started by torch's launcher as on several GPUs, here on CPUs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from replearn.config import parse_study
from replearn.data import prepare
from replearn.launch import shareable
from replearn.planning import Plan, plan, write
from tests.workflow_fixture import CHECKOUT

SCRIPT = (
    "import sys; from replearn.launch import run_ranks; run_ranks(sys.argv[2:], int(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("study")
    raw = {
        "name": "ranks",
        "datasets": {"digits": {"limit": 600}},
        "seeds": [0],
        "encoder": {"name": "convnet", "width": 4},
        "training": {"epochs": 3, "batch_size": 32, "monitor": {"bank": 100, "queries": 50}},
        "methods": {
            "triplet": {"neighbourhoods": 4},
            "byol": {"variants": {"compiled": {"training": {"compile": "kernels"}}}},
        },
        "results": str(root / "results"),
    }
    planned = plan(parse_study(raw, "ranks"))
    write(planned)
    dataset = planned.datasets["digits"]
    prepare("digits", dataset.options, dataset.directory, raw=root / "raw")
    return planned


def start(
    study: Plan, method: str, output: Path, *command: str, threads: int = 1
) -> subprocess.Popen[str]:
    """`replearn pretrain` of a method or a variant under a launcher."""
    run = next(run for run in study.runs if method in (run.config.method, run.config.variant))
    arguments = ["pretrain", str(run.layout.config), "--threads", str(threads)]
    arguments += ["--dataset", str(study.datasets["digits"].manifest), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen(
        [sys.executable, *command, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def with_ranks(study: Plan, method: str, output: Path, ranks: int) -> subprocess.Popen[str]:
    return start(study, method, output, "-c", SCRIPT, str(ranks))


def finished(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "encoder.safetensors")


def test_a_batch_is_shared_by_as_many_as_divide_it() -> None:
    assert [shareable(12, n) for n in (0, 1, 2, 3, 4, 5)] == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("method", ["triplet", "byol"])
def test_two_ranks_train_as_one_does(
    study: Plan, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    finished(start(study, method, tmp_path / "one", "-m", "replearn"))
    errors = finished(with_ranks(study, method, tmp_path / "two", 2))
    assert errors.count("100%") == 1, "one rank talks"
    assert not list(tmp_path.glob("torchelastic*")), "the launcher's notes are gone"
    one, two = (
        json.loads((tmp_path / name / "pretrain.json").read_text()) for name in ("one", "two")
    )
    assert (one["provenance"]["ranks"], two["provenance"]["ranks"]) == (1, 2)
    assert two["metrics"]["images_seen"] == one["metrics"]["images_seen"]
    # Rounding grows with every step: the first epoch is close, the weights need not be.
    first, other = (losses(tmp_path / name)[:10] for name in ("one", "two"))
    assert other == pytest.approx(first, rel=0.02)


@pytest.mark.slow
def test_two_compiled_ranks_train_as_one_does(study: Plan, tmp_path: Path) -> None:
    finished(start(study, "byol", tmp_path / "one", "-m", "replearn"))
    finished(with_ranks(study, "compiled", tmp_path / "two", 2))
    one, two = (losses(tmp_path / name)[:10] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=0.02)


def losses(output: Path) -> list[float]:
    lines = map(json.loads, (output / "history.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_ranks_stop_together_and_resume_to_the_same_bits(study: Plan, tmp_path: Path) -> None:
    finished(with_ranks(study, "byol", tmp_path / "whole", 2))
    process = with_ranks(study, "byol", tmp_path / "cut", 2)
    checkpoint = tmp_path / "cut" / "state" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "cut" / "encoder.safetensors").exists()
    assert "resuming after" in finished(with_ranks(study, "byol", tmp_path / "cut", 2))
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_that_comes_twice_loses_nothing(study: Plan, ranks: int, tmp_path: Path) -> None:
    """Ctrl-C and batch systems signal every process; a launcher passes on what its ranks have already."""
    command = ("-m", "replearn") if ranks == 1 else ("-c", SCRIPT, str(ranks))
    process = start(study, "byol", tmp_path, *command)
    history = tmp_path / "state" / "history.jsonl"
    while process.poll() is None and not (history.exists() and b'"loss"' in history.read_bytes()):
        time.sleep(0.002)
    for _ in range(3 - ranks):
        os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("stopped by SIGTERM") == 1
    assert (tmp_path / "state" / "checkpoint.safetensors").exists()


def test_torchrun_starts_ranks_too(study: Plan, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    finished(start(study, "byol", tmp_path / "run", *launcher, "-m", "replearn"))
    facts = json.loads((tmp_path / "run" / "pretrain.json").read_text())["provenance"]
    assert facts["ranks"] == 2


def test_a_mistake_is_told_once_by_several_ranks(study: Plan, tmp_path: Path) -> None:
    process = with_ranks(study, "byol", tmp_path, 3)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors.count("error: ") == 1 and "Traceback" not in errors
    assert "3 ranks" in errors and "batch of 32" in errors
