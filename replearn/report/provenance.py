"""Where the numbers come from: data, protocols, versions, machines, and what does not match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replearn.formats import NOTHING, Cell, Column, Group, Table, count, duration, join
from replearn.methods.options import METHODS
from replearn.origins import origins, short
from replearn.report.study import StudyFiles
from replearn.tables import stale_notes

RUN_COLUMNS = (
    Column("run", "Run", numeric=False),
    Column("status", "Status", numeric=False),
    Column("key", "Key", "Hash of configuration, data and source", numeric=False),
    Column("parameters", "Parameters", "Trainable in pretraining"),
    Column("width", "Feature width"),
    Column("total", "Wall time", "Training and evaluation"),
    Column("rate", "Images/s"),
    Column("commit", "Commit", numeric=False),
    Column("device", "Device", numeric=False),
    Column("created", "Created", numeric=False),
    Column("directory", "Directory", numeric=False),
)


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """A dataset as its manifest describes it."""

    name: str
    facts: tuple[tuple[str, str], ...]
    conversions: tuple[str, ...]


def warnings(study: StudyFiles) -> list[str]:
    """What is mixed in this study, and what was made by code of another day."""
    found = list(origins(study.plan.runs, study.json).mixed)
    for board in study.boards:
        words = stale_notes(board, study.origins(board.dataset))
        found += [f"{board.dataset}: {text}" if len(study.boards) > 1 else text for text in words]
    return found


def run_table(study: StudyFiles) -> Table:
    """One row per run with key, machine and place."""
    groups = []
    for board in study.boards:
        rows = tuple(_run_row(run) for entry in board.entries for run in entry.runs)
        groups.append(Group(board.dataset if len(study.boards) > 1 else "", rows))
    return Table("Runs", RUN_COLUMNS, tuple(groups))


def dataset_cards(study: StudyFiles) -> list[DatasetCard]:
    """What each dataset's manifest says; a dataset that is gone is left out."""
    cards = []
    for name in study.plan.datasets:
        prepared = study.dataset(name)
        if prepared is None:
            continue
        manifest = prepared.manifest
        splits = ", ".join(
            f"{split} {part.count:,}" for split, part in sorted(manifest.splits.items())
        )
        facts = (
            ("Source", manifest.source),
            ("Images", splits),
            ("Size", f"{manifest.channels} × {manifest.height} × {manifest.width} (c × h × w)"),
            ("Classes", f"{len(manifest.classes)}" if manifest.classes else "none: no labels"),
            ("Captions", manifest.captions),
            ("Licence", manifest.licence),
            ("Citation", manifest.citation),
            ("Digest", manifest.digest),
        )
        cards.append(DatasetCard(name, facts, tuple(manifest.conversions)))
    return cards


def papers(study: StudyFiles) -> list[str]:
    """The publications of the methods in the study."""
    methods = dict.fromkeys(run.method for run in study.plan.runs)
    known = [METHODS[name].paper for name in methods if name in METHODS]
    return list(dict.fromkeys(paper for paper in known if paper))


def budget(study: StudyFiles, dataset: str) -> str:
    """The budget of a dataset's methods in one sentence."""
    board = next(board for board in study.boards if board.dataset == dataset)
    configs = [study.config(run) for e in board.entries if e.trained for run in e.runs]
    configs = [config for config in configs if config.get("training")]
    if not configs:
        return "No trained method in this study."
    parts = [_encoder_words(configs)]
    parts.append(f"{_span(configs, 'epochs')} epochs in batches of {_span(configs, 'batch_size')}")
    prepared = study.dataset(dataset)
    if prepared is not None:
        splits = prepared.manifest.splits
        held_out = splits["validation"].count if "validation" in splits else 0
        parts.append(f"{splits['train'].count - held_out:,} training images")
        parts.append(f"{splits['test'].count:,} test images")
    seeds = sorted(
        {int(str(run["seed"])) for e in board.entries if not e.deterministic for run in e.runs}
    )
    parts.append(f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))})")
    devices = sorted(str(v) for v in study.runs["device_name"].dropna().unique())
    machine = f" on {join(devices)}" if devices else ""
    return f"Every trained method: {', '.join(parts)}{machine}."


def _encoder_words(configs: list[Mapping[str, Any]]) -> str:
    names = {
        f"{c['encoder']['name']}"
        + (f" of width {c['encoder']['width']}" if c["encoder"]["name"] == "convnet" else "")
        for c in configs
    }
    return f"encoder {join(sorted(names))}"


def _span(configs: list[Mapping[str, Any]], key: str) -> str:
    values = sorted({config["training"][key] for config in configs})
    return f"{values[0]}" if len(values) == 1 else f"{values[0]}–{values[-1]}"


def _run_row(run: Mapping[str, object]) -> dict[str, Cell]:
    def text(name: str) -> Cell:
        value = run[name]
        return Cell(NOTHING if value is None else str(value), None if value is None else str(value))

    def number(name: str) -> float | None:
        return None if run[name] is None else float(str(run[name]))

    title = f"{run['method']} / {run['variant']} / seed {run['seed']}"
    status = str(run["status"])
    note = str(run["message"] or "")
    commit = str(run["commit"] or NOTHING)
    created = str(run["created"] or NOTHING)
    return {
        "run": Cell(title, title),
        "status": Cell(
            status, status, note=note, badge="healthy" if status == "ok" else "complete"
        ),
        "key": text("key"),
        "parameters": Cell(count(number("parameters")), number("parameters")),
        "width": Cell(count(number("feature_width")), number("feature_width")),
        "total": Cell(duration(number("total_seconds")), number("total_seconds")),
        "rate": Cell(count(number("images_per_second")), number("images_per_second")),
        "commit": Cell(short(commit), commit, note=commit),
        "device": text("device_name"),
        "created": Cell(created[:16].replace("T", " "), created, note=created),
        "directory": text("directory"),
    }
