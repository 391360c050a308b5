"""Accuracy of every method at a glance, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from replearn.formats import join, percent
from replearn.report.costs import Work, front
from replearn.report.svg import (
    FONT_SIZE,
    INK,
    MUTED,
    PAPER,
    axes,
    figure,
    label,
    method_colour,
    to_svg,
)
from replearn.standings import CEILING, PIXELS, RANDOM, Entry, Metric, Standings
from replearn.stats import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = Mapping[tuple[str, str], int]
"""Position of each method in the report's palette."""
ROW = 26
COST_HEIGHT = 290
LINE = 14.5
"""Height of a line of labels in pixels."""
REFERENCE_STYLES = {PIXELS: (4, 3), RANDOM: (1.5, 2.5), CEILING: (8, 2)}


def accuracy(board: Standings, metric: Metric, title: str, numbers: Numbers, name: str) -> Markup:
    """Seeds as small dots, their mean and its interval; floors and ceiling as vertical lines."""
    order = ("linear", "accuracy")
    entries = sorted(
        (entry for entry in board.entries if entry.values.get(metric)),
        key=lambda entry: entry.mean(order) or entry.mean(metric) or 0,
    )
    summaries = [summary for entry in entries if (summary := board.summary(entry, metric))]
    widest = max(len(entry.label) for entry in entries)
    made = figure(430, 58 + ROW * len(entries))
    ax = axes(made, min(max(60.0, 6.8 * widest + 12), 200.0), 8, 46, 40)
    for row, (entry, summary) in enumerate(zip(entries, summaries, strict=True)):
        _row(ax, row, entry, summary, method_colour(numbers[entry.name]))
    ax.set_yticks(range(len(entries)), [entry.label for entry in entries])
    ax.tick_params(axis="y", length=0, labelsize=FONT_SIZE, pad=8)
    for tick, entry in zip(ax.get_yticklabels(), entries, strict=True):
        tick.set_color(MUTED if entry.reference else INK)
    ax.grid(visible=False, axis="y")
    ax.set_ylim(-0.7, len(entries) - 0.4)
    ax.set_xlim(*_range(summaries))
    label(ax, x=f"{title}, % of test images")
    best = max(entries, key=lambda entry: entry.mean(metric) or 0)
    reached = f"{percent(best.mean(metric))} % by {best.label}"
    return to_svg(made, name, f"{title} of {len(entries)} rows; highest mean {reached}")


