"""What several datasets say together: ranks, scores, pairs, and from six datasets on a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from replearn.across import (
    DATASETS_TO_TEST,
    METHODS_TO_TEST,
    average_ranks,
    critical_difference,
    friedman,
    groups,
)
from replearn.formats import NOTHING, Cell, Column, Group, Table, join, percent, to_html
from replearn.report.findings import points
from replearn.report.svg import (
    FONT_SIZE,
    INK,
    PAPER,
    axes,
    figure,
    label,
    method_colour,
    to_svg,
)
from replearn.standings import LINEAR, Entry, Standings
from replearn.stats import LEVEL, Verdict

VERDICTS: tuple[Verdict, ...] = ("supported", "inconclusive", "contradicted")
ROW = 26
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Across:
    """The section of the page; no diagram unless the methods are shown to differ."""

    verdict: Verdict
    sentence: str
    ranks: Markup
    pairs: Markup
    diagram: Markup | None


@dataclass(frozen=True, slots=True)
class Blocks:
    """The methods that every labelled dataset has, best average rank first.

    Attributes:
        boards: the labelled datasets.
        entries: each method on each dataset, in the order of `boards`.
        ranks: average ranks.
        p: of Friedman's test; None where it would decide nothing.
    """

    boards: tuple[Standings, ...]
    entries: Mapping[Name, tuple[Entry, ...]]
    ranks: Mapping[Name, float]
    p: float | None

    @property
    def difference(self) -> float | None:
        """The critical difference, if the methods are shown to differ at all."""
        if self.p is None or self.p >= 1 - LEVEL:
            return None
        return critical_difference(len(self.ranks), len(self.boards))


def across(boards: Sequence[Standings], numbers: Mapping[Name, int]) -> Across | None:
    """The section for a study; None unless two labelled datasets share two methods."""
    blocks = complete_blocks(boards)
    if blocks is None:
        return None
    verdict: Verdict = "inconclusive" if blocks.difference is None else "supported"
    return Across(
        verdict,
        sentence(blocks),
        Markup(to_html(rank_table(blocks))),
        Markup(to_html(pair_table(blocks))),
        None if blocks.difference is None else diagram(blocks, blocks.difference, numbers),
    )


def complete_blocks(boards: Sequence[Standings]) -> Blocks | None:
    """The methods with an accuracy on every labelled dataset; None for less than two by two."""
    labelled = tuple(
        board for board in boards if any(e.mean(LINEAR) is not None for e in board.methods)
    )
    found = [{e.name: e for e in board.methods if e.mean(LINEAR) is not None} for board in labelled]
    names = [name for name in (found[0] if found else ()) if all(name in each for each in found)]
    if len(labelled) < 2 or len(names) < 2:
        return None
    entries = {name: tuple(each[name] for each in found) for name in names}
    values = np.array([[e.mean(LINEAR) for e in row] for row in entries.values()], dtype=float).T
    ranks = dict(zip(names, average_ranks(values).tolist(), strict=True))
    enough = len(labelled) >= DATASETS_TO_TEST and len(names) >= METHODS_TO_TEST
    order = sorted(names, key=lambda name: ranks[name])
    return Blocks(
        labelled,
        {name: entries[name] for name in order},
        {name: ranks[name] for name in order},
        friedman(values) if enough else None,
    )


def sentence(blocks: Blocks) -> str:
    """What the datasets together support, or why nothing is tested."""
    datasets = len(blocks.boards)
    if datasets < DATASETS_TO_TEST:
        return (
            f"No test over datasets: {datasets} are too few. From {DATASETS_TO_TEST} on,"
            " Friedman's test says whether the methods differ, and a critical difference which."
        )
    if blocks.p is None:
        return f"No test over datasets: it needs {METHODS_TO_TEST} methods."
    tested = f"Friedman's test over {datasets} datasets, p = {blocks.p:.2g}"
    if blocks.difference is None:
        return f"That the methods differ over datasets is inconclusive ({tested})."
    return (
        f"That the methods differ over datasets is supported ({tested}). Two of them differ if"
        f" their average ranks are {blocks.difference:.2f} or more apart (Nemenyi)."
    )


def rank_table(blocks: Blocks) -> Table:
    """Average rank and score of each method, and its score on each dataset."""
    columns = (
        Column("method", "Method", numeric=False),
        Column("rank", "Average rank", "Over datasets, by linear probe; ties have their mean rank"),
        Column("score", "Mean score", "Of the scores on all datasets, if all are defined"),
        *(
            Column(f"d{i}", board.dataset, "(accuracy − random) / (supervised − random)")
            for i, board in enumerate(blocks.boards)
        ),
    )
    rows = []
    for name, entries in blocks.entries.items():
        scores = [b.score(e, LINEAR) for b, e in zip(blocks.boards, entries, strict=True)]
        known = [score for score in scores if score is not None]
        mean = float(np.mean(known)) if len(known) == len(scores) else None
        rank = blocks.ranks[name]
        row = {
            "method": Cell(entries[0].label, entries[0].label),
            "rank": Cell(f"{rank:.2f}", rank),
            "score": Cell(_score(mean), mean),
        }
        for i, (score, entry) in enumerate(zip(scores, entries, strict=True)):
            note = f"linear probe {percent(entry.mean(LINEAR))} %"
            row[f"d{i}"] = Cell(_score(score), score, note=note)
        rows.append(row)
    return Table(
        f"Average ranks and scores over {len(blocks.boards)} datasets",
        columns,
        (Group("", tuple(rows)),),
        _notes(blocks),
    )


def pair_table(blocks: Blocks) -> Table:
    """Each pair of methods over datasets: mean difference, and the verdicts of the datasets."""
    tested: tuple[Column, ...] = ()
    if blocks.difference is not None:
        hint = "Average ranks at least a critical difference apart"
        tested = (Column("over", "Over datasets", hint, numeric=False),)
    columns = (
        Column("claim", "Claim", numeric=False),
        *tested,
        Column("difference", "Mean difference", "Of the accuracies, paired over datasets"),
        *(
            Column(word, word.capitalize(), "Number of datasets with this verdict")
            for word in VERDICTS
        ),
    )
    found = [board.pairs(board.methods, LINEAR) for board in blocks.boards]
    names = list(blocks.entries)
    rows = []
    for position, a in enumerate(names):
        for b in names[position + 1 :]:
            compared = [pairs[(a, b)] for pairs in found]
            counts = Counter[str](comparison.verdict for comparison in compared)
            mean = float(np.mean([comparison.difference for comparison in compared]))
            claim = f"{blocks.entries[a][0].label} is better than {blocks.entries[b][0].label}"
            row = {"claim": Cell(claim, claim), "difference": Cell(_points(mean), mean)}
            row |= {word: Cell(str(counts[word]), counts[word]) for word in VERDICTS}
            if blocks.difference is not None:
                apart = blocks.ranks[b] - blocks.ranks[a]
                word = "supported" if apart >= blocks.difference else "inconclusive"
                row["over"] = Cell(word, word, badge=word, note=f"{apart:.2f} ranks apart")
            rows.append(row)
    return Table(
        "Every pair over datasets, differences in points",
        columns,
        (Group("", tuple(rows)),),
        ("Each claim names the better average rank first; the last columns count datasets.",),
    )


def diagram(blocks: Blocks, difference: float, numbers: Mapping[Name, int]) -> Markup:
    """Critical difference diagram: bars join methods that are not shown to differ (Demšar 2006)."""
    names = list(blocks.entries)
    ranks = [blocks.ranks[name] for name in names]
    labels = [blocks.entries[name][0].label for name in names]
    joined = groups(ranks, difference)
    made = figure(430, 84 + ROW * len(names))
    left = min(max(60.0, 6.8 * max(map(len, labels)) + 12), 200.0)
    ax = axes(made, left, 34, 20 + 9 * len(joined), 42)
    for row, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        colour = method_colour(numbers[name])
        (dot,) = ax.plot([rank], [row], "o", color=colour, zorder=5)
        dot.set(markersize=8.5, markeredgecolor=PAPER, markeredgewidth=1.2)
    for position, (first, last) in enumerate(joined):
        ax.plot(
            [1.03 + 0.035 * position] * 2,
            [first - 0.25, last + 0.25],
            transform=ax.get_yaxis_transform(),
            color=INK,
            linewidth=3,
            clip_on=False,
        )
    ax.plot([1, 1 + difference], [-1, -1], color=INK, linewidth=1.6, marker="|")
    ax.annotate(
        f"critical difference {difference:.2f}",
        (1, -1),
        (0, 6),
        textcoords="offset points",
        color=INK,
        fontsize=FONT_SIZE - 2,
        annotation_clip=False,
    )
    ax.set_yticks(range(len(names)), labels)
    ax.tick_params(axis="y", length=0, labelsize=FONT_SIZE, pad=8)
    for tick in ax.get_yticklabels():
        tick.set_color(INK)
    ax.grid(visible=False, axis="y")
    ax.set_ylim(len(names) - 0.5, -1.3)
    ax.set_xlim(0.8, max(len(names), 1 + difference) + 0.2)
    label(ax, x=f"average rank over {len(blocks.boards)} datasets")
    shown = join(f"{text} {rank:.2f}" for text, rank in zip(labels, ranks, strict=True))
    title = f"Average ranks: {shown}; critical difference {difference:.2f}"
    return to_svg(made, "across", title)


def _notes(blocks: Blocks) -> tuple[str, ...]:
    notes = [
        (
            "Score: 0 is the random encoder, 1 the supervised one, on each dataset. It is undefined"
            " where the supervised row is not supported as better than the random encoder."
        )
    ]
    known = {e.name: e.label for board in blocks.boards for e in board.methods}
    left_out = [text for name, text in known.items() if name not in blocks.entries]
    if left_out:
        notes.append(f"Left out, for they have no accuracy on some dataset: {join(left_out)}.")
    return tuple(notes)


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}".replace("-", "−")


def _points(value: float) -> str:
    return points(value).removesuffix(" points")
