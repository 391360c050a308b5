"""The comparison table of a study, from the tidy results to HTML, Markdown, LaTeX, CSV and text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from replearn.collate import read_plan, read_tables
from replearn.formats import (
    NOTHING,
    Cell,
    Column,
    Group,
    Table,
    count,
    duration,
    join,
    memory,
    percent,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)
from replearn.jsonfile import write_text
from replearn.origins import Origins, origins
from replearn.similarity import similarities
from replearn.standings import KNN, LINEAR, Entry, Metric, Standings, standings
from replearn.stats import Summary

PROJECTOR: Metric = ("linear", "accuracy_z")
LOW_SHOT: Mapping[str, Metric] = {
    f"low_shot_{n}": ("linear", f"low_shot_{n}") for n in (1, 10, 100)
}
RANK_ME: Metric = ("collapse", "h_rank_me")
EFFECTIVE_RANK: Metric = ("collapse", "h_effective_rank")
UNIFORMITY: Metric = ("collapse", "h_uniformity")
SEVERITY = ("healthy", "dimensional", "cluster", "complete", "diverged")

UNREMARKABLE = Origins()

NAMED = (
    Column("method", "Method", numeric=False),
    Column("supervision", "Supervision", "What the training saw beside the images", numeric=False),
)
VERDICT = Column(
    "verdict",
    "Features",
    "Verdict of the collapse diagnostics, worst over seeds",
    numeric=False,
)
ACCURACIES = (
    Column(
        "rank", "Rank", "By linear probe; methods whose difference is inconclusive share a rank"
    ),
    Column(
        "linear",
        "Linear probe",
        "Test accuracy of logistic regression on frozen features, mean ± sample sd over seeds",
    ),
    Column(
        "knn",
        "kNN",
        "Test accuracy of the weighted cosine vote, k = 20, T = 0.07, mean ± sample sd over seeds",
    ),
    Column("score", "Score", "(linear probe − random encoder) / (supervised − random encoder)"),
    VERDICT,
    Column("projector", "Projector", "Linear probe on the projector output z"),
    Column("low_shot_1", "1 shot", "Linear probe with 1 label per class, mean of 5 draws"),
    Column("low_shot_10", "10 shots", "Linear probe with 10 labels per class, mean of 5 draws"),
    Column("low_shot_100", "100 shots", "Linear probe with 100 labels per class, mean of 5 draws"),
)
LABEL_FREE = (
    VERDICT,
    Column("rank_me", "RankMe", "Entropy-effective rank of uncentred features"),
    Column("effective_rank", "Effective rank", "The same on centred variances"),
    Column("uniformity", "Uniformity", "ln E exp(−2‖u − v‖²); lower is more spread"),
)
COSTS = (
    Column("epochs", "Epochs"),
    Column(
        "images_seen", "Images seen", "Training images times epochs; views are counted separately"
    ),
    Column("train_seconds", "Training", "Wall time of pretraining, mean over seeds"),
    Column("images_per_second", "Images/s", "While training, without monitoring and checkpoints"),
    Column(
        "outside_model",
        "Outside model",
        "Share of the training steps' time that went into loading, augmenting and bookkeeping",
    ),
    Column("peak_memory_mb", "Peak memory", "Of pretraining, mean over seeds"),
    Column(
        "settings_tried",
        "Settings tried",
        "When its recipe was tuned, on validation images; – where the recipe is its authors'",
    ),
    Column("seeds", "Seeds", "Finished runs, and planned ones where they differ"),
)
SPEEDS = ("train_seconds", "images_per_second", "outside_model", "peak_memory_mb")
TERMINAL = (
    "method",
    "supervision",
    "rank",
    "linear",
    "knn",
    "score",
    "rank_me",
    "effective_rank",
    "verdict",
    "train_seconds",
    "peak_memory_mb",
    "seeds",
)
"""Columns that fit on a terminal's line."""


def comparison(board: Standings, of: Origins = UNREMARKABLE) -> Table:
    """The comparison of one dataset: methods by accuracy, then the rows that give the scale.

    Args:
        board: the dataset's standings.
        of: what is to be said of where its numbers come from.
    """
    columns = NAMED + (ACCURACIES if board.labelled else LABEL_FREE) + COSTS
    ranks = board.ranks(board.methods, LINEAR)
    bold = {metric: _best_of_class(board, metric) for metric in (LINEAR, KNN)}
    groups = []
    for title, entries in (("", board.methods), ("Rows that give the scale", board.references)):
        ordered = sorted(entries, key=lambda e: -(e.mean(LINEAR) or e.mean(KNN) or -1.0))
        rows = tuple(_cells(board, entry, ranks, bold, of) for entry in ordered)
        if rows:
            groups.append(Group(title, rows))
    unit = ", accuracies in %" if board.labelled else ""
    notes = (*_notes(board), *of.mixed, *stale_notes(board, of))
    return Table(f"Comparison on {board.dataset}{unit}", columns, tuple(groups), notes)


