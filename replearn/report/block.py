"""All that the report shows of one dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from replearn.formats import to_html
from replearn.report import charts, costs, curves, spectra
from replearn.report.certainty import every_pair, rank_chances
from replearn.report.findings import Finding, findings
from replearn.report.gallery import (
    Legend,
    Numbers,
    Panel,
    Query,
    ViewPanel,
    feature_maps,
    neighbour_rows,
    view_panels,
    which_run,
)
from replearn.report.sheets import beyond_accuracy, diagnostics, texts, unhealthy
from replearn.report.similarity import heat_map
from replearn.report.study import StudyFiles
from replearn.standings import KNN, LINEAR, Standings
from replearn.tables import comparison


@dataclass
class Block:
    """One dataset's part of the page."""

    board: Standings
    anchor: str
    budget: str
    findings: list[Finding]
    leaderboard: Markup
    certainty: list[tuple[str, Markup]] = field(default_factory=list)
    accuracy: list[Markup] = field(default_factory=list)
    curves: list[Panel] = field(default_factory=list)
    spectra: list[Panel] = field(default_factory=list)
    diagnostics: str = ""
    unhealthy: list[tuple[str, str, str]] = field(default_factory=list)
    text: str = ""
    beyond: str = ""
    similarity: Markup | None = None
    maps: list[Panel] = field(default_factory=list)
    legend: Legend = field(default_factory=lambda: Legend([], 0))
    views: list[ViewPanel] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    cost: list[Markup] = field(default_factory=list)
    cost_table: str = ""


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
        leaderboard=Markup(to_html(comparison(board, study.origins(board.dataset)))),
    )
    prefix = f"d{position}"
    if board.labelled:
        block.certainty = [
            (title, Markup(to_html(table)))
            for title, table in (("Ranks", rank_chances(board)), ("Pairs", every_pair(board)))
            if table is not None
        ]
        for metric, title in ((LINEAR, "Linear probe"), (KNN, "kNN, k = 20")):
            if any(entry.values.get(metric) for entry in board.entries):
                block.accuracy.append(
                    charts.accuracy(board, metric, title, numbers, f"{prefix}a{metric[0]}")
                )
        drawn = [
            charts.cost(board, LINEAR, work, numbers, f"{prefix}c{work.name}")
            for work in (costs.IMAGES, costs.VIEWS, costs.device_time(board))
        ]
        block.cost = [svg for svg in drawn if svg is not None]
        block.cost_table = Markup(to_html(costs.cost_table(board)))
    block.curves = _curves(study, board, numbers, prefix)
    block.spectra = _spectra(study, board, numbers, prefix)
    block.diagnostics = Markup(to_html(diagnostics(study, board)))
    block.unhealthy = unhealthy(board)
    block.text = texts(board)
    block.beyond = beyond_accuracy(board)
    alike = study.similarities.get(board.dataset, {})
    block.similarity = heat_map(board, alike, f"{prefix}k")
    block.maps, block.legend = feature_maps(study, board, numbers, names)
    if prepared is not None:
        train = prepared.part("train")
        block.views = view_panels(study, board, train)
        block.queries = neighbour_rows(study, board, prepared, train, numbers)
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
        number, times = numbers[entry.name], len(histories[entry.name])
        seeds = "1 seed" if times == 1 else f"{times} seeds"
        svg = curves.training(
            histories[entry.name],
            method=entry.label,
            number=number,
            name=f"{prefix}t{number}",
            knn_range=limits,
        )
        if svg is not None:
            found.append(Panel(entry.label, number, svg, seeds))
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
        found.append(Panel(entry.label, numbers[name], svg, which_run(entry, run)))
    return found
