"""MLflow servers that are away, slow or restarted during a sync; sixteen writers of one database."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.made_up_study import MadeUpStudy
from tests.mlflow_server import MLflowServer, SlowDoor, free_port
from tests.test_tracking import check_contents, everything

pytestmark = pytest.mark.faults


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUpStudy:
    folder = tmp_path / "study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return MadeUpStudy()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MLflowServer]:
    running = MLflowServer(tmp_path / "server")
    running.start()
    yield running
    running.stop()


def tracking(study: MadeUpStudy, receipt: Path | None = None) -> subprocess.Popen[str]:
    """A sync in a process of its own, as the workflow does it."""
    command = [sys.executable, "-m", "replearn", "track", str(study.file)]
    command += ["--receipt", str(receipt or study.receipt)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_sixteen_writers_of_a_fresh_database(study: MadeUpStudy, tmp_path: Path) -> None:
    receipts = [tmp_path / f"receipt-{number}.json" for number in range(16)]
    jobs = [tracking(study, receipt) for receipt in receipts]
    for job in jobs:
        told = job.communicate()[1]
        assert job.returncode == 0 and "warning" not in told, told
    said = [json.loads(receipt.read_text()) for receipt in receipts]
    assert {entry["status"] for entry in said} == {"synced"}
    assert sorted(entry["written"] for entry in said) == [0] * 15 + [4], "one wrote, for all"
    check_contents(MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}"), said[0])


def test_sixteen_studies_into_one_server(
    study: MadeUpStudy, server: MLflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sixteen folders, hence no lock in common: the server's own writes must hold."""
    address = f"http://127.0.0.1:{server.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    study.sync()
    copies = []
    for number in range(16):
        folder = tmp_path / f"copy {number}"
        shutil.copytree(Path.cwd(), folder)
        plan = json.loads((folder / study.file).read_text()) | {"study": f"toy-{number}"}
        (folder / study.file).write_text(json.dumps(plan))
        command = [sys.executable, "-m", "replearn", "track", str(study.file)]
        command += ["--receipt", "receipt.json"]
        copies.append(
            (folder, subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True))
        )
    for folder, job in copies:
        told = job.communicate()[1]
        assert job.returncode == 0, told
        said = json.loads((folder / "receipt.json").read_text())
        if said["status"] != "synced":  # too slow for its time limit: said, and mended by the next
            assert "warning: MLflow at" in told
            command = [sys.executable, "-m", "replearn", "track", str(study.file)]
            command += ["--receipt", "receipt.json"]
            subprocess.run(command, cwd=folder, check=True)
            said = json.loads((folder / "receipt.json").read_text())
        assert said["status"] == "synced"
        runs = MlflowClient(address).search_runs(
            [said["experiment"]],
            f"tags.`replearn.study` = '{json.loads((folder / study.file).read_text())['study']}'",
        )
        assert len(runs) == 5, "a study and its four runs, none twice"


def test_a_server_that_is_away(study: MadeUpStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    job = tracking(study)
    told = job.communicate()[1]
    assert job.returncode == 0
    assert "warning: MLflow at" in told and "Nothing is lost" in told and "Traceback" not in told
    assert json.loads(study.receipt.read_text())["status"] == "unreachable"


def test_a_server_that_is_slow(
    study: MadeUpStudy, server: MLflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower than the time limit of a request: a warning in bounded time, not a study that hangs."""
    door = SlowDoor(server.port, seconds=6.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{door.port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    begun = time.monotonic()
    job = tracking(study)
    told = job.communicate()[1]
    assert time.monotonic() - begun < 120
    assert job.returncode == 0 and "warning: MLflow at" in told, told
    door.close()
    patient = SlowDoor(server.port, seconds=0.02)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{patient.port}")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    check_contents(MlflowClient(f"http://127.0.0.1:{server.port}"), study.sync())
    patient.close()


def test_a_server_restarted_in_the_middle_of_a_sync(
    study: MadeUpStudy, server: MLflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{server.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    def runs() -> int:
        with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as opened:
            return int(opened.execute("select count(*) from runs").fetchone()[0])

    def restart() -> None:
        while runs() < 3:
            time.sleep(0.01)
        server.stop()
        time.sleep(1.0)
        server.start()

    accident = threading.Thread(target=restart)
    accident.start()
    job = tracking(study)
    told = job.communicate()[1]
    accident.join()
    assert job.returncode == 0 and "Traceback" not in told, told
    said = study.sync()
    store = MlflowClient(address)
    check_contents(store, said)
    assert study.sync()["written"] == 0
    assert len(everything(store, said)) == 5