def stale_notes(board: Standings, of: Origins) -> list[str]:
    """A sentence for each reason why stored numbers are not those that today's code would give."""
    reasons: dict[str, list[str]] = {}
    for entry in board.entries:
        if entry.name in of.stale:
            reasons.setdefault(of.stale[entry.name], []).append(entry.label)
    return [f"Stale: {join(labels)}, {reason}." for reason, labels in reasons.items()]


def records(board: Standings, of: Origins = UNREMARKABLE) -> list[dict[str, object]]:
    """The same comparison as flat records at full precision."""
    ranks = board.ranks(board.methods, LINEAR)
    found = []
    for entry in (*board.methods, *board.references):
        record: dict[str, object] = {
            "dataset": board.dataset,
            "method": entry.method,
            "variant": entry.variant,
            "reference": entry.reference,
            "supervision": entry.supervision,
            "rank": ranks.get(entry.name),
        }
        for name, metric in (("linear", LINEAR), ("knn", KNN)):
            summary = board.summary(entry, metric)
            interval = summary.interval if summary else None
            record |= {
                name: summary.mean if summary else None,
                f"{name}_sd": summary.sd if summary else None,
                f"{name}_low": interval.low if interval else None,
                f"{name}_high": interval.high if interval else None,
                f"{name}_interval": interval.basis if interval else None,
            }
        record["score"] = board.score(entry, LINEAR)
        for name, metric in {"projector": PROJECTOR, **LOW_SHOT}.items():
            record[name] = entry.mean(metric)
        record |= {name: entry.average(name) for name in ("epochs", "images_seen", "views_seen")}
        record |= {name: entry.average(name) for name in (*SPEEDS, "settings_tried")}
        record |= {
            "verdict": verdict(entry)[0],
            "seeds": len(entry.finished),
            "planned": len(entry.runs),
            "stale": of.stale.get(entry.name),
        }
        found.append(record)
    return found


def verdict(entry: Entry) -> tuple[str | None, int]:
    """The worst collapse verdict over an entry's runs and how many runs share it."""
    found = [str(value) for value in entry.column("verdict")]
    if not found:
        return None, 0
    worst = max(found, key=lambda name: SEVERITY.index(name) if name in SEVERITY else -1)
    return worst, found.count(worst)


def write_tables(plan_json: str | Path, study_dir: str | Path) -> str:
    """Write tables/comparison.{html,md,tex,csv} of a collated study; returns it as plain text.

    Beside them tables/cka.csv: how alike the representations are.
    """
    plan = read_plan(plan_json)
    boards = standings(*read_tables(study_dir), plan)
    from_where = [
        (board, origins(run for run in plan.runs if run.dataset == board.dataset))
        for board in boards
    ]
    tables = [comparison(board, of) for board, of in from_where]
    folder = Path(study_dir) / "tables"
    page = "\n".join(to_html(table, sortable=False) for table in tables)
    write_text(
        folder / "comparison.html",
        f'<!doctype html>\n<meta charset="utf-8">\n<title>Comparison</title>\n{page}\n',
    )
    write_text(folder / "comparison.md", "\n".join(map(to_markdown, tables)))
    write_text(folder / "comparison.tex", "\n".join(map(to_latex, tables)))
    write_text(
        folder / "comparison.csv",
        to_csv([row for board, of in from_where for row in records(board, of)]),
    )
    alike = [
        record
        for board in boards
        for record in similarities(board, lambda row: plan.run(row).features)
    ]
    write_text(folder / "cka.csv", to_csv(alike))
    return "\n".join(to_text(table, only=TERMINAL) for table in tables)


