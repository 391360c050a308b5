"""MLflow: a finished study replayed into a tracking store, as often as you like with the same result.

Runs write files while they train; this module alone talks to MLflow, once, from one process. What is logged
carries the recorded times, and a run is found again by its key, so a second sync adds nothing and a lost
database is rebuilt from the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replearn.jsonfile import read_json, write_json
from replearn.progress import Progress

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY, KEY, CONTENT = "replearn.study", "replearn.key", "replearn.content"
METRIC_FILES = ("pretrain", "knn", "linear", "collapse", "text")
BATCH = 1000
"""Metrics per request, MLflow's limit."""


def track(plan_json: Path, *, receipt: Path) -> None:
    """Sync a study into the store of MLFLOW_TRACKING_URI, or into `<results>/mlflow.db`.

    An unreachable store costs a warning; the receipt says what happened.

    Args:
        plan_json: the study's plan.
        receipt: JSON file to write.
    """
    plan = read_json(plan_json)
    results = Path(plan["results"])
    uri = os.environ.get("MLFLOW_TRACKING_URI") or local_uri(results)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    said: dict[str, Any] = {"store": without_password(uri), "study": plan["study"]}
    try:
        client = MlflowClient(uri)
        said |= _sync(client, plan, plan_json, results.resolve(), local=uri == local_uri(results))
        said["status"] = "synced"
    except (MlflowException, OSError) as error:
        said["status"] = "not synced"
        said["reason"] = without_password(str(error).splitlines()[0])
        print(f"warning: MLflow at {said['store']}: {said['reason']}", file=sys.stderr)
        print("  Nothing is lost: delete the receipt and run again to sync.", file=sys.stderr)
    write_json(receipt, said)


def forget_lost_store(receipt: Path, results: Path) -> None:
    """Delete a receipt whose local database is gone, so that the next run syncs anew."""
    if not receipt.is_file() or (results / "mlflow.db").exists():
        return
    if read_json(receipt).get("store") == local_uri(results):
        receipt.unlink()


def local_uri(results: Path) -> str:
    """The SQLite store beside the results."""
    return f"sqlite:///{results / 'mlflow.db'}"


def without_password(text: str) -> str:
    """`text` with the password of a URI in it replaced by stars."""
    parts = urlsplit(text.strip())
    return text.replace(f":{parts.password}@", ":***@") if parts.password else text


def _sync(
    client: MlflowClient, plan: Mapping[str, Any], plan_json: Path, results: Path, *, local: bool
) -> dict[str, Any]:
    experiment = _experiment(client, plan["experiment"], results if local else None)
    parent = _parent(client, experiment, plan)
    added = 0
    with Progress(len(plan["runs"]), f"MLflow {plan['study']}", "runs") as progress:
        for run in plan["runs"]:
            added += _sync_run(client, experiment, parent, plan, run)
            progress.advance()
    _finish_parent(client, parent, plan, plan_json)
    return {"experiment": experiment, "parent": parent, "runs": len(plan["runs"]), "added": added}


