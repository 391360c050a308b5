"""What all benchmarks share: their options, the table, the JSON file and the plot."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks import machine
from benchmarks.pairs import Ratio
from replearn.errors import UserError
from replearn.jsonfile import write_json
from replearn.progress import Progress

RESULTS = Path("results") / "benchmarks"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

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

    @property
    def verdict(self) -> str:
        """What the ratio says of the target; "open" while its interval or range has the target inside."""
        if self.target is None or self.ratio is None:
            return ""
        if self.ratio.low >= self.target:
            return "reached"
        return "missed" if self.ratio.high < self.target else "open"


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
            target = "" if row.target is None else f"≥ {row.target:g} {row.verdict}"
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


def options(
    description: str, *, device: bool = True, threads: bool = True
) -> argparse.ArgumentParser:
    """The options that benchmarks share; add its own and parse.

    Args:
        description: what `--help` begins with.
        device: offer `--device`; without, the benchmark is one of the CPU.
        threads: offer `--threads`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.set_defaults(device="cpu", threads=None)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, a minute or two: does it run?"
    )
    if device:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        parser.add_argument("--device", choices=["cpu", "cuda"], default=default)
    if threads:
        parser.add_argument(
            "--threads", type=positive, help="CPU threads; torch's own choice if absent"
        )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help=f"folder, {RESULTS}/ if absent"
    )
    return parser


def positive(text: str) -> int:
    """An option's whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def not_negative(text: str) -> int:
    """An option's whole number, 0 among them."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number, 0 or more")
    return int(text)


def positive_seconds(text: str) -> float:
    """An option's seconds, more than none."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return float(text)


def run(
    name: str,
    chosen: argparse.Namespace,
    measure: Callable[[argparse.Namespace], Iterable[Table]],
    *,
    peers: Sequence[str] = (),
) -> None:
    """A benchmark's main: measure and publish; what ends it early leaves the rows that are finished.

    The exit status is 130 after an interrupt, and 1 after a mistake.

    Args:
        name: of the files.
        chosen: what `options` parsed.
        measure: yields each table before it appends the rows, so that an interrupt loses none of them.
        peers: packages measured beside replearn, for their versions.
    """
    begun: list[Table] = []
    ended: BaseException | None = None
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    try:
        if chosen.device == "cuda" and not torch.cuda.is_available():
            raise UserError("torch finds no CUDA device here", where="--device cuda")
        # Before the measurement, which keeps cores busy itself.
        found = machine.facts(chosen.device, peers)
        try:
            begun.extend(measure(chosen))
        except (KeyboardInterrupt, SystemExit, UserError) as early:
            # A training that is interrupted exits; whatever else exits has something else to say.
            if isinstance(early, SystemExit) and early.code != INTERRUPTED:
                raise
            ended = early
        rows = any(table.rows for table in begun)
        if ended is not None:
            how = "Ended by a mistake" if isinstance(ended, UserError) else "Interrupted"
            print(f"{how}: the rows that were finished." if rows else f"{how}: nothing is written.")
        if rows:
            publish(name, begun, found, chosen.output, quick=chosen.quick, complete=ended is None)
    except UserError as error:
        ended = error
    except KeyboardInterrupt as early:  # before the first case, or while the files are written
        ended = early
    if ended is not None:
        sys.exit(f"error: {ended}" if isinstance(ended, UserError) else INTERRUPTED)


def one_by_one(cases: Sequence[Case], label: str) -> Iterator[Case]:
    """The cases in turn; standard error tells how many are done and how long the rest will take."""
    with Progress(len(cases), label, "cases") as progress:
        # Each case is told of at once, on a terminal too, and that none is done yet.
        progress.interval = 0
        progress.advance(0)
        for case in cases:
            yield case
            progress.advance()


def publish(
    name: str,
    tables: Sequence[Table],
    found: dict[str, Any],
    output: Path,
    *,
    quick: bool = False,
    complete: bool = True,
) -> None:
    """Print the tables that have rows; write them as `<output>/<name>-<UTC time>.json` and as a plot beside.

    Args:
        name: of the benchmark.
        tables: what was measured.
        found: the machine's facts, with the time.
        output: folder for the files.
        quick: the sizes were small.
        complete: nothing is missing.
    """
    filled = [table for table in tables if table.rows]
    for table in filled:
        print(table.text(), end="\n\n")
    print(machine.sentence(found))
    if machine.busy(found):
        others = f"{found['busy_cores']:.1f} of {found['cores']} cores by other work"
        print(f"Warning: the machine was busy ({others}): timings may mislead.")
    if quick:
        print("--quick: the figures show that it runs, no more.")
    content = {
        "schema": 3,
        "name": name,
        "quick": quick,
        "complete": complete,
        "machine": found,
        "tables": [asdict(table) for table in filled],
    }
    place = output / f"{name}-{datetime.fromisoformat(found['date']):%Y%m%dT%H%M%S}"
    write_json(place.with_suffix(".json"), content)
    plot(filled, place.with_suffix(".svg"), machine.sentence(found))
    print(f"{place}.json, {place}.svg")


def plot(tables: Sequence[Table], path: Path, caption: str) -> None:
    """One panel per table (of a row at least): a bar per contestant and case, with the number at its end."""
    from matplotlib.figure import Figure

    bars = [sum(len(row.values) + 1 for row in table.rows) for table in tables]
    figure = Figure(figsize=(9, 1 + 0.24 * sum(bars) + 0.8 * len(bars)), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=bars)[:, 0]
    names = list(dict.fromkeys(n for table in tables for row in table.rows for n in row.values))
    for table, panel in zip(tables, panels, strict=True):
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
