"""Gather a study's metric files into two tidy tables: one row per number, one row per run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replearn.errors import UserError
from replearn.jsonfile import read_json
from replearn.layout import FAMILIES
from replearn.methods.options import METHODS, MethodOptions
from replearn.recipes import settings_tried
from replearn.wholefile import replacing

if TYPE_CHECKING:
    import pandas as pd

CEILING = "supervised"
"""The trained row that gives the scale rather than competes; the untrained ones are its floors."""
NO_CURVES = (
    *("time", "step", "epoch", "lr"),
    *("seconds", "images_per_second", "outside_model", "waiting_for_images"),
)
"""What a line of history says beside its curves; how fast it was is in the table of runs."""

RESULT_TYPES = {
    "study": "str",
    "dataset": "str",
    "method": "str",
    "variant": "str",
    "seed": "Int64",
    "key": "str",
    "family": "str",
    "metric": "str",
    "value": "Float64",
    "protocol": "str",
    "protocol_version": "Int64",
}
RUN_TYPES = {
    "study": "str",
    "dataset": "str",
    "method": "str",
    "variant": "str",
    "seed": "Int64",
    "key": "str",
    "status": "str",
    "message": "str",
    "supervision": "str",
    "reference": "boolean",
    "trained": "boolean",
    "deterministic": "boolean",
    "encoder": "str",
    "recipe": "str",
    "settings_tried": "Int64",
    "parameters": "Int64",
    "encoder_parameters": "Int64",
    "feature_width": "Int64",
    "epochs": "Float64",
    "ended_early": "boolean",
    "steps": "Int64",
    "images_seen": "Int64",
    "views_seen": "Int64",
    "final_loss": "Float64",
    "train_seconds": "Float64",
    "total_seconds": "Float64",
    "peak_memory_mb": "Float64",
    "energy_joules": "Float64",
    "images_per_second": "Float64",
    "outside_model": "Float64",
    "waiting_for_images": "Float64",
    "training_seconds": "Float64",
    "ranks": "Int64",
    "device": "str",
    "device_name": "str",
    "verdict": "str",
    "rule": "str",
    "commit": "str",
    "replearn": "str",
    "python": "str",
    "torch": "str",
    "created": "str",
    "directory": "str",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One planned run and where its files are."""

    dataset: str
    method: str
    variant: str
    seed: int
    key: str
    directory: Path
    features: Path
    evaluation: Path
    place: str
    """The directory as planned, relative to where the study was started."""

    @property
    def name(self) -> str:
        return f"{self.dataset} / {self.method} / {self.variant} / seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study consists of, as plan.json has it, with paths that can be opened."""

    study: str
    title: str
    description: str
    runs: tuple[Run, ...]
    skipped: tuple[Mapping[str, str], ...]
    datasets: Mapping[str, Path]
    root: Path
    on_error: str = "stop"

    def run(self, row: Mapping[str, object]) -> Run:
        """The planned run behind a row of the run table."""
        seed = int(str(row["seed"]))
        return next(
            run
            for run in self.runs
            if (run.dataset, run.method, run.variant, run.seed)
            == (row["dataset"], row["method"], row["variant"], seed)
        )


