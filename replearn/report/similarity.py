"""The heat map of how alike the representations of one dataset are."""

from __future__ import annotations

import csv
from pathlib import Path

from markupsafe import Markup

from replearn.report.svg import FONT_SIZE, INK, MUTED, PAPER, axes, figure, to_svg
from replearn.standings import Standings

CELL = 34
DARK = 0.55
"""From this similarity on, a number is written in the colour of the paper."""
Name = tuple[str, str]
Pairs = dict[tuple[Name, Name], float]


def read_similarities(study_dir: Path) -> dict[str, Pairs]:
    """CKA of pairs of rows by dataset, from the study's tables; empty if there is none."""
    file = study_dir / "tables" / "cka.csv"
    found: dict[str, Pairs] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                a, b = (row["method_a"], row["variant_a"]), (row["method_b"], row["variant_b"])
                found.setdefault(row["dataset"], {})[a, b] = float(row["cka"])
    return found


def heat_map(board: Standings, pairs: Pairs, name: str) -> Markup | None:
    """A square for each pair, the darker the more alike; None without a pair."""
    from matplotlib.patches import Rectangle

    shown = [entry for entry in board.entries if any(entry.name in pair for pair in pairs)]
    if not shown:
        return None
    labels = [entry.label for entry in shown]
    left = min(max(60.0, 6.8 * max(map(len, labels)) + 12), 220.0)
    side = CELL * len(shown)
    made = figure(left + side + 8, side + left + 8)
    ax = axes(made, left, 8, 8, left)
    for row, a in enumerate(shown):
        for column, b in enumerate(shown):
            value = 1.0 if a is b else pairs.get((a.name, b.name), pairs.get((b.name, a.name)))
            if value is None:
                continue
            corner = (column - 0.5, row - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, facecolor=INK, alpha=value, linewidth=0))
            ax.annotate(
                f"{100 * value:.0f}",
                (column, row),
                ha="center",
                va="center",
                color=PAPER if value > DARK else INK,
                fontsize=FONT_SIZE - 2,
            )
    ax.set_xlim(-0.5, len(shown) - 0.5)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    places = range(len(shown))
    ax.set_yticks(places, labels)
    ax.set_xticks(places, labels, rotation=90)
    ax.tick_params(length=0, labelsize=FONT_SIZE - 1, labelcolor=MUTED)
    ax.grid(visible=False)
    (one, other), highest = max(pairs.items(), key=lambda item: item[1])
    named = {entry.name: entry.label for entry in shown}
    alike = f"most alike: {named[one]} and {named[other]}, {100 * highest:.0f} %"
    return to_svg(made, name, f"Linear CKA between {len(shown)} representations; {alike}")
