"""One table, five formats: HTML, Markdown, LaTeX, CSV, text; and numbers as people read them."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

NOTHING = "–"
CSV_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows in one place.

    Attributes:
        text: as shown, unescaped.
        value: what the cell sorts by, at full precision.
        bold: best of its kind.
        note: longer explanation (a tooltip in HTML, left out elsewhere).
        badge: kind of badge around the text in HTML, if any.
    """

    text: str
    value: float | str | None = None
    bold: bool = False
    note: str = ""
    badge: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Heading of a column; `name` is stable, `title` is for people, `hint` explains it."""

    name: str
    title: str
    hint: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one heading; each row has a cell for each column."""

    title: str
    rows: tuple[Mapping[str, Cell], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table to render; rows of different groups are kept apart."""

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = field(default=())


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without its sign: 0.8712 → "87.1"."""
    return NOTHING if value is None else f"{100 * value:.{digits}f}"


def count(value: float | None) -> str:
    """A number of things: 950 → "950", 54000 → "54.0 k", 1.2e6 → "1.20 M"."""
    if value is None:
        return NOTHING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """A time: "0.4 s", "38 s", "4.2 min", "3.1 h"."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(megabytes: float | None) -> str:
    """A size of memory: "612 MB" or "1.8 GB"."""
    if megabytes is None:
        return NOTHING
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def to_html(table: Table, *, sortable: bool = True) -> str:
    """An HTML table in a container that scrolls sideways; every string is escaped."""
    parts = ['<div class="scroll" tabindex="0" role="region" aria-label="Table">']
    parts.append(f'<table class="{"sortable" if sortable else "plain"}">')
    parts.append(f"<caption>{html.escape(table.caption)}</caption><thead><tr>")
    for column in table.columns:
        kind = ' class="number"' if column.numeric else ""
        hint = f' title="{html.escape(column.hint)}"' if column.hint else ""
        parts.append(f'<th scope="col"{kind}{hint}>{html.escape(column.title)}</th>')
    parts.append("</tr></thead>")
    for group in table.groups:
        parts.append("<tbody>")
        if group.title:
            width = len(table.columns)
            parts.append(
                f'<tr class="group"><th colspan="{width}" scope="rowgroup">'
                f"<span>{html.escape(group.title)}</span></th></tr>"
            )
        parts += [_html_row(table.columns, row) for row in group.rows]
        parts.append("</tbody>")
    parts.append("</table></div>")
    if table.notes:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
        parts.append(f'<ul class="notes">{items}</ul>')
    return "".join(parts)


def _html_row(columns: Sequence[Column], row: Mapping[str, Cell]) -> str:
    parts = ["<tr>"]
    for position, column in enumerate(columns):
        cell = row[column.name]
        shown = html.escape(cell.text)
        if cell.badge:
            shown = f'<span class="badge {html.escape(cell.badge)}">{shown}</span>'
        if cell.bold:
            shown = f"<strong>{shown}</strong>"
        value = "" if cell.value is None else str(cell.value)
        attributes = f' data-column="{html.escape(column.name)}" data-value="{html.escape(value)}"'
        if column.numeric:
            attributes += ' class="number"'
        if cell.note:
            attributes += f' title="{html.escape(cell.note)}"'
        tag = 'th scope="row"' if position == 0 else "td"
        parts.append(f"<{tag}{attributes}>{shown}</{tag.split(maxsplit=1)[0]}>")
    parts.append("</tr>")
    return "".join(parts)


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured pipe table; groups after the first begin with a row that names them."""
    titles = [markdown_text(column.title) for column in table.columns]
    lines = [f"**{markdown_text(table.caption)}**", "", f"| {' | '.join(titles)} |"]
    lines.append(f"|{'|'.join('---:' if column.numeric else ':---' for column in table.columns)}|")
    for group in table.groups:
        if group.title:
            blank = " |" * (len(table.columns) - 1)
            lines.append(f"| *{markdown_text(group.title)}* |{blank}")
        for row in group.rows:
            cells = [row[column.name] for column in table.columns]
            shown = [
                markdown_text(c.text) if not c.bold else f"**{markdown_text(c.text)}**"
                for c in cells
            ]
            lines.append(f"| {' | '.join(shown)} |")
    lines += ["", *(f"- {markdown_text(note)}" for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """A booktabs table; needs \\usepackage{booktabs}."""
    layout = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = ["\\begin{table}", "\\centering", f"\\caption{{{latex_text(table.caption)}}}"]
    lines += [f"\\begin{{tabular}}{{{layout}}}", "\\toprule"]
    lines.append(" & ".join(latex_text(column.title) for column in table.columns) + " \\\\")
    for group in table.groups:
        lines.append("\\midrule")
        if group.title:
            width = len(table.columns)
            lines.append(
                f"\\multicolumn{{{width}}}{{l}}{{\\emph{{{latex_text(group.title)}}}}} \\\\"
            )
        for row in group.rows:
            cells = [row[column.name] for column in table.columns]
            shown = [
                latex_text(c.text) if not c.bold else f"\\textbf{{{latex_text(c.text)}}}"
                for c in cells
            ]
            lines.append(" & ".join(shown) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    if table.notes:
        notes = " ".join(latex_text(note) for note in table.notes)
        lines += [
            "",
            "\\smallskip",
            f"\\begin{{minipage}}{{\\linewidth}}\\footnotesize {notes}\\end{{minipage}}",
        ]
    return "\n".join([*lines, "\\end{table}", ""])


def to_text(table: Table, *, only: Sequence[str] = ()) -> str:
    """Aligned plain text for a terminal; the best of its kind carries an asterisk.

    Args:
        table: what to show.
        only: names of the columns to keep; all if empty.
    """
    columns = tuple(c for c in table.columns if not only or c.name in only)
    body = [
        [[_starred(row[column.name]) for column in columns] for row in group.rows]
        for group in table.groups
    ]
    titles = [one_line(column.title) for column in columns]
    everything = [titles, *(row for group in body for row in group)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        pairs = zip(cells, widths, columns, strict=True)
        return "  ".join(c.rjust(w) if col.numeric else c.ljust(w) for c, w, col in pairs).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [one_line(table.caption), rule, line(titles)]
    for group, rows in zip(table.groups, body, strict=True):
        lines += [rule, *([one_line(group.title)] if group.title else []), *map(line, rows)]
    return "\n".join([*lines, rule, *map(one_line, table.notes)]) + "\n"


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Records with the same keys as CSV, at full precision; no text runs in a spreadsheet."""
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _csv_value(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _csv_value(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(CSV_FORMULA) and text != "-" else text


def _starred(cell: Cell) -> str:
    return one_line(cell.text) + ("*" if cell.bold else "")


def one_line(text: str) -> str:
    """Text without line breaks or control characters."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    text = html.escape(one_line(text), quote=False)
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", text)


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\to$",
    "–": "--",
}


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


def join(parts: Iterable[str]) -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    items = list(parts)
    return (
        items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
    )
