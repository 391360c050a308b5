"""Matplotlib figures as small inline SVG that takes its colours and its font from the page."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
"""Stand-ins for the page's colours: Matplotlib writes no CSS variables, so `to_svg` swaps them."""
PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--card)"}
FONT_SIZE = 12
UNUSED_IDS = (
    r' id="(?:figure|axes|patch|line2d|matplotlib|text|legend|xtick|ytick|[A-Z][A-Za-z]*Collection)'
    r'[^"]*"'
)
"""Ids that Matplotlib gives to groups; nothing refers to them."""


def method_colour(number: int) -> str:
    """Stand-in for the colour of the report's method `number` (below 65,536)."""
    return f"#0a{number:04x}"


def figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in CSS pixels."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width / 72, height / 72), dpi=72)
    made.patch.set_alpha(0)
    return made


def axes(made: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes that keep the given distances in pixels from the figure's edges, plainly styled."""
    width, height = made.get_size_inches() * 72
    shape = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    ax = made.add_axes(shape)
    ax.patch.set_alpha(0)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GRID)
    ax.tick_params(which="both", colors=MUTED, labelsize=FONT_SIZE - 1.5, length=3, color=GRID)
    ax.grid(visible=True, color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    return ax


def label(ax: Axes, x: str = "", y: str = "") -> None:
    """Name the axes."""
    ax.set_xlabel(x, color=MUTED, fontsize=FONT_SIZE - 1, labelpad=3)
    ax.set_ylabel(y, color=MUTED, fontsize=FONT_SIZE - 1, rotation_mode="anchor")


def to_svg(made: Figure, name: str, description: str) -> Markup:
    """The figure as an `<svg>` element.

    Args:
        made: the figure.
        name: unique in the page; keeps the element's ids apart from those of other figures.
        description: what is to be seen, for those who cannot see it.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        made.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    view = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag[0], name), body)
    body = re.sub(r"\n\s*", "\n", body).strip()
    box = view[1] if view else ""
    head = f'<svg class="chart" viewBox="{box}" role="img" aria-label="{escape(description)}">'
    return Markup(f"{head}{body}</svg>")


def _page_tag(tag: str, name: str) -> str:
    """One tag with page colours and font, its own ids, and short numbers."""
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(UNUSED_IDS, "", tag)
    tag = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", tag)
    tag = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', tag)
    tag = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", tag)
    tag = re.sub(
        r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), tag
    )
    for stand_in, colour in PAGE_COLOURS.items():
        tag = tag.replace(stand_in, colour)
    return re.sub(r"#0a([0-9a-f]{4})", lambda found: f"var(--m{int(found[1], 16)})", tag)
