"""The smoke study, run once by real Snakemake for all tests that look at a finished study."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PARTS = ("Snakefile", "workflow", "profiles", "replearn", "config", "environment.yml")
SMOKE = "config/studies/smoke.yaml"


@dataclass(frozen=True)
class FinishedStudy:
    """A copy of the checkout in which the smoke study has been run."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "results" / "studies" / "smoke"

    @property
    def plan(self) -> Path:
        return self.study / "plan.json"

    @property
    def report(self) -> Path:
        return self.root / "reports" / "smoke" / "index.html"

    def snakemake(
        self, *arguments: str, study: str = SMOKE, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here as a user would; output and errors come together."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", study]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        variables.pop("MLFLOW_TRACKING_URI", None)
        variables |= environment or {}
        return subprocess.run(
            command,
            cwd=self.root,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def copy_checkout(target: Path) -> FinishedStudy:
    """What Snakemake needs of the checkout, copied to `target`."""
    target.mkdir(parents=True)
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / part, ignore=ignored)
        else:
            shutil.copy(source, target / part)
    return FinishedStudy(target)


@pytest.fixture(scope="session")
def smoke_study(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """The finished smoke study; read only. Its folder has a space in its name on purpose."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    study = FinishedStudy(shared / "smoke study")
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not study.report.exists():
            shutil.rmtree(study.root, ignore_errors=True)
            copy_checkout(study.root)
            done = study.snakemake("--cores", "2")
            assert done.returncode == 0, done.stdout[-8000:]
    return study


@pytest.fixture
def study_copy(smoke_study: FinishedStudy, tmp_path: Path) -> FinishedStudy:
    """The finished smoke study in a folder of the test's own, to change at will."""
    target = tmp_path / "a copy"
    shutil.copytree(smoke_study.root, target, symlinks=True)
    return FinishedStudy(target)
