"""Loss and validation kNN over training, one small picture per method."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from replearn.errors import UserError
from replearn.report.svg import FONT_SIZE, MUTED, axes, figure, label, method_colour, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 120
"""Points kept of a curve; more would not be seen at this size."""
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Epochs and values."""


def read_history(path: Path) -> list[dict[str, object]]:
    """Lines of a history file; empty if there is none.

    Raises:
        UserError: a line other than the last, which may be half-written, is not JSON.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    found: list[dict[str, object]] = []
    for number, line in enumerate(lines):
        try:
            found.append(json.loads(line))
        except ValueError:
            if number < len(lines) - 1:
                raise UserError(f"line {number + 1} is not JSON", where=str(path)) from None
    return found


def curve(history: Sequence[Mapping[str, object]], name: str) -> Curve:
    """Epochs and values at which a history records `name` as a number."""
    pairs = [
        (float(str(line["epoch"])), float(str(line[name])))
        for line in history
        if line.get(name) is not None and line.get("epoch") is not None
    ]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def thinned(line: Curve, points: int = POINTS) -> Curve:
    """A curve averaged over equal runs of neighbours, at most `points` long."""
    epochs, values = line
    if epochs.size <= points:
        return line
    parts = np.array_split(np.arange(epochs.size), points)
    return (
        np.array([epochs[part].mean() for part in parts]),
        np.array([values[part].mean() for part in parts]),
    )


def training(
    histories: Sequence[Sequence[Mapping[str, object]]],
    *,
    method: str,
    number: int,
    name: str,
    knn_range: tuple[float, float] | None,
) -> Markup | None:
    """Loss (own axis) above validation kNN (axis shared by all methods), a line per seed.

    Args:
        histories: of the method's runs.
        method: label for the description.
        number: position in the palette.
        name: unique in the page.
        knn_range: smallest and largest kNN over all methods; None without labels.
    """
    losses = [thinned(curve(history, "loss")) for history in histories]
    neighbours = [curve(history, "knn") for history in histories]
    losses, neighbours = [c for c in losses if c[0].size], [c for c in neighbours if c[0].size]
    if not losses:
        return None
    two = knn_range is not None and bool(neighbours)
    made = figure(340, 236 if two else 150)
    colour = method_colour(number)
    bottom = 122 if two else 36
    top_axes = axes(made, 50, 8, 10, bottom)
    _lines(top_axes, losses, colour)
    last = max(float(c[0].max()) for c in losses)
    top_axes.set_xlim(0, last)
    top_axes.locator_params(axis="y", nbins=4)
    label(top_axes, x="" if two else "epoch", y="loss")
    if two and knn_range is not None:
        top_axes.tick_params(labelbottom=False)
        lower = axes(made, 50, 128, 10, 36)
        _lines(lower, [(epochs, 100 * values) for epochs, values in neighbours], colour, dots=True)
        low, high = 100 * knn_range[0], 100 * knn_range[1]
        room = max(high - low, 1) * 0.08
        lower.set_ylim(low - room, high + room)
        lower.set_xlim(0, last)
        lower.locator_params(axis="y", nbins=4)
        for history in histories:
            _mark_collapse(lower, history)
        label(lower, x="epoch", y="kNN, %")
        reached = np.mean([values[-1] for _, values in neighbours])
        lower.annotate(
            f"{100 * reached:.1f}",
            (1, 0),
            (-2, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=FONT_SIZE - 1,
        )
    first, final = losses[0][1][0], losses[0][1][-1]
    story = f"{method}: loss from {first:.3g} to {final:.3g} over {last:.0f} epochs"
    return to_svg(made, name, story)


def first_collapse(history: Sequence[Mapping[str, object]]) -> float | None:
    """Epoch of the first look, after the start, from which on no look saw healthy features."""
    looks = [line for line in history if line.get("verdict") and line.get("step")]
    first = None
    for line in reversed(looks):
        if line["verdict"] == "healthy":
            break
        first = float(str(line["epoch"]))
    return first


def _mark_collapse(ax: Axes, history: Sequence[Mapping[str, object]]) -> None:
    epoch = first_collapse(history)
    if epoch is not None:
        ax.axvline(epoch, color=MUTED, linewidth=1.2, linestyle=(0, (2, 2)))
        ax.annotate(
            f"collapsed from epoch {epoch:g}",
            (epoch, 1),
            (3, -10),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=MUTED,
            fontsize=FONT_SIZE - 2,
        )


def _lines(ax: Axes, curves: Sequence[Curve], colour: str, *, dots: bool = False) -> None:
    for position, (epochs, values) in enumerate(curves):
        style = "-" if position == 0 else (0, (5, 1.5))
        alpha = 1.0 if position == 0 else 0.75
        marker = "o" if dots else None
        ax.plot(
            epochs,
            values,
            linestyle=style,
            color=colour,
            alpha=alpha,
            linewidth=1.6,
            marker=marker,
            markersize=2.6,
        )