def _cells(
    board: Standings,
    entry: Entry,
    ranks: Mapping[tuple[str, str], int],
    bold: Mapping[Metric, set[tuple[str, str]]],
    of: Origins,
) -> dict[str, Cell]:
    rank = ranks.get(entry.name)
    worst, times = verdict(entry)
    score = board.score(entry, LINEAR)
    cells = {
        "method": _name(entry, of),
        "supervision": Cell(entry.supervision, entry.supervision),
        "rank": Cell(NOTHING if rank is None else str(rank), rank),
        "linear": _accuracy(board.summary(entry, LINEAR), entry.name in bold[LINEAR]),
        "knn": _accuracy(board.summary(entry, KNN), entry.name in bold[KNN]),
        "score": Cell(NOTHING if score is None else f"{score:.2f}".replace("-", "−"), score),
        "projector": _share(entry.mean(PROJECTOR)),
        "verdict": _verdict_cell(entry, worst, times),
        "seeds": _seeds(entry),
    }
    cells |= {name: _share(entry.mean(metric)) for name, metric in LOW_SHOT.items()}
    for name, metric in (
        ("rank_me", RANK_ME),
        ("effective_rank", EFFECTIVE_RANK),
        ("uniformity", UNIFORMITY),
    ):
        value = entry.mean(metric)
        cells[name] = Cell(NOTHING if value is None else f"{value:.2f}".replace("-", "−"), value)
    early = sum(bool(run.get("ended_early")) for run in entry.runs)
    epochs = entry.average("epochs") if entry.trained else None
    cells["epochs"] = Cell(
        f"{count(epochs)} (ended early)" if early else count(epochs),
        epochs,
        note=f"{early} of {len(entry.runs)} trainings ended when their features had collapsed"
        if early
        else "",
    )
    for name, shown in (
        ("images_seen", count),
        ("train_seconds", duration),
        ("images_per_second", count),
        ("outside_model", _whole_percent),
        ("peak_memory_mb", memory),
        ("settings_tried", count),
    ):
        value = entry.average(name) if entry.trained or name == "peak_memory_mb" else None
        cells[name] = Cell(shown(value), value)
    return cells


def _name(entry: Entry, of: Origins) -> Cell:
    reason = of.stale.get(entry.name)
    if reason is None:
        return Cell(entry.label, entry.label)
    return Cell(f"{entry.label} (stale)", entry.label, note=reason, badge="attention")


def _whole_percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}".replace("%", " %")


def _accuracy(summary: Summary | None, bold: bool) -> Cell:
    if summary is None:
        return Cell(NOTHING)
    text = percent(summary.mean)
    if summary.sd is not None:
        text += f" ± {percent(summary.sd)}"
    note = {
        "deterministic": "no randomness, one value",
        "this checkpoint": "one seed: this checkpoint",
    }.get(summary.scope, f"{summary.n} seeds")
    if summary.interval:
        low, high = percent(summary.interval.low), percent(summary.interval.high)
        note += f"; 95 % interval {low} to {high} ({summary.interval.basis})"
    return Cell(text, summary.mean, bold, note)


def _share(value: float | None) -> Cell:
    return Cell(percent(value), value)


def _verdict_cell(entry: Entry, worst: str | None, times: int) -> Cell:
    if worst is None:
        return Cell(NOTHING)
    partly = worst != "healthy" and len(entry.runs) > 1
    text = f"{worst} ({times} of {len(entry.runs)})" if partly else worst
    rule = next(
        (str(run["rule"]) for run in entry.runs if run["verdict"] == worst and run["rule"]), ""
    )
    return Cell(text, worst, note=rule, badge=worst if worst in SEVERITY else "unknown")


def _seeds(entry: Entry) -> Cell:
    done, planned = len(entry.finished), len(entry.runs)
    text = "fixed" if entry.deterministic and done == planned else str(done)
    return Cell(text if done == planned else f"{done} of {planned}", done)


def _best_of_class(board: Standings, metric: Metric) -> set[tuple[str, str]]:
    """Names of the best methods within each kind of supervision, ties included."""
    found: set[tuple[str, str]] = set()
    for kind in {entry.supervision for entry in board.methods}:
        rivals = [e for e in board.methods if e.supervision == kind]
        found |= {entry.name for entry in board.best(rivals, metric)}
    # a method that varies wildly is inconclusive against the best, which is no merit
    return found - set(board.noise(metric).uneven)


def _notes(board: Standings) -> tuple[str, ...]:
    if not board.labelled:
        return (
            (
                "This dataset has no labels, so no accuracy can be measured: the table shows how"
                " the features spread."
            ),
        )
    notes = [
        (
            "Accuracies in percent of the test images, mean ± sample standard deviation over seeds;"
            " a method without randomness has one value."
        ),
        (
            "Bold: best within its kind of supervision, and those whose difference from it is inconclusive;"
            " ranks are shared where a difference is inconclusive."
        ),
    ]
    spread = board.noise(LINEAR).within
    if spread:
        notes.append(
            "Intervals of two to five seeds use the deviation pooled over methods:"
            f" {100 * spread.sd:.2f} points, {spread.degrees} degrees of freedom (linear probe)."
        )
    if all(board.score(entry, LINEAR) is None for entry in board.entries):
        notes.append(
            "No score: that needs a random encoder and a supervised row that is supported as better."
        )
    outside = [entry.label for entry in board.entries if entry.name in board.noise(LINEAR).uneven]
    if outside:
        notes.append(
            "Left out of the pool because they vary far more between seeds (Cochran's test, 1 %):"
            f" {join(outside)}."
        )
    if any(entry.supervision == "template captions" for entry in board.methods):
        notes.append(
            "Template captions are written from the class names: label supervision in another form."
        )
    return tuple(notes)
