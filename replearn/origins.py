"""What must be said of where a table's numbers come from: what is mixed in it, and what is stale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replearn.collate import Run
from replearn.differences import stale
from replearn.formats import join
from replearn.jsonfile import read_json
from replearn.layout import FAMILIES

Read = Callable[[Path], Mapping[str, Any]]
"""Reads a JSON file; empty if it is missing, as in a partial study."""
MIXED = {
    "replearn": "versions of replearn",
    "commit": "commits",
    "torch": "versions of PyTorch",
    "device": "kinds of device",
    "device_name": "devices",
}


@dataclass(frozen=True, slots=True)
class Origins:
    """Of the runs of one table, or of a whole study.

    Attributes:
        mixed: sentences about what differs between runs and makes them hard to compare.
        stale: methods and variants whose stored numbers were made by code of another day, and which.
    """

    mixed: tuple[str, ...] = ()
    stale: Mapping[tuple[str, str], str] = field(default_factory=dict)


def origins(runs: Iterable[Run], read: Read | None = None) -> Origins:
    """What is mixed and what is stale among planned runs, from their files.

    Args:
        runs: as `read_plan` gives them.
        read: reads a JSON file; by default anew each time.
    """
    runs, read = tuple(runs), read or _read
    outdated: dict[tuple[str, str], str] = {}
    for run in runs:
        config = read(run.directory / "config.json")
        finished = read(run.directory / "pretrain.json")
        reason = (
            stale(config, run.directory, run.evaluation) if finished and "key" in config else ""
        )
        if reason:
            outdated.setdefault((run.method, run.variant), reason)
    return Origins(tuple(_mixtures(runs, read)), outdated)


def short(value: str) -> str:
    """A commit by its first ten characters; anything else as it is."""
    hexadecimal = len(value) >= 40 and all(c in "0123456789abcdef" for c in value[:40])
    return value[:10] + value[40:] if hexadecimal else value


def _mixtures(runs: tuple[Run, ...], read: Read) -> Iterator[str]:
    trainings = [read(run.directory / "pretrain.json") for run in runs]
    families = {name: [read(run.evaluation / f"{name}.json") for run in runs] for name in FAMILIES}
    evaluations = [file for files in families.values() for file in files]
    for step, files in (("trainings", trainings), ("evaluations", evaluations)):
        for name, words in MIXED.items():
            values = {file.get("provenance", {}).get(name) for file in files} - {None}
            if len(values) > 1:
                yield f"The {step} mix {words}: {join(short(v) for v in sorted(map(str, values)))}."
    for name, files in families.items():
        protocols = [file["protocol"] for file in files if file.get("protocol")]
        versions = sorted({str(protocol.get("version")) for protocol in protocols})
        if len(versions) > 1:
            yield f"Versions {join(versions)} of the {name} protocol are mixed."
        elif any(protocol != protocols[0] for protocol in protocols):
            yield f"The {name} numbers come from protocols with different settings."
    for step, names in (
        ("features", {run.features.name for run in runs}),
        ("evaluations", {run.evaluation.name for run in runs}),
    ):
        if len(names) > 1:
            yield f"The {step} come from {len(names)} versions of code and protocols: {join(sorted(names))}."


def _read(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    return content
