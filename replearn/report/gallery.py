"""Pictures of one dataset: maps of the features, augmented views, nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from replearn.data.prepared import Part, PreparedDataset
from replearn.featurerows import read_rows, row_count, sample
from replearn.parallel import THREADS, in_order
from replearn.progress import Progress
from replearn.report import maps, pictures
from replearn.report.study import StudyFiles
from replearn.standings import Entry, Standings

Numbers = Mapping[tuple[str, str], int]
"""Position of each method in the report's palette."""
VIEWED = 4
"""Training images whose views are shown."""
PATIENCE = 3.0
"""Seconds of work before its progress is worth a line."""


@dataclass(frozen=True)
class Panel:
    """One small picture with its heading."""

    title: str
    number: int
    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Legend:
    """The classes with a colour (slot and name), and how many others are grey."""

    classes: list[tuple[int, str]]
    others: int


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


def feature_maps(
    study: StudyFiles, board: Standings, numbers: Numbers, classes: Sequence[str]
) -> tuple[list[Panel], Legend]:
    """A map of the same test images for each method with features."""
    shown = [(entry, run) for entry in board.entries if (run := study.shown_run(entry))]
    files = [study.files(run).features / "test.safetensors" for _, run in shown]
    panels: list[Panel] = []
    legend = Legend([], 0)
    with Progress(len(shown), f"maps of {board.dataset}", "maps", patience=PATIENCE) as progress:
        found = in_order(_feature_map, files, threads=THREADS, ahead=THREADS)
        for (entry, run), of_run in zip(shown, found, strict=True):
            progress.advance()
            if of_run is None:
                continue
            chosen, slots = maps.class_groups(of_run.labels, len(classes))
            if chosen:
                named = [(slot, classes[c]) for slot, c in enumerate(chosen)]
                legend = Legend(named, len(classes) - len(chosen))
            story = f"{entry.label}: {of_run.how} of {len(of_run.points)} test features"
            svg = maps.drawing(of_run.points, slots, story)
            note = which_run(entry, run) + ("" if of_run.how == maps.TITLE else f"; {of_run.how}")
            panels.append(Panel(entry.label, numbers[entry.name], svg, note))
    return panels, legend


@dataclass(frozen=True)
class _FeatureMap:
    """Points [n, 2] of test images, how they were found, and the images' labels if there are any."""

    points: NDArray[np.float64]
    how: str
    labels: NDArray[np.int64] | None


def _feature_map(file: Path) -> _FeatureMap | None:
    """Of evenly spaced test images; None if the file of features is missing or holds too few."""
    if not file.is_file():
        return None
    rows = sample(row_count(file), maps.POINTS)
    features = read_rows(file, "h", rows)
    if features is None or len(rows) < 3:
        return None
    labels = read_rows(file, "labels", rows)
    whole = None if labels is None else labels.astype(np.int64)
    return _FeatureMap(*maps.embedding(features), whole)


def view_panels(study: StudyFiles, board: Standings, train: Part) -> list[ViewPanel]:
    """What the methods are shown, methods with the same views together."""
    groups: dict[str, tuple[list[str], Sequence[Mapping[str, Any]], int]] = {}
    for entry in board.entries:
        run = study.shown_run(entry)
        views = study.config(run).get("views") if run and entry.trained else None
        if views:
            assert run is not None
            group = groups.setdefault(repr(views), ([], views, int(str(run["seed"]))))
            group[0].append(entry.label)
    rows = np.unique(np.linspace(0, len(train.index) - 1, VIEWED).astype(np.int64))
    found = []
    for labels, views, seed in groups.values():
        seen = pictures.view_rows(train.images.read(rows), rows, views, seed=seed)
        found.append(ViewPanel(", ".join(labels), pictures.describe_views(views), seen))
    return found


def neighbour_rows(
    study: StudyFiles, board: Standings, prepared: PreparedDataset, train: Part, numbers: Numbers
) -> list[Query]:
    """A few test images and what each method finds alike among the training images."""
    test, names = prepared.part("test"), prepared.manifest.classes
    asked = pictures.choose_queries(test.labels, len(test.index))
    places = {int(row): place for place, row in enumerate(train.index)}
    queries = []
    for row in asked:
        caption = "" if test.labels is None else names[int(test.labels[row])]
        queries.append(Query(pictures.data_uri(test.images[row]), caption, []))
    for entry in board.entries:
        run = study.shown_run(entry)
        folder = study.files(run).features if run else None
        if folder is None or not (folder / "train.safetensors").is_file():
            continue
        features = read_rows(folder / "test.safetensors", "h", np.array(asked))
        if features is None:
            continue
        _, nearest = pictures.nearest(folder / "train.safetensors", features)
        for query, row, found in zip(queries, asked, nearest, strict=True):
            wanted = None if test.labels is None else int(test.labels[row])
            alike = [_neighbour(train, places[int(one)], wanted, names) for one in found]
            right = "" if wanted is None else f"{sum(bool(n.right) for n in alike)} of {len(alike)}"
            query.rows.append((entry.label, numbers[entry.name], alike, right))
    return queries


def which_run(entry: Entry, run: Mapping[str, object]) -> str:
    """Which seed a picture shows."""
    return "no seed" if entry.deterministic else f"seed {run['seed']}"


def _neighbour(
    train: Part, place: int, wanted: int | None, names: Sequence[str]
) -> pictures.Neighbour:
    picture = pictures.data_uri(train.images[place])
    if wanted is None or train.labels is None:
        return pictures.Neighbour(picture, f"training image {train.index[place]}", None)
    label = int(train.labels[place])
    return pictures.Neighbour(picture, names[label], label == wanted)
