"""Syncing studies into real MLflow stores: SQLite files, and a server on this machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from replearn.recorded import flattened
from replearn.tracking import forget_stale_receipt, without_password
from tests.made_up_study import BORN, SECRET, MadeUpStudy, metrics_file, write
from tests.mlflow_server import MLflowServer


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them; making it takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def study(fresh: MadeUpStudy, empty_store: Path) -> MadeUpStudy:
    """A study whose store has been made."""
    shutil.copy(empty_store, "results/mlflow.db")
    return fresh


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUpStudy:
    """A study in a folder whose name needs care, and no store in the environment."""
    folder = tmp_path / "my studies, 100%"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    return MadeUpStudy()


def client(database: str = "results/mlflow.db") -> MlflowClient:
    return MlflowClient(f"sqlite:///{Path(database).resolve()}")


def runs_of(store: MlflowClient, said: dict[str, Any], role: str) -> list[Run]:
    runs = store.search_runs([said["experiment"]], f"tags.`replearn.role` = '{role}'")
    return sorted(runs, key=lambda run: str(run.info.run_name))


def everything(store: MlflowClient, said: dict[str, Any]) -> dict[str, Any]:
    """All that the store holds, by run: values, times and steps of every metric, and so on."""
    contents = {}
    for run in store.search_runs([said["experiment"]]):
        identity = run.info.run_id
        points = {
            name: [(m.timestamp, m.step, m.value) for m in store.get_metric_history(identity, name)]
            for name in run.data.metrics
        }
        artifacts = sorted(file.path for file in store.list_artifacts(identity))
        contents[str(run.info.run_name)] = (
            points,
            run.data.params,
            {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"},
            (run.info.start_time, run.info.end_time, run.info.status),
            artifacts,
        )
    return contents


def check_contents(store: MlflowClient, said: dict[str, Any]) -> None:
    """The toy study as people expect to find it."""
    assert said["status"] == "synced"
    (parent,) = runs_of(store, said, "study")
    assert parent.info.run_id == said["parent"]
    assert parent.info.run_name == "toy"
    assert parent.data.params["training.epochs"] == "3"
    assert "method" not in parent.data.params, "what differs between the runs is not the study's"
    values = parent.data.metrics
    assert values["shapes/simclr/default/linear_accuracy_mean"] == pytest.approx(0.65)
    assert values["shapes/simclr/default/linear_accuracy_sd"] == pytest.approx(0.1 / 2**0.5)
    assert {"index.html", "plan.json", "tables", "toy.yaml"} <= {
        file.path for file in store.list_artifacts(parent.info.run_id)
    }

    children = runs_of(store, said, "run")
    names = [f"shapes/{m}/default/seed-{s}" for m in ("byol", "simclr") for s in (0, 1)]
    assert [run.info.run_name for run in children] == names
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    run = children[0]
    identity = run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["method"] == "byol"
    assert run.data.tags["collapse.verdict"] == "healthy"
    assert run.data.params["options.temperature"] == "0.2"
    assert run.data.params["views.1.size"] == "4"
    assert run.data.metrics["linear/accuracy"] == pytest.approx(0.6)
    loss = store.get_metric_history(identity, "train/loss")
    assert len(loss) == 30
    assert [m.timestamp for m in loss] == [1000 * (BORN + step) for step in range(30)]
    assert [m.value for m in loss] == pytest.approx([2.0 - step / 100 for step in range(30)])
    knn = store.get_metric_history(identity, "validation/knn")
    assert [m.step for m in knn] == [0, 10, 20]
    assert "validation/rank_me" not in run.data.metrics, "nothing is made up for a null"
    (used,) = store.get_run(identity).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("shapes", "d" * 36)
    assert json.loads(used.dataset.source)["digest"] == "d" * 64
    files = {file.path for file in store.list_artifacts(identity)}
    assert files == {
        "config.json",
        "pretrain.json",
        "knn.json",
        "linear.json",
        "collapse.json",
        "structure.json",
        "robustness.json",
        "history.jsonl",
        "encoder.safetensors",
    }
    encoder = Path(store.download_artifacts(identity, "encoder.safetensors"))
    assert encoder.read_bytes() == b"weights"


def test_the_default_store_is_made_beside_the_results(fresh: MadeUpStudy) -> None:
    said = fresh.sync()
    check_contents(client(), said)
    assert said["store"] == f"sqlite:///{Path.cwd()}/results/mlflow.db"
    assert sum(path.name == "encoder.safetensors" for path in Path("results").rglob("*")) == 8
    assert not Path("mlruns").exists()
    assert len(list(Path("results/mlflow-artifacts/toys").iterdir())) == 5


def test_a_second_sync_adds_nothing_and_a_lost_store_is_rebuilt(study: MadeUpStudy) -> None:
    first = study.sync()
    before = everything(client(), first)
    second = study.sync()
    assert second["written"] == 0
    assert everything(client(), second) == before
    Path("results/mlflow.db").unlink()
    shutil.rmtree("results/mlflow-artifacts")
    # In a process of its own, because MLflow keeps a database open that has been deleted.
    command = [sys.executable, "-m", "replearn", "track", str(study.file)]
    subprocess.run([*command, "--receipt", str(study.receipt)], check=True)
    third = json.loads(study.receipt.read_text())
    assert third["written"] == 4
    shutil.copy("results/mlflow.db", "copy.db")
    assert everything(client("copy.db"), third) == before


def test_a_sync_that_was_cut_short_is_completed(study: MadeUpStudy) -> None:
    before = everything(client(), study.sync())
    half = runs_of(client(), study.sync(), "run")[0].info.run_id
    client().delete_tag(half, "replearn.content")
    said = study.sync()
    assert said["written"] == 1
    assert everything(client(), said) == before


def test_a_changed_evaluation_updates_its_run(study: MadeUpStudy) -> None:
    study.sync()
    root = Path(study.plan["runs"][0]["directory"])
    config = json.loads((root / "config.json").read_text())
    config["evaluation"] = {"knn": {"k": 5}}
    config["device"] = "cuda"
    write(root / "config.json", config)
    better = metrics_file("knn", {"accuracy": 0.9}, created="2026-09-22T00:00:00+00:00")
    write(Path(study.plan["runs"][0]["evaluation"]) / "knn.json", better)
    said = study.sync()
    assert (said["status"], said["written"]) == ("synced", 1)
    (changed,) = [r for r in runs_of(client(), said, "run") if r.data.metrics["knn/accuracy"] > 0.8]
    assert changed.info.run_name == "shapes/simclr/default/seed-0"


def test_a_changed_study_gets_a_run_of_its_own(study: MadeUpStudy) -> None:
    first = study.sync()
    study.plan["runs"].clear()
    for seed in (0, 1):
        study.add("simclr", seed, epochs=5)
    second = study.sync()
    assert second["parent"] != first["parent"]
    current = {
        (run.data.params["training.epochs"], run.data.tags["replearn.current"])
        for run in client().search_runs([second["experiment"]])
    }
    assert current == {("3", "false"), ("5", "true")}
    del study.plan["runs"][1:]
    write(study.file, study.plan)
    third = study.sync()
    assert third["parent"] == second["parent"], "one seed less is the same study"
    (left_out,) = [r for r in runs_of(client(), third, "run") if r.data.params["seed"] == "1"][:1]
    assert left_out.data.tags["replearn.current"] == "false"


def test_unfinished_and_failed_runs(study: MadeUpStudy) -> None:
    (study.add("byol", 2) / "pretrain.json").unlink()
    study.add("byol", 3, status="diverged")
    said = study.sync()
    assert said["runs"] == 5
    status = {r.info.run_name: r.info.status for r in runs_of(client(), said, "run")}
    assert "shapes/byol/default/seed-2" not in status
    assert status["shapes/byol/default/seed-3"] == "FAILED"


def test_an_experiment_deleted_by_hand_is_restored(study: MadeUpStudy) -> None:
    said = study.sync()
    client().delete_experiment(said["experiment"])
    assert study.sync()["status"] == "synced"
    assert client().get_experiment(said["experiment"]).lifecycle_stage == "active"


def test_long_histories_take_several_requests(study: MadeUpStudy) -> None:
    study.add("simclr", 7, epochs=120)
    said = study.sync()
    run = runs_of(client(), said, "run")[-1]
    assert len(client().get_metric_history(run.info.run_id, "train/loss")) == 1200


@pytest.fixture
def server(tmp_path: Path, fresh: MadeUpStudy) -> Iterator[str]:
    """An MLflow server in a process of its own; its address carries a password."""
    running = MLflowServer(tmp_path / "server")
    running.start()
    yield f"http://someone:{SECRET}@127.0.0.1:{running.port}"
    running.stop()


def test_a_server_holds_the_same(
    fresh: MadeUpStudy,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    said = fresh.sync()
    assert said["status"] == "synced", said
    check_contents(MlflowClient(server), said)
    assert fresh.sync()["written"] == 0
    assert not Path("results/mlflow.db").exists()
    assert SECRET not in fresh.receipt.read_text() + "".join(capfd.readouterr())


def test_an_unreachable_server_costs_a_warning(
    study: MadeUpStudy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: it refuses.
        port = taken.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        said = study.sync()
    assert said["status"] == "unreachable"
    shown = "".join(capfd.readouterr())
    assert "warning: MLflow at http://me:***@127.0.0.1" in shown
    assert SECRET not in shown + study.receipt.read_text()


@pytest.mark.parametrize("damage", ["a damaged database", "a store that MLflow refuses"])
def test_a_store_that_refuses_costs_a_warning(
    study: MadeUpStudy,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if damage == "a damaged database":
        Path("results/mlflow.db").write_text("not a database at all, whatever its name says")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://there")
    assert study.sync()["status"] == "unreachable"
    assert "warning: MLflow at" in capfd.readouterr().err


def test_a_receipt_holds_as_long_as_its_store(
    study: MadeUpStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Path("results")

    def holds() -> bool:
        forget_stale_receipt(study.receipt, results)
        return study.receipt.exists()

    assert not holds(), "there is none"
    said = study.sync()
    assert holds()
    client().delete_run(said["parent"])
    assert not holds(), "deleted by hand"
    study.sync()
    assert holds()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert not holds(), "another store"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    study.sync()
    (results / "mlflow.db").unlink()
    assert not holds(), "the database is gone"
    write(study.receipt, {"status": "unreachable"})
    assert not holds(), "that sync failed"


def test_passwords_are_hidden() -> None:
    assert without_password("no http://u:p@ss@h/x, nor postgresql://u:ab@h") == (
        "no http://u:***@h/x, nor postgresql://u:***@h"
    )
    assert without_password("http://host:5000/a@b") == "http://host:5000/a@b"


def test_configurations_are_flattened() -> None:
    nested = {"a": {"b": 1, "c": [{"d": None}, {"d": 2.5}]}, "e": [1, 2]}
    assert flattened(nested) == {"a.b": "1", "a.c.0.d": "None", "a.c.1.d": "2.5", "e": "[1, 2]"}
