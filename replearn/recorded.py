"""What a finished run left in its files, in the shape in which a tracking store wants it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from replearn.identity import OUTSIDE_THE_KEY
from replearn.jsonfile import read_json
from replearn.layout import FAMILIES

HEADLINES = {
    "knn": ("accuracy",),
    "linear": ("accuracy",),
    "collapse": ("h_rank_me",),
    "structure": ("nmi", "map_at_r"),
    "robustness": ("corruption_accuracy",),
    "text": ("prompt_accuracy",),
}
"""Metrics worth a mean over seeds on the study's own run; the reports have the others."""

VALIDATION = ("knn", "feature_std", "rank_me", "effective_rank")
"""Names in the history that were measured on validation images; the rest is about training."""

LONGEST_TEXT = 60_000


@dataclass(frozen=True, slots=True)
class Record:
    """One run: its identity, what determined it, and what came out. Times are in ms since 1970."""

    name: str
    title: str
    cell: str
    key: str
    status: str
    start: int
    end: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[tuple[str, float, int, int]]
    """(name, value, time, step): the curves, then the final numbers."""
    headline: dict[str, float]
    dataset: dict[str, str]
    artifacts: list[Path]
    content: str
    """Digest over all of it."""


def recorded(run: Mapping[str, Any], datasets: Mapping[str, str]) -> Record | None:
    """Read a run's files; None if its training has not finished.

    Args:
        run: its entry in plan.json.
        datasets: manifests by name, as in plan.json.
    """
    directory, evaluation = Path(run["directory"]), Path(run["evaluation"])
    paths = {"pretrain": directory / "pretrain.json"}
    paths |= {family: evaluation / f"{family}.json" for family in FAMILIES}
    paths = {family: path for family, path in paths.items() if path.is_file()}
    history = directory / "history.jsonl"
    if "pretrain" not in paths:
        return None
    results = {family: read_json(path) for family, path in paths.items()}
    times = {family: _created(result) for family, result in results.items()}
    config = read_json(directory / "config.json")
    lines = []
    if history.is_file():
        lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    texts = [path.read_bytes() for path in (*paths.values(), history) if path.is_file()]
    cell = "/".join(run[part] for part in ("dataset", "method", "variant"))
    seconds = results["pretrain"]["provenance"].get("wall_seconds") or 0.0
    return Record(
        name=f"{cell}/seed-{run['seed']}/{run['key']}",
        title=f"{cell}/seed-{run['seed']}",
        cell=cell,
        key=run["key"],
        status=_status(results),
        start=times["pretrain"] - round(1000 * seconds),
        end=max(times.values()),
        params=flattened({k: v for k, v in config.items() if k not in OUTSIDE_THE_KEY}),
        tags=_tags(run, config, results),
        metrics=[*_curves(lines), *_finals(results, times)],
        headline=_headline(results),
        dataset=_dataset(run["dataset"], read_json(datasets[run["dataset"]])),
        artifacts=[
            path
            for path in (
                directory / "config.json",
                *paths.values(),
                history,
                directory / "encoder.safetensors",
            )
            if path.is_file()
        ],
        content=hashlib.sha256(b"\0".join(texts)).hexdigest(),
    )


def _status(results: Mapping[str, Any]) -> str:
    """Of the training, or of the first evaluation that failed."""
    told = (str(result["metrics"].get("status", "ok")) for result in results.values())
    return next((status for status in told if status != "ok"), "ok")


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested configuration as texts under dotted names; items of lists by their number."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def _created(result: Mapping[str, Any]) -> int:
    return round(1000 * datetime.fromisoformat(result["provenance"]["created"]).timestamp())


def _curves(lines: list[dict[str, Any]]) -> Iterator[tuple[str, float, int, int]]:
    for line in lines:
        time, step = round(1000 * line["time"]), line["step"]
        for name, value in line.items():
            if name not in ("time", "step") and isinstance(value, int | float):
                group = "validation" if name in VALIDATION else "train"
                yield f"{group}/{name}", float(value), time, step


def _finals(
    results: Mapping[str, Any], times: Mapping[str, int]
) -> Iterator[tuple[str, float, int, int]]:
    for family, result in results.items():
        for name, value in result["metrics"].items():
            if isinstance(value, int | float):
                yield f"{family}/{name}", float(value), times[family], 0
        for name in ("wall_seconds", "peak_memory_mb", "images_per_second", "outside_model"):
            value = result["provenance"].get(name)
            if value is not None:
                yield f"system/{family}_{name}", float(value), times[family], 0


def _headline(results: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for family, names in HEADLINES.items():
        metrics = results.get(family, {}).get("metrics", {})
        found |= {f"{family}_{n}": metrics[n] for n in names if metrics.get(n) is not None}
    seconds = results["pretrain"]["provenance"].get("wall_seconds")
    return found if seconds is None else {**found, "train_seconds": seconds}


def _tags(
    run: Mapping[str, Any], config: Mapping[str, Any], results: Mapping[str, Any]
) -> dict[str, str]:
    tags = {name: str(run[name]) for name in ("dataset", "method", "variant", "seed")}
    tags |= {name: str(config[name]) for name in ("recipe", "supervision") if name in config}
    for family, result in results.items():
        for name, value in result["metrics"].items():
            if isinstance(value, str):
                tags[f"{family}.{name}"] = value
        if family != "pretrain":
            tags[f"{family}.protocol_version"] = str(result["protocol"].get("version"))
    provenance = results["pretrain"]["provenance"]
    return tags | {f"provenance.{k}": str(v) for k, v in provenance.items() if isinstance(v, str)}


def _dataset(name: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    source = {"source": manifest["source"], "digest": manifest["digest"]}
    return {
        "name": name,
        # MLflow keeps 36 characters; the source has all of them.
        "digest": manifest["digest"][:36],
        "source_type": "replearn",
        "source": json.dumps(source),
        "schema": json.dumps({"classes": manifest["classes"]})[:LONGEST_TEXT],
        "profile": json.dumps({n: facts["count"] for n, facts in manifest["splits"].items()}),
    }
