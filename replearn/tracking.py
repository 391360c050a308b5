"""MLflow: a finished study replayed into a tracking store, any number of times with one result.

Runs write files while they train; this module alone talks to MLflow, once, from one process. What
is logged carries the recorded times and a run is found again by its key, so a second sync adds
nothing and a lost database is rebuilt from the files.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replearn.identity import key_of
from replearn.jsonfile import read_json, write_json
from replearn.locks import exclusive
from replearn.progress import Progress
from replearn.recorded import Record, recorded

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY, ROLE, RUN, KEY, CONTENT, CURRENT = (
    f"replearn.{name}" for name in ("study", "role", "run", "key", "content", "current")
)
SHARED = ("dataset.", "encoder.", "training.")
"""Parameters that belong to the study if all its runs have them alike."""

METRICS_AT_ONCE, OTHERS_AT_ONCE = 1000, 100
"""MLflow's limits for one request."""

Metrics = Sequence[tuple[str, float, int, int]]


def track(plan_json: Path, *, receipt: Path) -> None:
    """Sync a study into the store of MLFLOW_TRACKING_URI, or into `<results>/mlflow.db`.

    A store that cannot be reached or refuses costs a warning; the receipt says what happened.

    Args:
        plan_json: the study's plan.
        receipt: JSON file to write.
    """
    plan = read_json(plan_json)
    results = Path(plan["results"])
    uri = store_uri(results)
    records = [record for run in plan["runs"] if (record := recorded(run, plan["datasets"]))]
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It prints addresses of runs, with the password if the store's has one.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    store = without_password(uri)
    said = {"study": plan["study"], "store": store, "store_key": key_of(store)}
    try:
        with exclusive(results / ".mlflow.lock"):
            client = MlflowClient(uri)
            said |= _sync(client, plan, plan_json, records, None if _remote(uri) else results)
        said["status"] = "synced"
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        said |= {"status": "unreachable", "reason": without_password(reason)}
        print(f"warning: MLflow at {said['store']}: {said['reason']}", file=sys.stderr)
        print("  Nothing is lost: the next start of the workflow syncs again.", file=sys.stderr)
    write_json(receipt, said)


def forget_stale_receipt(receipt: Path, results: Path) -> None:
    """Delete a receipt that does not hold (any more), so that the workflow syncs again.

    It holds if the sync succeeded, into the store that would be used now, and if a local database
    still has the study's run. A server is not asked.
    """
    if not receipt.is_file():
        return
    said, uri = read_json(receipt), store_uri(results)
    held = said.get("status") == "synced" and said.get("store_key") == key_of(without_password(uri))
    if held and uri.startswith("sqlite:///"):
        held = _has_run(Path(uri.removeprefix("sqlite:///")), said["parent"])
    if not held:
        receipt.unlink()


