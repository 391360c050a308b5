"""One metric of several rows as dots: small ones for seeds, a large one for their mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

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
from replearn.standings import Entry, Metric, Standings, is_share

ROW = 26
WIDTH = 430


def dots(
    board: Standings, metric: Metric, entries: Sequence[Entry], limits: Sequence[float], name: str
) -> Markup | None:
    """The chart of `entries` from top to bottom; None if none has a value.

    Args:
        board: where the entries stand.
        metric: family and name.
        entries: rows of the chart; row i has the palette's colour i.
        limits: numbers that a criterion names, drawn as vertical lines.
        name: unique in the page.
    """
    summaries = {
        number: summary
        for number, entry in enumerate(entries)
        if (summary := board.summary(entry, metric))
    }
    if not summaries:
        return None
    share = is_share(metric)
    scale = 100 if share else 1
    made = figure(WIDTH, 58 + ROW * len(entries))
    widest = max(len(entry.label) for entry in entries)
    ax = axes(made, min(max(70.0, 6.8 * widest + 14), 215.0), 8, 20, 40)
    for limit in limits:
        ax.axvline(limit * scale, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    for number, summary in summaries.items():
        row, colour = len(entries) - 1 - number, method_colour(number)
        if summary.interval:
            ends = [scale * summary.interval.low, scale * summary.interval.high]
            ax.plot(ends, [row, row], color=colour, linewidth=2.4, solid_capstyle="round")
        if summary.n > 1:
            values = [scale * value for value in summary.values.values()]
            ax.plot(
                values, [row - 0.28] * len(values), "o", color=colour, alpha=0.6, markersize=3.6
            )
        (mean,) = ax.plot([scale * summary.mean], [row], "o", color=colour, zorder=5)
        mean.set(markersize=8.5, markeredgecolor=PAPER, markeredgewidth=1.2)
    ax.set_yticks(range(len(entries)), [entry.label for entry in reversed(entries)])
    ax.tick_params(axis="y", length=0, labelsize=FONT_SIZE, pad=8)
    for tick in ax.get_yticklabels():
        tick.set_color(INK)
    ax.grid(visible=False, axis="y")
    ax.set_ylim(-0.7, len(entries) - 0.4)
    ax.margins(x=0.08)
    title = f"{metric[0]} {metric[1].replace('_', ' ')}" + (", %" if share else "")
    label(ax, x=title)
    return to_svg(made, name, f"{title} of {len(entries)} rows")
