"""What all benchmarks share: their options, the table, the JSON file and the plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks import machine
from benchmarks.pairs import Ratio
from replearn.errors import UserError
from replearn.jsonfile import write_json
from replearn.progress import Progress

RESULTS = Path("results") / "benchmarks"

Case = TypeVar("Case")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what each contestant did in one case.

    Attributes:
        case: what was measured.
        values: number by contestant, all in `unit`.
        unit: "views/s", "s", ...
        ratio: of the first contestant to the last, or whatever `case` says.
        target: what the ratio should reach; None for a row without one.
        note: what a reader must know to judge the line.
    """

    case: str
    values: dict[str, float]
    unit: str
    ratio: Ratio | None = None
    target: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under one title, and notes that hold for all of them."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The table in aligned columns."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.values))
        lines = [["", *names, "", "ratio", "target"]]
        for row in self.rows:
            figures = [_figure(row.values[name]) if name in row.values else "" for name in names]
            target = "" if row.target is None else f"≥ {row.target:g}"
            if row.target is not None and row.ratio is not None:
                target += " reached" if row.ratio.median >= row.target else " missed"
            lines.append([row.case, *figures, row.unit, str(row.ratio or ""), target])
        # Without a column that no row fills.
        columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
        widths = [max(map(len, column)) for column in columns]
        aligned = [
            "  ".join(
                cell.rjust(width) if 0 < place <= len(names) else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in zip(*columns, strict=True)
        ]
        notes = [f"{row.case}: {row.note}" for row in self.rows if row.note]
        return "\n".join([self.title, *aligned, *(f"  {note}" for note in [*self.notes, *notes])])


def options(description: str) -> argparse.ArgumentParser:
    """The options every benchmark has; add its own and parse."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds: does it run?")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--threads", type=int, help="CPU threads; all cores if absent")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help=f"folder, {RESULTS}/ if absent"
    )
    return parser


def run(
    name: str,
    chosen: argparse.Namespace,
    measure: Callable[[argparse.Namespace], Sequence[Table]],
    *,
    peers: Sequence[str] = (),
) -> None:
    """A benchmark's main: measure, print the tables, write `<output>/<name>.json` and `.svg`.

    Args:
        name: of the files.
        chosen: what `options` parsed.
        measure: makes the tables.
        peers: packages measured beside replearn, for their versions.
    """
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    try:
        if chosen.device == "cuda" and not torch.cuda.is_available():
            raise UserError("torch finds no CUDA device here", where="--device cuda")
        # Before the measurement, which is itself a load.
        found = machine.facts(chosen.device, peers)
        publish(name, measure(chosen), found, chosen.output, quick=chosen.quick)
    except UserError as error:
        sys.exit(f"error: {error}")


def one_by_one(cases: Sequence[Case], label: str) -> Iterator[Case]:
    """The cases in turn; standard error tells how many are done and how long the rest will take."""
    with Progress(len(cases), label, "cases", interval=0) as progress:
        for case in cases:
            yield case
            progress.advance()


def publish(
    name: str,
    tables: Sequence[Table],
    found: dict[str, object],
    output: Path,
    *,
    quick: bool = False,
) -> None:
    """Print the tables and write them with the machine's facts as JSON and as a plot."""
    for table in tables:
        print(table.text(), end="\n\n")
    print(machine.sentence(found))
    if quick:
        print("--quick: the figures show that it runs, no more.")
    content = {"schema": 1, "name": name, "quick": quick, "machine": found}
    write_json(output / f"{name}.json", {**content, "tables": [asdict(table) for table in tables]})
    plot(tables, output / f"{name}.svg", machine.sentence(found))
    print(f"{output / name}.json, {output / name}.svg")


def plot(tables: Sequence[Table], path: Path, caption: str) -> None:
    """One panel per table: a bar per contestant and case, with the number at its end."""
    from matplotlib.figure import Figure

    shown = [table for table in tables if table.rows]
    bars = [sum(len(row.values) + 1 for row in table.rows) for table in shown]
    figure = Figure(figsize=(9, 1 + 0.24 * sum(bars) + 0.8 * len(bars)), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=bars)[:, 0]
    names = list(dict.fromkeys(n for table in shown for row in table.rows for n in row.values))
    for table, panel in zip(shown, panels, strict=True):
        places, labels, place = [], [], 0
        for row in table.rows:
            labels.append(f"{row.case}, {row.unit}")
            places.append(place + (len(row.values) - 1) / 2)
            for name, value in row.values.items():
                drawn = panel.barh(place, value, color=f"C{names.index(name)}", label=name)
                text = _figure(value)
                if row.ratio and name == next(iter(row.values)):
                    text += f"   ratio {row.ratio}"
                panel.bar_label(drawn, [text], padding=3, fontsize=8)
                place += 1
            place += 1
        panel.set_title(table.title, loc="left", fontsize=10)
        panel.set_yticks(places, labels, fontsize=8)
        panel.invert_yaxis()
        panel.margins(x=0.35)
        panel.spines[["top", "right"]].set_visible(False)
        keyed = dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
        if len(keyed) > 1:
            panel.legend(keyed.values(), keyed.keys(), fontsize=8, frameon=False, loc="lower right")
    figure.supxlabel(caption, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