def store_uri(results: Path) -> str:
    """The store in use: that of the environment, else a SQLite database beside the results."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results.resolve() / 'mlflow.db'}"


def without_password(text: str) -> str:
    """`text` with the passwords and tokens of the URIs in it replaced by stars."""
    text = re.sub(r"(//[^/\s:@]*:)[^\s/]*@", r"\1***@", text)
    text = re.sub(r"(//)[^/\s:@]+@", r"\1***@", text)
    return re.sub(
        r"(?i)([?&][^=&\s]*(?:password|token|secret|key)[^=&\s]*=)[^&\s]+", r"\1***", text
    )


def _remote(uri: str) -> bool:
    return uri.startswith(("http:", "https:", "databricks"))


def _has_run(database: Path, run_id: str) -> bool:
    if not database.is_file():
        return False
    query = "select 1 from runs where run_uuid = ? and lifecycle_stage = 'active'"
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            return opened.execute(query, (run_id,)).fetchone() is not None
    except sqlite3.Error:
        return False


def _sync(
    client: MlflowClient,
    plan: Mapping[str, Any],
    plan_json: Path,
    records: Sequence[Record],
    local: Path | None,
) -> dict[str, Any]:
    experiment = _experiment(client, plan["experiment"], local)
    known = _known_runs(client, experiment, plan["study"])
    parent = _parent(client, experiment, plan, records, known)
    children = {run.data.tags.get(RUN, ""): run for run in known if not _is_study(run)}
    written = 0
    with Progress(len(records), f"MLflow {plan['study']}", "runs") as progress:
        for record in records:
            run = children.get(record.name)
            written += _sync_run(client, experiment, parent, plan["study"], record, run)
            progress.advance(1)
    planned = {record.name for record in records}
    for run in known:
        # Of an earlier version of the study: its numbers stay, but it is no longer this study's.
        if run.info.run_id != parent and run.data.tags.get(RUN) not in planned:
            _set_tags(client, run.info.run_id, {CURRENT: "false"}, run)
    _finish_parent(client, parent, plan, plan_json, records)
    return {"experiment": experiment, "parent": parent, "runs": len(records), "written": written}


def _experiment(client: MlflowClient, name: str, local: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        place = (local / "mlflow-artifacts" / name).resolve().as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=place))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _known_runs(client: MlflowClient, experiment: str, study: str) -> list[Run]:
    """What the store has of the study, newest first: its runs, and runs of the study itself."""
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment], f"tags.`{STUDY}` = '{study}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _is_study(run: Run) -> bool:
    return bool(run.data.tags.get(ROLE) == "study")


def _parent(
    client: MlflowClient,
    experiment: str,
    plan: Mapping[str, Any],
    records: Sequence[Record],
    known: Sequence[Run],
) -> str:
    """The study's own run, whose parameters are those of budget, encoder and data that all share.

    Parameters cannot be changed, so a study that contradicts those of its run gets a new one.
    """
    groups = [
        {item for item in record.params.items() if item[0].startswith(SHARED)} for record in records
    ]
    shared = set.intersection(*groups) if groups else set()
    tags = {"mlflow.note.content": plan["description"], "title": plan["title"], CURRENT: "true"}
    for run in filter(_is_study, known):
        if run.data.params.items() <= shared:
            break
    else:
        tags |= {STUDY: plan["study"], ROLE: "study"}
        start = min((record.start for record in records), default=None)
        run = client.create_run(experiment, start_time=start, run_name=plan["study"], tags=tags)
    identity = str(run.info.run_id)
    _set_tags(client, identity, tags, run)
    _log_params(client, identity, dict(shared - run.data.params.items()))
    return identity


def _sync_run(
    client: MlflowClient,
    experiment: str,
    parent: str,
    study: str,
    record: Record,
    run: Run | None,
) -> bool:
    """Log one run; False if the store already holds all of it."""
    tags = record.tags | {"mlflow.parentRunId": parent, CURRENT: "true"}
    if run is not None and run.data.tags.get(CONTENT) == record.content:
        _set_tags(client, run.info.run_id, tags, run)
        return False
    if run is None:
        tags |= {STUDY: study, ROLE: "run", RUN: record.name, KEY: record.key}
        run = client.create_run(
            experiment, start_time=record.start, run_name=record.title, tags=tags
        )
        _log_params(client, run.info.run_id, record.params)
    identity = run.info.run_id
    _log_metrics(client, identity, record.metrics)
    _log_dataset(client, identity, record)
    for path in record.artifacts:
        client.log_artifact(identity, str(path))
    status = "FINISHED" if record.status == "ok" else "FAILED"
    client.set_terminated(identity, status, end_time=record.end)
    # Last of all: it says that the rest has arrived.
    _set_tags(client, identity, tags | {CONTENT: record.content}, run)
    return True


def _set_tags(client: MlflowClient, identity: str, tags: Mapping[str, str], run: Run) -> None:
    from mlflow.entities import RunTag

    new = [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v]
    for start in range(0, len(new), OTHERS_AT_ONCE):
        client.log_batch(identity, tags=new[start : start + OTHERS_AT_ONCE])


def _log_params(client: MlflowClient, identity: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    entries = [Param(name, value) for name, value in sorted(params.items())]
    for start in range(0, len(entries), OTHERS_AT_ONCE):
        client.log_batch(identity, params=entries[start : start + OTHERS_AT_ONCE])


def _log_metrics(client: MlflowClient, identity: str, metrics: Metrics) -> None:
    from mlflow.entities import Metric

    entries = [Metric(*values) for values in metrics]
    for start in range(0, len(entries), METRICS_AT_ONCE):
        client.log_batch(identity, metrics=entries[start : start + METRICS_AT_ONCE])


def _log_dataset(client: MlflowClient, identity: str, record: Record) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(**record.dataset)
    context = InputTag("mlflow.data.context", "pretraining and evaluation")
    client.log_inputs(identity, [DatasetInput(dataset, [context])])


def _finish_parent(
    client: MlflowClient,
    parent: str,
    plan: Mapping[str, Any],
    plan_json: Path,
    records: Sequence[Record],
) -> None:
    """Means and spreads over seeds, tables and the report on the study's own run."""
    end = max((record.end for record in records), default=None)
    seeds: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.headline.items():
            seeds.setdefault(f"{record.cell}/{name}", []).append(value)
    for name, values in seeds.items():
        numbers = {"mean": statistics.fmean(values)}
        if len(values) > 1:
            numbers["sd"] = statistics.stdev(values)
        entries = [(f"{name}_{kind}", value, end or 0, 0) for kind, value in numbers.items()]
        _log_metrics(client, parent, entries)
    folder = plan_json.parent
    files = [plan_json, folder / "results.csv", folder / "runs.csv"]
    for path in [*files, Path(plan["report"]), Path(plan.get("source", ""))]:
        if path.is_file():
            client.log_artifact(parent, str(path))
    if (folder / "tables").is_dir():
        client.log_artifacts(parent, str(folder / "tables"), "tables")
    client.set_terminated(parent, "FINISHED", end_time=end)