def _row(ax: Axes, row: int, entry: Entry, summary: Summary, colour: str) -> None:
    """One method: its seeds below, its mean and interval on the line, its number at the right."""
    mean = 100 * summary.mean
    if entry.reference and entry.method in REFERENCE_STYLES:
        dashes = (0, REFERENCE_STYLES[entry.method])
        ax.axvline(mean, color=colour, linewidth=1.1, linestyle=dashes, zorder=1)
    if summary.interval:
        ends = [100 * summary.interval.low, 100 * summary.interval.high]
        ax.plot(ends, [row, row], color=colour, linewidth=2.4, solid_capstyle="round", zorder=3)
    if summary.n > 1 and not entry.deterministic:
        values = [100 * value for value in summary.values.values()]
        (dots,) = ax.plot(values, [row - 0.29] * len(values), "o", color=colour, zorder=4)
        dots.set(alpha=0.6, markersize=3.6, markeredgewidth=0)
    marker, size = ("D", 6.5) if entry.reference else ("o", 8.5)
    _dot(ax, mean, row, marker, colour, size)
    ax.annotate(
        percent(summary.mean),
        (1, row),
        (9, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=FONT_SIZE,
    )


def _dot(ax: Axes, x: float, y: float, marker: str, colour: str, size: float) -> None:
    (dot,) = ax.plot([x], [y], marker, color=colour, zorder=5)
    dot.set(markersize=size, markeredgecolor=PAPER, markeredgewidth=1.2)


def _range(summaries: Sequence[Summary]) -> tuple[float, float]:
    """Percent from the lowest to the highest seed; intervals far wider than that are cut off."""
    values = [100 * value for summary in summaries for value in summary.values.values()]
    low, high = min(values), max(values)
    reach = max(0.12 * (high - low), 1.0)
    ends = [summary.interval for summary in summaries if summary.interval]
    lowest = min([low, *(100 * interval.low for interval in ends)])
    highest = max([high, *(100 * interval.high for interval in ends)])
    return max(lowest, low - reach) - 0.25 * reach, min(highest, high + reach) + 0.25 * reach


def cost(
    board: Standings, metric: Metric, work: Work, numbers: Numbers, name: str
) -> Markup | None:
    """Mean accuracy against what the training took, the Pareto front joined; None without trained runs."""
    points = [
        (entry, float(x), float(y))
        for entry in board.entries
        if entry.trained and (x := work.of(entry)) and (y := entry.mean(metric)) is not None
    ]
    if not points:
        return None
    made = figure(430, COST_HEIGHT)
    ax = axes(made, 52, 14, 22, 48)
    for method, dashes in REFERENCE_STYLES.items():
        floor = board.reference(method)
        value = floor.mean(metric) if floor and method != CEILING else None
        if floor and value is not None:
            colour = method_colour(numbers[floor.name])
            ax.axhline(100 * value, color=colour, linewidth=1.1, linestyle=(0, dashes))
            ax.annotate(
                floor.label,
                (1, 100 * value),
                (-2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                color=colour,
                fontsize=FONT_SIZE - 2,
            )
    best = front(board, metric, work)
    joined = {entry.name: (x, 100 * y) for entry, x, y in points}
    (line,) = ax.plot(*zip(*(joined[name] for name in best), strict=True) if best else ([], []))
    line.set(color=MUTED, linewidth=1.4, linestyle=(0, (5, 2)), zorder=2)
    for entry, x, y in points:
        colour = method_colour(numbers[entry.name])
        _dot(ax, x, 100 * y, "D" if entry.reference else "o", colour, 8.5)
    ax.set_xlim(0, 1.24 * max(x for _, x, _ in points))
    ax.margins(y=0.14)
    _place_labels(ax, [(entry, x, 100 * y) for entry, x, y in points], numbers)
    ax.xaxis.set_major_formatter(lambda value, _: "0" if value == 0 else work.text(value))
    ax.locator_params(axis="x", nbins=5)
    label(ax, x=work.title, y="linear probe, %")
    story = f"Linear probe accuracy against {work.title} for {len(points)} trained methods"
    on_front = join(entry.label for entry, *_ in points if entry.name in best)
    return to_svg(made, name, f"{story}; on the Pareto front: {on_front}" if best else story)


def _place_labels(ax: Axes, points: list[tuple[Entry, float, float]], numbers: Numbers) -> None:
    """Write each name beside its dot, or as near as other names and dots allow."""
    dots = {entry.name: ax.transData.transform((x, y)) for entry, x, y in points}
    taken = [_box(x, y, 5.0, 5.0) for x, y in dots.values()]
    shifts = sorted((step * LINE / 2 for step in range(-14, 15)), key=abs)
    for entry, x, y in sorted(points, key=lambda point: -point[2]):
        across, up = dots[entry.name]
        half = 3.3 * len(entry.label)
        places = [(side * (9 + half), shift) for shift in shifts for side in (1, -1)]
        boxes = [_box(across + dx, up + dy, half, LINE / 2 - 1) for dx, dy in places]
        free = (
            n
            for n, box in enumerate(boxes)
            if box[0] > ax.bbox.x0 and not any(_overlap(box, other) for other in taken)
        )
        chosen = next(free, 0)
        taken.append(boxes[chosen])
        arrow = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 4}
        ax.annotate(
            entry.label,
            (x, y),
            places[chosen],
            textcoords="offset points",
            ha="center",
            va="center",
            color=method_colour(numbers[entry.name]),
            fontsize=FONT_SIZE - 1,
            zorder=4,
            annotation_clip=False,
            arrowprops=arrow if abs(places[chosen][1]) > LINE else None,
        )


Box = tuple[float, float, float, float]


def _box(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