def read_plan(path: str | Path) -> Plan:
    """Read plan.json; its paths count from where the study was started, wherever that is now.

    Raises:
        UserError: the file is missing, is not a plan, or plans no run.
    """
    path = Path(path)
    content = read_json(path)
    try:
        root = _root(path, content.get("results") or "results")
        runs = tuple(_planned(entry, root) for entry in content["runs"])
        plan = Plan(
            study=content["study"],
            title=content.get("title") or content["study"],
            description=content.get("description") or "",
            runs=runs,
            skipped=tuple(content.get("skipped", ())),
            datasets={name: _resolve(root, place) for name, place in content["datasets"].items()},
            root=root,
            on_error=content.get("on_error", "record"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"not a plan of a study ({error!r})", where=str(path)) from None
    if not runs:
        raise UserError("the study plans no run", where=str(path))
    return plan


def collate(plan_json: str | Path, study_dir: str | Path, *, partial: bool = False) -> Path:
    """Write results.parquet/.csv and runs.parquet/.csv of a study and return the folder.

    Args:
        plan_json: the study's plan.
        study_dir: where the tables go.
        partial: go on where files are missing; such runs are marked "missing".

    Raises:
        UserError: a file of a finished run is missing or damaged, or a run has failed in a study that
            does not record failures (unless `partial`).
    """
    import pandas as pd

    plan = read_plan(plan_json)
    stops = plan.on_error == "stop" and not partial
    numbers: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for run in plan.runs:
        row, found = _gather(plan.study, run, partial=partial)
        if stops and row["status"] in ("failed", "diverged"):
            raise UserError(
                f"{run.name} has failed: {row['message']}",
                where=str(run.directory),
                hint="An earlier start with on_error: record left word of it. Set on_error: record again, or "
                "let replearn retry forget it.",
            )
        rows.append(row)
        numbers.extend(found)
    target = Path(study_dir)
    target.mkdir(parents=True, exist_ok=True)
    _write(
        pd.DataFrame(numbers, columns=list(RESULT_TYPES)).astype(RESULT_TYPES), target, "results"
    )
    _write(pd.DataFrame(rows, columns=list(RUN_TYPES)).astype(RUN_TYPES), target, "runs")
    return target


def read_tables(study_dir: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The collated (results, runs) of a study.

    Raises:
        UserError: the study has not been collated.
    """
    import pandas as pd

    frames = []
    for name in ("results", "runs"):
        file = Path(study_dir) / f"{name}.parquet"
        if not file.is_file():
            raise UserError("file not found", where=str(file), hint="Collate the study first.")
        frames.append(pd.read_parquet(file))
    return frames[0], frames[1]


def _planned(entry: Mapping[str, Any], root: Path) -> Run:
    return Run(
        dataset=entry["dataset"],
        method=entry["method"],
        variant=entry["variant"],
        seed=int(entry["seed"]),
        key=entry["key"],
        directory=_resolve(root, entry["directory"]),
        features=_resolve(root, entry["features"]),
        evaluation=_resolve(root, entry["evaluation"]),
        place=entry["directory"],
    )


def _root(plan: Path, results: str) -> Path:
    """The folder that `results` counts from, given <root>/<results>/studies/<study>/plan.json."""
    above = plan.resolve().parents
    return above[min(2 + len(Path(results).parts), len(above) - 1)]


def _resolve(root: Path, place: str) -> Path:
    """A planned path: absolute, below the plan's root, or as typed on the command line."""
    below = root / place
    return below if below.exists() or not Path(place).exists() else Path(place)


def _gather(
    study: str, run: Run, *, partial: bool
) -> tuple[dict[str, object], list[dict[str, object]]]:
    options = METHODS.get(run.method, MethodOptions)
    identity: dict[str, object] = {
        "study": study,
        "dataset": run.dataset,
        "method": run.method,
        "variant": run.variant,
        "seed": run.seed,
        "key": run.key,
    }
    row = identity | {
        "reference": not options.trained or run.method == CEILING,
        "trained": options.trained,
        "deterministic": not options.seeded,
        "directory": run.place,
        "status": "missing",
    }
    numbers: list[dict[str, object]] = []
    config = _read(run, run.directory / "config.json", partial)
    pretrain = _read(run, run.directory / "pretrain.json", partial)
    row["encoder"] = _encoder(config)
    row["recipe"] = config.get("recipe")
    row["settings_tried"] = settings_tried(str(row["recipe"]), run.method)
    row["supervision"] = config.get("supervision") or options.supervision
    status = "missing"
    if pretrain:
        status = str(pretrain["metrics"].get("status", "ok"))
        row |= _training_columns(pretrain)
    failed = status in ("failed", "diverged")
    missing: list[str] = [] if pretrain else ["pretrain.json"]
    seconds = [_seconds(pretrain)]
    for family in FAMILIES:
        optional = family == "text" or failed or partial
        file = run.evaluation / f"{family}.json"
        content = _read(run, file, optional)
        if not content:
            if family != "text" and not failed:
                missing.append(f"{family}.json")
            continue
        seconds.append(_seconds(content))
        if not failed and content["metrics"].get("status") == "failed":
            status, failed = "failed", True
            row["message"] = content["metrics"].get("message")
        numbers += _numbers(identity, family, content)
        if family == "collapse":
            row["verdict"] = content["metrics"].get("verdict")
            row["rule"] = content["metrics"].get("rule")
    if pretrain:
        numbers += _last_epoch(identity, run.directory / "history.jsonl", pretrain)
    if failed:  # A mean over seeds takes finished runs alone.
        numbers = []
    row["status"] = "missing" if missing else status
    if missing:
        row["message"] = f"missing: {', '.join(missing)}"
    if status == "diverged":
        row["verdict"] = "diverged"
    known = [value for value in seconds if value is not None]
    row["total_seconds"] = sum(known) if known else None
    return row, numbers


def _training_columns(pretrain: Mapping[str, Any]) -> dict[str, object]:
    metrics, provenance = pretrain["metrics"], pretrain.get("provenance", {})
    columns = (
        "supervision parameters encoder_parameters feature_width epochs steps images_seen"
        " views_seen final_loss message ended_early"
    )
    row: dict[str, object] = {name: metrics.get(name) for name in columns.split()}
    described = (
        "peak_memory_mb energy_joules images_per_second outside_model waiting_for_images"
        " training_seconds ranks device device_name commit replearn python torch created"
    )
    row |= {name: _text(provenance.get(name)) for name in described.split()}
    row["train_seconds"] = provenance.get("wall_seconds")
    return row


def _last_epoch(
    identity: dict[str, object], history: Path, pretrain: Mapping[str, Any]
) -> list[dict[str, object]]:
    """Means of the training's own curves over the steps of its last epoch, as the family "training"."""
    if not history.is_file():
        return []
    lines = [json.loads(line) for line in history.read_bytes().splitlines()]
    end = max((line["epoch"] for line in lines), default=0)
    sums: dict[str, list[float]] = {}
    before = 0
    for line in lines:
        steps, before = max(1, line["step"] - before), line["step"]
        if line["epoch"] > end - 1:
            for name, value in line.items():
                if isinstance(value, int | float) and name not in NO_CURVES:
                    found = sums.setdefault(name, [0.0, 0])
                    found[0] += steps * value
                    found[1] += steps
    means = {name: total / steps for name, (total, steps) in sums.items()}
    content = {"metrics": means, "protocol": pretrain.get("protocol", {})}
    return _numbers(identity, "training", content)


def _text(value: object) -> object:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _encoder(config: Mapping[str, Any]) -> str | None:
    encoder = config.get("encoder")
    return encoder.get("name") if isinstance(encoder, dict) else encoder


def _seconds(content: Mapping[str, Any]) -> float | None:
    value = content.get("provenance", {}).get("wall_seconds")
    return None if value is None else float(value)


def _numbers(
    identity: dict[str, object], family: str, content: Mapping[str, Any]
) -> list[dict[str, object]]:
    protocol = content.get("protocol", {})
    return [
        identity
        | {
            "family": family,
            "metric": name,
            "value": None if value is None else float(value),
            "protocol": protocol.get("name", family),
            "protocol_version": protocol.get("version"),
        }
        for name, value in sorted(content["metrics"].items())
        if value is None or isinstance(value, int | float)
    ]


def _read(run: Run, path: Path, optional: bool) -> dict[str, Any]:
    if not path.is_file():
        if optional:
            return {}
        raise UserError(
            f"a result of {run.name} is missing",
            where=str(path),
            hint="Finish the study, or ask for the partial report.",
        )
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError("not a metrics file", where=str(path))
    if path.name != "config.json" and not isinstance(content.get("metrics"), dict):
        raise UserError("not a metrics file: it has no metrics", where=str(path))
    return content


def _write(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Both formats; no reader sees half a table."""
    for ending in ("parquet", "csv"):
        with replacing(folder / f"{name}.{ending}") as temporary:
            if ending == "parquet":
                table.to_parquet(temporary, index=False)
            else:
                table.to_csv(temporary, index=False)