def _experiment(client: MlflowClient, name: str, results: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    artifacts = (results / "mlflow-artifacts" / name).as_uri() if results else None
    return str(client.create_experiment(name, artifact_location=artifacts))


def _parent(client: MlflowClient, experiment: str, plan: Mapping[str, Any]) -> str:
    tags = {STUDY: plan["study"], "replearn.role": "study"}
    found = _find(client, experiment, tags)
    if found is not None:
        return str(found.info.run_id)
    created = client.create_run(
        experiment,
        run_name=plan["study"],
        tags={**tags, "mlflow.note.content": plan["description"]},
    )
    return str(created.info.run_id)


def _find(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> Any:
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs = client.search_runs([experiment], wanted, max_results=1)
    return runs[0] if runs else None


def _sync_run(
    client: MlflowClient,
    experiment: str,
    parent: str,
    plan: Mapping[str, Any],
    run: Mapping[str, Any],
) -> int:
    """Log one run; 0 if the store already holds all of it."""
    directory, evaluation = Path(run["directory"]), Path(run["evaluation"])
    places = {name: (directory if name == "pretrain" else evaluation) for name in METRIC_FILES}
    files = [places[name] / f"{name}.json" for name in METRIC_FILES]
    files = [path for path in files if path.is_file()]
    history = directory / "history.jsonl"
    if not files or not history.is_file():
        return 0
    content = hashlib.sha256(b"".join(p.read_bytes() for p in [*files, history])).hexdigest()
    tags = {STUDY: plan["study"], KEY: run["key"]}
    found = _find(client, experiment, tags)
    if found is not None and found.data.tags.get(CONTENT) == content:
        return 0
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    start, end = _milliseconds(lines[0]["time"]), _milliseconds(lines[-1]["time"])
    labels = {name: str(run[name]) for name in ("dataset", "method", "variant", "seed")}
    if found is None:
        found = client.create_run(
            experiment,
            start_time=start,
            run_name="/".join(labels.values()),
            tags={**tags, **labels, "mlflow.parentRunId": parent},
        )
    identity = found.info.run_id
    config = read_json(directory / "config.json")
    results = [read_json(path) for path in files]
    _log_params(client, identity, flattened(config))
    _log_metrics(client, identity, [*_curves(lines), *_finals(results, end)])
    _log_dataset(client, identity, plan, run["dataset"])
    for path in [directory / "config.json", *files, directory / "encoder.safetensors"]:
        client.log_artifact(identity, str(path))
    for name, value in results[0]["provenance"].items():
        client.set_tag(identity, f"replearn.{name}", str(value))
    client.set_terminated(identity, "FINISHED", end_time=end)
    client.set_tag(identity, CONTENT, content)
    return 1


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested configuration as `a.b` → text, in MLflow's limit of 6,000 characters a value."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value):
                flat |= flattened(item, f"{prefix}{name}.{number}.")
        else:
            flat[f"{prefix}{name}"] = str(value)[:6000]
    return flat


def _curves(lines: list[dict[str, Any]]) -> Iterator[tuple[str, float, int, int]]:
    for line in lines:
        for name, value in line.items():
            if name not in ("time", "step") and value is not None:
                yield f"curve/{name}", value, _milliseconds(line["time"]), line["step"]


def _finals(
    results: list[dict[str, Any]], timestamp: int
) -> Iterator[tuple[str, float, int, int]]:
    for result in results:
        family = result["protocol"]["name"]
        for name, value in result["metrics"].items():
            if isinstance(value, int | float):
                yield f"{family}/{name}", float(value), timestamp, 0
        for name in ("wall_seconds", "peak_memory_mb"):
            value = result["provenance"].get(name)
            if value is not None:
                yield f"system/{family}_{name}", float(value), timestamp, 0


def _log_params(client: MlflowClient, identity: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(entries), 100):
        client.log_batch(identity, params=entries[start : start + 100])


def _log_metrics(
    client: MlflowClient, identity: str, values: list[tuple[str, float, int, int]]
) -> None:
    from mlflow.entities import Metric

    entries = [Metric(name, value, timestamp, step) for name, value, timestamp, step in values]
    for start in range(0, len(entries), BATCH):
        client.log_batch(identity, metrics=entries[start : start + BATCH])


def _log_dataset(client: MlflowClient, identity: str, plan: Mapping[str, Any], name: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    manifest = read_json(plan["datasets"][name])
    counts = {split: facts["count"] for split, facts in manifest["splits"].items()}
    dataset = Dataset(
        name=name,
        digest=manifest["digest"][:36],
        source_type="replearn",
        source=json.dumps({"source": manifest["source"], "digest": manifest["digest"]}),
        schema=json.dumps({"classes": manifest["classes"]})[:60_000],
        profile=json.dumps(counts),
    )
    tags = [InputTag("mlflow.data.context", "pretraining and evaluation")]
    client.log_inputs(identity, [DatasetInput(dataset, tags)])


def _finish_parent(
    client: MlflowClient, parent: str, plan: Mapping[str, Any], plan_json: Path
) -> None:
    """Means and spreads over seeds, tables and the report on the study's own run."""
    import pandas as pd

    folder = plan_json.parent
    table = pd.read_parquet(folder / "results.parquet")
    shown = table[table["metric"].isin(["accuracy", "prompt_accuracy"])]
    stamp = _milliseconds((folder / "results.parquet").stat().st_mtime)
    values = []
    columns = ["dataset", "method", "variant", "family", "metric"]
    for names, group in shown.groupby(columns)["value"]:
        label = "/".join(map(str, names))
        values.append((f"{label}/mean", float(group.mean()), stamp, 0))
        if len(group) > 1:
            values.append((f"{label}/sd", float(group.std()), stamp, 0))
    _log_metrics(client, parent, [value for value in values if value[1] == value[1]])
    for path in [plan_json, folder / "results.csv", folder / "runs.csv", Path(plan["report"])]:
        if path.is_file():
            client.log_artifact(parent, str(path))
    if (folder / "tables").is_dir():
        client.log_artifacts(parent, str(folder / "tables"), "tables")
    client.set_terminated(parent, "FINISHED", end_time=_milliseconds(time.time()))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
