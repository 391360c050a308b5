"""Image-text pairs from a table: open_clip's `filepath`/`title`, Flickr8k's `image,caption`, …"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from replearn.data.localfiles import content_hash, existing
from replearn.data.paired import Pair, PairedOptions, paired_plan
from replearn.data.plan import Plan
from replearn.data.survey import on_disk
from replearn.errors import UserError, nearest

SEPARATORS = ("\t", ",", ";", "|")
IMAGE_COLUMNS = (
    *("filepath", "image", "image_path", "file", "filename", "file_name"),
    *("image_name", "path", "img"),
)
CAPTION_COLUMNS = ("title", "caption", "text", "captions", "comment", "sentence", "description")


class PairsOptions(PairedOptions):
    """Image-text pairs listed in a CSV or TSV file with a header line.

    Columns and separator are recognised from the header unless they are given.
    """

    where: ClassVar[frozenset[str]] = frozenset({"path", "images"})

    source: Literal["pairs"] = "pairs"
    images: str | None = None
    """The folder to which image paths are relative; the table's own if absent."""
    image_column: str | None = None
    separator: str | None = None

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        table = self._table(name)
        pairs = self._pairs(table, name)
        root = str(self._root(table, name))
        names = {pair.picture.name for pair in pairs}
        missing = sorted(file for file in names if not Path(file).is_file())
        if missing:
            more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
            raise UserError(
                f"{len(missing):,} of {len(names):,} images do not exist: "
                f"{', '.join(missing[:5])}{more}",
                where=str(table),
                hint=f"Paths are taken relative to {root}; set 'images' to another folder.",
            )
        files = [(file.removeprefix(root), Path(file)) for file in names]
        return content_hash([("", table), *files], cache)

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        table = self._table(name)
        return paired_plan(name, self, self._pairs(table, name), content, str(table))

    def _table(self, name: str | None) -> Path:
        where = f"datasets.{name}.path" if name else "path"
        table = existing(self.path, where)
        if not table.is_file():
            raise UserError(
                f"'{table}' is a folder, not a table of pairs",
                where=where,
                hint="For images by class use 'source: folder'.",
            )
        return table

    def _root(self, table: Path, name: str | None) -> Path:
        if self.images is None:
            return table.parent
        return existing(self.images, f"datasets.{name}.images" if name else "images")

    def _pairs(self, table: Path, name: str | None) -> list[Pair]:
        root = self._root(table, name)
        header, rows = _read(table, self.separator)
        where = str(table)
        image = _column(header, self.image_column, IMAGE_COLUMNS, "image_column", where)
        caption = _column(header, self.caption_column, CAPTION_COLUMNS, "caption_column", where)
        label = (
            None
            if self.label_column is None
            else _column(header, self.label_column, (), "label_column", where)
        )
        pairs = []
        for line, row in rows:
            if not row[image].strip():
                raise UserError(f"line {line:,} names no image", where=where)
            file = root / row[image].strip()
            pairs.append(
                Pair(
                    on_disk(file),
                    row[caption].strip(),
                    None if label is None else row[label].strip(),
                    f"line {line:,} ({row[image].strip()})",
                )
            )
        return pairs


def _read(table: Path, separator: str | None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with the number of its last line."""
    where = str(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            if not first.strip():
                raise UserError("the table is empty", where=where)
            separator = separator if separator is not None else _separator(first)
            header = [cell.strip() for cell in next(csv.reader([first], delimiter=separator))]
            lines = csv.reader(stream, delimiter=separator)
            rows = [(lines.line_num + 1, row) for row in lines if row]
    except UnicodeDecodeError as error:
        raise UserError(f"the table is not UTF-8 ({error.reason})", where=where) from None
    except (csv.Error, TypeError) as error:
        raise UserError(f"not a table ({error})", where=where) from None
    if not rows:
        raise UserError("the table has a header but no rows", where=where)
    odd = [line for line, row in rows if len(row) != len(header)]
    if odd:
        raise UserError(
            f"{len(odd):,} rows have not the header's {len(header)} columns, "
            f"such as line {', '.join(map(str, odd[:5]))}",
            where=where,
            hint=f"The separator is {separator!r}; texts that contain it need quotes.",
        )
    return header, rows


def _separator(header: str) -> str:
    """The separator that yields the most known column names; among equals the most columns."""

    def score(separator: str) -> tuple[int, int]:
        cells = [cell.strip().lower() for cell in next(csv.reader([header], delimiter=separator))]
        return sum(cell in (*IMAGE_COLUMNS, *CAPTION_COLUMNS) for cell in cells), len(cells)

    return max(SEPARATORS, key=score)


def _column(
    header: Sequence[str], wanted: str | None, known: Sequence[str], key: str, where: str
) -> int:
    """The column called `wanted`, or the first of the known names that the header has."""
    if wanted is not None:
        if wanted not in header:
            raise UserError(
                f"no column '{wanted}' ({key})", where=where, hint=nearest(wanted, header)
            )
        return header.index(wanted)
    lower = [cell.lower() for cell in header]
    for name in known:
        if name in lower:
            return lower.index(name)
    raise UserError(
        f"cannot tell the {key} among {', '.join(repr(cell) for cell in header)}",
        where=where,
        hint=f"Set {key}; names known without it: {', '.join(known)}.",
    )
