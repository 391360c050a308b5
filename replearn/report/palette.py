"""One colour per method throughout a report, readable on light and on dark paper."""

from __future__ import annotations

from collections.abc import Iterable

from replearn.standings import Entry

METHOD_COLOURS = {
    "raw_pixels": ("#667080", "#9aa4b5"),
    "pca": ("#7b6b57", "#b9a68d"),
    "random_init": ("#925f5f", "#c79595"),
    "supervised": ("#1f2a3a", "#e8ecf3"),
    "autoencoder": ("#946400", "#e2b13c"),
    "triplet": ("#bb2f7c", "#f283ba"),
    "supcon": ("#6d3fc4", "#b79cf7"),
    "simclr": ("#1f5fd0", "#74a9ff"),
    "byol": ("#c94a14", "#ff935f"),
    "dino": ("#0b7f64", "#40cda4"),
    "clip": ("#127a9c", "#5cc5e4"),
}
SPARE_COLOURS = (
    ("#4f7a1c", "#a2d05c"),
    ("#8f2d2d", "#f08a8a"),
    ("#2d3f8f", "#93a5f5"),
    ("#7a5c00", "#d4b24a"),
    ("#006b6b", "#4fd0d0"),
    ("#7a2e6d", "#dd8fcf"),
)
CLASS_COLOURS = (
    ("#1f77b4", "#5ba8e0"),
    ("#e06c00", "#ff9d45"),
    ("#2b8a2b", "#5fc75f"),
    ("#c9252b", "#ff7377"),
    ("#8457b5", "#b592e0"),
    ("#85564b", "#bf8e82"),
    ("#cf54aa", "#f196d5"),
    ("#6e6e6e", "#a9a9a9"),
    ("#8a880c", "#d6d44a"),
    ("#0f9fb0", "#4fd6e6"),
    ("#3b4cc0", "#8b9af0"),
    ("#5b7f00", "#aed04a"),
)

Colour = tuple[str, str]
"""The same colour on light and on dark paper."""


def method_colours(entries: Iterable[Entry]) -> dict[tuple[str, str], Colour]:
    """A colour for each method and variant; the first variant of a known method has its own."""
    chosen: dict[tuple[str, str], Colour] = {}
    spare = 0
    for entry in entries:
        if entry.name in chosen:
            continue
        usual = METHOD_COLOURS.get(entry.method)
        if usual and usual not in chosen.values():
            chosen[entry.name] = usual
        else:
            chosen[entry.name] = SPARE_COLOURS[spare % len(SPARE_COLOURS)]
            spare += 1
    return chosen


def variables(colours: dict[tuple[str, str], Colour]) -> tuple[str, str]:
    """CSS custom properties for light and for dark paper: --m0, --m1 … methods, --c0 … classes."""
    sides = []
    for side in (0, 1):
        methods = [f"--m{n}:{colour[side]}" for n, colour in enumerate(colours.values())]
        classes = [f"--c{n}:{colour[side]}" for n, colour in enumerate(CLASS_COLOURS)]
        sides.append(";".join([*methods, *classes]))
    return sides[0], sides[1]
