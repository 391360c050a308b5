"""All that the report shows of one dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from replearn.formats import NOTHING, Cell, Column, Group, Table, percent, to_html
from replearn.report import charts, curves, maps, pictures, spectra
from replearn.report.findings import Finding, findings
from replearn.report.study import StudyFiles
from replearn.standings import KNN, LINEAR, Entry, Standings
from replearn.tables import SEVERITY, comparison

Numbers = Mapping[tuple[str, str], int]
DIAGNOSTICS = (
    (
        "h_feature_std",
        "Feature std",
        "√d · mean std of normalised features: isotropic 1, constant 0",
    ),
    ("h_rank_me", "RankMe", "Entropy-effective rank of uncentred singular values"),
    ("h_effective_rank", "Effective rank", "The same on centred variances"),
    ("h_participation_ratio", "Participation", "(Σλ)² / Σλ²"),
    ("h_stable_rank", "Stable rank", "Σλ / λ₁, centred"),
    ("h_d90", "d90", "Components for 90 % of the variance"),
    ("h_alpha_req", "α-ReQ", "Decay of the spectrum; about 1 is good"),
    (
        "h_alignment",
        "Alignment",
        "Squared distance of two views of one image; unrelated pairs about 2",
    ),
    ("h_uniformity", "Uniformity", "ln E exp(−2‖u − v‖²): 0 constant, −4 spread"),
    (
        "h_lidar",
        "LiDAR",
        "Effective rank of between-image scatter whitened by within-image scatter",
    ),
    ("z_effective_rank", "Projector eff. rank", "Effective rank of the projector output"),
)
TEXT_METRICS = (
    ("prompt_accuracy", "Prompt classification %"),
    ("image_to_text_r1", "Image → text R@1 %"),
    ("image_to_text_r5", "R@5 %"),
    ("image_to_text_r10", "R@10 %"),
    ("text_to_image_r1", "Text → image R@1 %"),
    ("text_to_image_r5", "R@5 %"),
    ("text_to_image_r10", "R@10 %"),
)


@dataclass(frozen=True)
class Panel:
    """One small picture with its heading."""

    title: str
    number: int
    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class ViewPanel:
    """What one or more methods with the same views are shown."""

    title: str
    views: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Query:
    """A test image and what each method finds nearest to it."""

    picture: str
    caption: str
    rows: list[tuple[str, int, list[pictures.Neighbour], str]]


@dataclass
class Block:
    """One dataset's part of the page."""

    board: Standings
    anchor: str
    budget: str
    findings: list[Finding]
    leaderboard: Markup
    accuracy: list[Markup] = field(default_factory=list)
    curves: list[Panel] = field(default_factory=list)
    spectra: list[Panel] = field(default_factory=list)
    diagnostics: Markup = Markup("")
    text: Markup = Markup("")
    maps: list[Panel] = field(default_factory=list)
    classes: list[tuple[int, str]] = field(default_factory=list)
    other_classes: int = 0
    views: list[ViewPanel] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    cost: list[Markup] = field(default_factory=list)


def make_block(
    study: StudyFiles, board: Standings, position: int, numbers: Numbers, budget: str
) -> Block:
    """Compute everything shown of one dataset; what cannot be shown is left empty."""
    prepared = study.dataset(board.dataset)
    names = list(prepared.manifest.classes) if prepared else []
    block = Block(
        board=board,
        anchor=f"d{position}",
        budget=budget,
        findings=findings(board, len(names)),
        leaderboard=Markup(to_html(comparison(board))),  # noqa: S704 - escaped there
    )
    prefix = f"d{position}"
    if board.labelled:
        for metric, title in ((LINEAR, "Linear probe"), (KNN, "kNN, k = 20")):
            if any(entry.values.get(metric) for entry in board.entries):
                block.accuracy.append(
                    charts.accuracy(board, metric, title, numbers, f"{prefix}a{metric[0]}")
                )
        drawn = [
            charts.cost(board, LINEAR, c, numbers, f"{prefix}c{c}")
            for c in ("views_seen", "train_seconds")
        ]
        block.cost = [svg for svg in drawn if svg is not None]
    block.curves = _curves(study, board, numbers, prefix)
    block.spectra = _spectra(study, board, numbers, prefix)
    block.diagnostics = Markup(to_html(_diagnostics(study, board)))  # noqa: S704
    block.text = _text(board)
    if prepared is not None:
        _add_maps(block, study, numbers, names)
        block.views = _views(study, board, prepared)
        block.queries = _queries(study, board, prepared, numbers)
    return block


