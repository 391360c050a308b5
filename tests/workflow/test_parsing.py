"""What happens before the first job: which study is planned, and that planning it is light."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from replearn.methods.options import METHODS
from tests.workflow_fixture import CHECKOUT, SMOKE, FinishedStudy, copy_checkout

SNAKEMAKE = """
import sys
from snakemake.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "torchvision", "mlflow", "sklearn", "matplotlib"} & set(sys.modules)
print("loaded:", *sorted(heavy))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """A fresh copy in which nothing has been run."""
    return copy_checkout(tmp_path_factory.mktemp("fresh") / "checkout")


def test_a_study_of_thousands_of_jobs_is_planned_without_torch(checkout: FinishedStudy) -> None:
    study = {
        "name": "many",
        "datasets": {"digits": {}},
        "methods": {"simclr": {}},
        "seeds": list(range(1050)),
        "training": {"batch_size": 64},
    }
    path = checkout.root / "many.yaml"
    path.write_text(yaml.safe_dump(study))
    command = [sys.executable, "-c", SNAKEMAKE, "--dry-run", "--quiet", "rules"]
    done = subprocess.run(
        [*command, "--cores", "2", "--configfile", str(path)],
        cwd=checkout.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert {counts[rule] for rule in ("pretrain", "embed", "select", "evaluate")} == {"1050"}
    assert "loaded:" in done.stdout.splitlines(), "none of the heavy packages"


def test_each_study_file_stands_alone(checkout: FinishedStudy) -> None:
    done = checkout.snakemake("--dry-run", "datasets")
    assert done.returncode == 0, done.stdout
    plan = yaml.safe_load(checkout.plan.read_text())
    assert list(plan["datasets"]) == ["digits"], "the default study is not merged into it"
    both = ["--dry-run", "--configfile", "config/config.yaml", "config/studies/smoke.yaml"]
    command = [sys.executable, "-m", "snakemake", *both]
    done = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True)
    assert done.returncode == 2
    assert "one study at a time, not 2" in done.stderr


def test_the_command_line_overrides_the_study(checkout: FinishedStudy) -> None:
    done = checkout.snakemake(
        "--dry-run", "--quiet", "rules", "--config", "seeds=[3]", "methods={clip: {context: 9}}"
    )
    assert done.returncode == 0, done.stdout
    plan = yaml.safe_load(checkout.plan.read_text())
    assert {run["seed"] for run in plan["runs"]} == {3}


@pytest.mark.parametrize(
    ("cards", "device", "asked"),
    [(0, "auto", set()), (2, "auto", {"1"}), (0, "cuda", {"1"}), (2, "cpu", set())],
)
def test_jobs_ask_for_a_gpu_where_they_would_use_one(
    checkout: FinishedStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cards: int,
    device: str,
    asked: set[str],
) -> None:
    driver = tmp_path / "nvidia-smi"
    listed = "".join(f"echo 'GPU {n}: NVIDIA H200 (UUID: GPU-{n}abc)'\n" for n in range(cards))
    driver.write_text(f"#!/bin/sh\n{listed}")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "reason", "--cores", "8"]
    done = subprocess.run(
        [*command, "--configfile", SMOKE, "--config", f"device={device}", "seeds=[0]"],
        cwd=checkout.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    jobs = re.findall(r"rule (\w+):\n((?: .*\n)+)", done.stdout)
    found = {rule: set(re.findall(r"\bgpu=(\d+)", job)) - {"0"} for rule, job in jobs}
    for rule in ("pretrain", "embed", "embed_text", "select", "evaluate"):
        assert found[rule] == asked, rule
    assert found["report"] == set()


def training_under(profile: str, checkout: FinishedStudy, **environment: str) -> str:
    """What a dry run under a cluster's profile says of a training."""
    done = checkout.snakemake(
        *("--dry-run", "--quiet", "host", "--profile", f"workflow/profiles/{profile}"),
        environment=environment,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.partition("rule pretrain:")[2].partition("rule ")[0]


def test_the_slurm_profile_is_complete(checkout: FinishedStudy) -> None:
    assert "runtime=1440" in training_under("slurm", checkout)


def test_the_generic_profile_is_complete(checkout: FinishedStudy) -> None:
    assert "mem_mb=16000" in training_under("generic", checkout)


def test_the_pod_of_kubernetes_runs_the_workflow(checkout: FinishedStudy) -> None:
    """Its command, taken from the manifest, as a dry run; the volume is where the checkout lies."""
    folder = CHECKOUT / "workflow" / "profiles" / "kubernetes"
    job = yaml.safe_load((folder / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["workingDir"].startswith(container["volumeMounts"][0]["mountPath"])
    done = checkout.snakemake(*container["args"], "--dry-run", "--quiet", "host")
    assert done.returncode == 0, done.stdout
    assert "rule pretrain:" in done.stdout


def test_lint_and_format_find_nothing(checkout: FinishedStudy) -> None:
    lint = checkout.snakemake("--lint")
    assert lint.returncode == 0, lint.stdout
    files = [CHECKOUT / name for name in ("Snakefile", "workflow", "benchmarks")]
    tidy = [str(Path(sys.executable).with_name("snakefmt")), "--check", *map(str, files)]
    done = subprocess.run(tidy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_leads_the_selection_to_test_images(checkout: FinishedStudy) -> None:
    done = checkout.snakemake("--dry-run", "--quiet", "reason", "--printshellcmds")
    assert done.returncode == 0, done.stdout
    pattern = r"^rule select:\n    input: (.*)\n(?:    .*\n)*Shell command: (.*)"
    jobs = re.findall(pattern, done.stdout, re.MULTILINE)
    assert len(jobs) == len(METHODS)
    for inputs, command in jobs:
        names = {Path(path).name for path in inputs.split(", ")}
        assert names == {"config.json", "train.safetensors", "validation.safetensors"}
        assert "test" not in command
