"""Variance along the principal directions of test features, against what noise would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from replearn.report.svg import FONT_SIZE, MUTED, axes, figure, label, method_colour, to_svg

POINTS = 70
FLOOR = 1e-6
"""Shares of variance below this are numerical noise and not drawn."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Shares of the total variance, largest first, and those of pure noise of the same n and d."""

    shares: NDArray[np.float64]
    null: NDArray[np.float64] | None


def read_spectrum(details: Mapping[str, object], part: str) -> Spectrum | None:
    """The spectrum of "h" or "z" among the details of a collapse.json; None if there is none."""
    shares = _shares(details.get(f"{part}_spectrum"))
    if shares is None:
        return None
    return Spectrum(shares, _shares(details.get(f"{part}_marchenko_pastur")))


def drawing(
    own: Spectrum, others: Sequence[Spectrum], *, method: str, number: int, name: str
) -> Markup:
    """One method's spectrum in its colour, its noise null dashed, the other methods in grey."""
    made = figure(340, 224)
    ax = axes(made, 54, 8, 12, 36)
    for spectrum in others:
        ax.plot(*_log_spaced(spectrum.shares), color=MUTED, alpha=0.3, linewidth=1.1)
    if own.null is not None:
        ax.plot(*_log_spaced(own.null), color=MUTED, linewidth=1.3, linestyle=(0, (4, 3)))
    ax.plot(*_log_spaced(own.shares), color=method_colour(number), linewidth=2.2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    everything = [own, *others]
    lowest = min(float(s.shares[s.shares > FLOOR].min()) for s in everything if s.shares.size)
    ax.set_ylim(max(lowest * 0.6, FLOOR), 1.3)
    ax.set_xlim(1, max(s.shares.size for s in everything) * 1.05)
    label(ax, x="component", y="share of variance")
    half = int(np.searchsorted(np.cumsum(own.shares), 0.9)) + 1
    ax.annotate(
        f"90 % in {half} of {own.shares.size}",
        (1, 1),
        (-2, -2),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED,
        fontsize=FONT_SIZE - 1,
    )
    story = f"{method}: 90 % of the variance lies in {half} of {own.shares.size} directions"
    return to_svg(made, name, story)


def _shares(values: object) -> NDArray[np.float64] | None:
    if not isinstance(values, list) or not values:
        return None
    array = np.sort(np.array([v or 0.0 for v in values], dtype=np.float64))[::-1]
    total = float(array.sum())
    return array / total if np.isfinite(total) and total > 0 else None


def _log_spaced(shares: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rank = np.unique(np.geomspace(1, shares.size, POINTS).round().astype(np.int64))
    kept = rank[shares[rank - 1] > FLOOR]
    return kept, shares[kept - 1]