def _curves(study: StudyFiles, board: Standings, numbers: Numbers, prefix: str) -> list[Panel]:
    histories = {
        entry.name: [
            h
            for run in entry.runs
            if (h := curves.read_history(study.files(run).directory / "history.jsonl"))
        ]
        for entry in board.entries
        if entry.trained
    }
    values = [
        v for each in histories.values() for h in each for v in curves.curve(h, "knn")[1].tolist()
    ]
    limits = (min(values), max(values)) if values else None
    found = []
    for entry in board.entries:
        if not histories.get(entry.name):
            continue
        number = numbers[entry.name]
        svg = curves.training(
            histories[entry.name],
            method=entry.label,
            number=number,
            name=f"{prefix}t{number}",
            knn_range=limits,
        )
        if svg is not None:
            found.append(Panel(entry.label, number, svg, _seeds(len(histories[entry.name]))))
    return found


def _spectra(study: StudyFiles, board: Standings, numbers: Numbers, prefix: str) -> list[Panel]:
    read = {}
    for entry in board.entries:
        run = study.shown_run(entry)
        details = study.metrics(run, "collapse").get("details", {}) if run else {}
        spectrum = spectra.read_spectrum(details, "h")
        if spectrum is not None and run is not None:
            read[entry.name] = (entry, run, spectrum)
    found = []
    for name, (entry, run, own) in read.items():
        others = [spectrum for other, (_, _, spectrum) in read.items() if other != name]
        svg = spectra.drawing(
            own, others, method=entry.label, number=numbers[name], name=f"{prefix}s{numbers[name]}"
        )
        found.append(Panel(entry.label, numbers[name], svg, _one(entry, run)))
    return found


def _diagnostics(study: StudyFiles, board: Standings) -> Table:
    columns = (
        Column("run", "Run", numeric=False),
        Column("verdict", "Verdict", numeric=False),
        *(Column(name, title, hint) for name, title, hint in DIAGNOSTICS),
        Column("rule", "The rule that decided", numeric=False),
    )
    rows = []
    for entry in board.entries:
        for run in entry.runs:
            metrics: Mapping[str, Any] = study.metrics(run, "collapse").get("metrics", {})
            kind = str(run["verdict"] or NOTHING)
            title = entry.label if entry.deterministic else f"{entry.label}, seed {run['seed']}"
            row = {
                "run": Cell(title, title),
                "verdict": Cell(kind, kind, badge=kind if kind in SEVERITY else "unknown"),
                "rule": Cell(str(run["rule"] or NOTHING), str(run["rule"] or "")),
            }
            for name, *_ in DIAGNOSTICS:
                value = metrics.get(name)
                row[name] = Cell(NOTHING if value is None else f"{value:.4g}", value)
            rows.append(row)
    return Table(
        "Collapse diagnostics of encoder features of test images, by run",
        columns,
        (Group("", tuple(rows)),),
    )


def _text(board: Standings) -> Markup:
    entries = [e for e in board.entries if any(family == "text" for family, _ in e.values)]
    shown = [(n, t) for n, t in TEXT_METRICS if any(("text", n) in e.values for e in entries)]
    if not shown:
        return Markup("")
    columns = (Column("method", "Method", numeric=False), *(Column(n, t) for n, t in shown))
    rows = []
    for entry in entries:
        row = {"method": Cell(entry.label, entry.label)}
        for name, _ in shown:
            summary = board.summary(entry, ("text", name))
            spread = f" ± {percent(summary.sd)}" if summary and summary.sd is not None else ""
            row[name] = Cell(
                percent(summary.mean if summary else None) + spread,
                summary.mean if summary else None,
            )
        rows.append(row)
    note = "Prompt classification, not zero-shot: the class names were seen in training captions."
    table = Table("Images and texts in one space", columns, (Group("", tuple(rows)),), (note,))
    return Markup(to_html(table))  # noqa: S704 - escaped there


