"""The Slurm profile against a real slurmctld and slurmd: whole studies, signals, requeues and time limits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.slurm.cluster import Cluster
from tests.tiny_study import TIMES
from tests.workflow_fixture import SMOKE, FinishedStudy, copy_checkout

pytestmark = pytest.mark.slurm

LONG = """
name: long
datasets: {digits: {}}
seeds: [0]
encoder: {name: convnet, width: 16}
training: {epochs: %d, batch_size: 128, monitor: {epochs: 10, bank: 200, queries: 50}}
methods: {byol: }
tracking: {enabled: false}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid() != 0 or not shutil.which("slurmctld") or not shutil.which("munged"):
        pytest.fail(
            "needs root and the packages slurm-wlm and munge: make test-slurm installs them"
        )
    running = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    running.up()
    yield running
    running.down()


class Submitted:
    """A workflow that sends its jobs to the cluster."""

    def __init__(self, study: FinishedStudy, cluster: Cluster, config: str, *more: str) -> None:
        self.cluster = cluster
        self.log = study.root / "snakemake.log"
        command = [sys.executable, "-m", "snakemake", "--configfile", config]
        command += ["--profile", "workflow/profiles/slurm", "--slurm-status-command", "squeue"]
        command += ["--slurm-no-account", "--slurm-init-seconds-before-status-checks", "3"]
        command += ["--seconds-between-status-checks", "3", "--latency-wait", "20"]
        command += ["--default-resources", "slurm_partition=main", "mem_mb=700", "runtime=10"]
        command += more or ("--set-resources", "pretrain:mem_mb=900", "pretrain:runtime=10")
        command += ["--set-threads", "pretrain=1"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for name in ("CUDA_VISIBLE_DEVICES", "MLFLOW_TRACKING_URI"):
            environment.pop(name, None)
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=study.root, env=environment, stdout=out, stderr=subprocess.STDOUT
            )

    def wait(self) -> str:
        code = self.process.wait()
        told = self.log.read_text()
        assert code == 0, told[-5000:]
        return told

    def training(self, state: Path) -> str:
        """The id of the running training job, once it has written a checkpoint of its own."""
        checkpoint = state / "checkpoint.safetensors"
        before = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        while not checkpoint.exists() or checkpoint.stat().st_mtime == before:
            assert self.process.poll() is None, self.log.read_text()[-5000:]
            time.sleep(0.1)
        found = self.cluster.client("squeue", "--noheader", "--states=RUNNING", "--format=%A %j %k")
        (job,) = {line.split()[0] for line in found.splitlines() if "pretrain" in line}
        return job


def numbers(study: FinishedStudy, name: str) -> pd.DataFrame:
    return pd.read_csv(study.root / "results" / "studies" / name / "results.csv")


def test_the_smoke_study_runs_two_jobs_at_a_time_on_devices_of_their_own(
    cluster: Cluster, smoke_study: FinishedStudy, tmp_path: Path
) -> None:
    study = copy_checkout(tmp_path / "a study")
    workflow = Submitted(study, cluster, SMOKE)
    together: set[tuple[str, ...]] = set()
    while workflow.process.poll() is None:
        jobs = cluster.client("scontrol", "--details", "show", "job").split("\n\n")
        held = [
            tuple(re.findall(r"GRES=gpu[^(]*\(IDX:([\d,-]+)\)", job))
            for job in jobs
            if "JobState=RUNNING" in job and "Comment=rule_track" not in job
        ]
        devices = [device for (device,) in filter(None, held)]
        assert len(set(devices)) == len(devices), "two jobs on one device"
        together.add(tuple(sorted(devices)))
        time.sleep(0.5)
    workflow.wait()
    assert ("0", "1") in together, together
    pd.testing.assert_frame_equal(numbers(study, "smoke"), numbers(smoke_study, "smoke"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """The long study, run here without Slurm."""
    study = copy_checkout(tmp_path_factory.mktemp("undisturbed") / "study")
    (study.root / "long.yaml").write_text(LONG % 60)
    done = study.snakemake("--cores", "1", study="long.yaml")
    assert done.returncode == 0, done.stdout[-3000:]
    return study


def curves(study: FinishedStudy) -> list[dict[str, float]]:
    (history,) = study.root.glob("results/runs/digits/byol/default/seed-0/*/history.jsonl")
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def state_of(study: FinishedStudy) -> Path:
    run = study.root / "results" / "runs" / "digits" / "byol" / "default" / "seed-0"
    while not (found := list(run.glob("*"))):
        time.sleep(0.2)
    return found[0] / "state"


@pytest.mark.parametrize("accident", ["requeue", "terminate", "node"])
def test_a_training_cut_short_resumes_to_the_same_numbers(
    cluster: Cluster, undisturbed: FinishedStudy, accident: str, tmp_path: Path
) -> None:
    study = copy_checkout(tmp_path / "study")
    (study.root / "long.yaml").write_text(LONG % 60)
    workflow = Submitted(study, cluster, "long.yaml")
    job = workflow.training(state_of(study))
    if accident == "requeue":
        cluster.client("scontrol", "requeue", job)
    elif accident == "terminate":
        cluster.client("scancel", "--signal=TERM", job)
    else:
        cluster.client("scancel", "--signal=KILL", "--full", job)
    workflow.wait()
    logs = "".join(log.read_text() for log in study.root.glob("results/logs/pretrain/**/*.log"))
    assert "resuming after" in logs
    pd.testing.assert_frame_equal(numbers(study, "long"), numbers(undisturbed, "long"))
    assert curves(study) == curves(undisturbed)


def test_a_training_over_its_time_limit_resumes_with_a_longer_one(
    cluster: Cluster, undisturbed: FinishedStudy, tmp_path: Path
) -> None:
    """The limit is a minute for the first attempt and ten for the second; the training is longer than one."""
    study = copy_checkout(tmp_path / "study")
    (study.root / "long.yaml").write_text(LONG % 1000)
    limits = (
        "--set-resources",
        "pretrain:mem_mb=900",
        "pretrain:runtime=1 if attempt == 1 else 20",
    )
    workflow = Submitted(study, cluster, "long.yaml", *limits)
    told = workflow.wait()
    assert "Trying to restart job" in told
    (pretrain,) = study.root.glob("results/runs/digits/byol/default/seed-0/*/pretrain.json")
    assert json.loads(pretrain.read_text())["metrics"]["epochs"] == 1000
    logs = "".join(log.read_text() for log in study.root.glob("results/logs/pretrain/**/*.log"))
    assert "resuming after" in logs