def _add_maps(block: Block, study: StudyFiles, numbers: Numbers, names: list[str]) -> None:
    for entry in block.board.entries:
        run = study.shown_run(entry)
        file = study.files(run).features / "test.safetensors" if run else None
        if run is None or file is None or not file.is_file():
            continue
        rows = maps.sample(maps.row_count(file))
        features = maps.read_rows(file, "h", rows)
        labels = maps.read_rows(file, "labels", rows)
        if features is None or len(rows) < 3:
            continue
        whole = None if labels is None else labels.astype(np.int64)
        chosen, slots = maps.class_groups(whole, len(names))
        block.classes = [(slot, names[c]) for slot, c in enumerate(chosen)]
        block.other_classes = len(names) - len(chosen) if chosen else 0
        place, how = maps.embedding(features)
        svg = maps.drawing(place, slots, f"{entry.label}: {how} of {len(rows)} test features")
        note = _one(entry, run) + ("" if how == maps.TITLE else f"; {how}")
        block.maps.append(Panel(entry.label, numbers[entry.name], svg, note))


def _views(study: StudyFiles, board: Standings, prepared: Any) -> list[ViewPanel]:
    groups: dict[str, tuple[list[str], list[Mapping[str, Any]]]] = {}
    for entry in board.entries:
        run = study.shown_run(entry)
        views = study.config(run).get("views") if run and entry.trained else None
        if views:
            groups.setdefault(repr(views), ([], views))[0].append(entry.label)
    part = prepared.part("train")
    rows = np.unique(np.linspace(0, len(part.index) - 1, 4).astype(int))
    found = []
    for labels, views in groups.values():
        seen = pictures.view_rows(part.images[rows], part.index[rows], views, seed=0)
        found.append(ViewPanel(", ".join(labels), pictures.describe_views(views), seen))
    return found


def _queries(study: StudyFiles, board: Standings, prepared: Any, numbers: Numbers) -> list[Query]:
    test = prepared.part("test")
    names = prepared.manifest.classes
    chosen = pictures.choose_queries(test.labels, len(test.index))
    train = prepared.part("train")
    places = {int(row): place for place, row in enumerate(train.index)}
    queries = [
        Query(
            pictures.data_uri(test.images[row]),
            names[test.labels[row]] if test.labels is not None else "",
            [],
        )
        for row in chosen
    ]
    for entry in board.entries:
        run = study.shown_run(entry)
        folder = study.files(run).features if run else None
        if run is None or folder is None or not (folder / "train.safetensors").is_file():
            continue
        features = maps.read_rows(folder / "test.safetensors", "h", np.array(chosen))
        if features is None:
            continue
        _, rows = pictures.nearest(folder / "train.safetensors", features)
        for query, asked, found in zip(queries, chosen, rows, strict=True):
            wanted = None if test.labels is None else int(test.labels[asked])
            alike = [_neighbour(train, places[int(row)], wanted, names) for row in found]
            right = "" if wanted is None else f"{sum(bool(n.right) for n in alike)} of {len(alike)}"
            query.rows.append((entry.label, numbers[entry.name], alike, right))
    return queries


def _neighbour(
    train: Any, place: int, wanted: int | None, names: tuple[str, ...]
) -> pictures.Neighbour:
    picture = pictures.data_uri(train.images[place])
    if wanted is None or train.labels is None:
        return pictures.Neighbour(picture, f"training image {place}", None)
    label = int(train.labels[place])
    return pictures.Neighbour(picture, names[label], label == wanted)


def _one(entry: Entry, run: Mapping[str, object]) -> str:
    return "no randomness" if entry.deterministic else f"seed {run['seed']}"


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"
