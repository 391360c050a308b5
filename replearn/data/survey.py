"""Image files as rows: look at all of them first, read them in chunks later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replearn.data.images import Header, Opener, collect_errors, decode, read_header
from replearn.data.plan import Images, Read, Rows
from replearn.errors import UserError
from replearn.progress import Progress


@dataclass(frozen=True, slots=True)
class Picture:
    """One image file, wherever it lies.

    Args:
        name: what messages call it, and what tells it from others.
        open: opens it for reading.
    """

    name: str
    open: Opener


def on_disk(file: Path) -> Picture:
    """A picture that is a file of its own."""
    return Picture(str(file), lambda: file.open("rb"))


def survey(label: str, pictures: Sequence[Picture]) -> list[Header]:
    """The headers of all images; an image that occurs several times in a row is looked at once.

    Raises:
        UserError: some cannot be used; the first few are named and all are counted.
    """
    headers: list[Header] = []
    problems: list[UserError] = []
    previous: str | None = None
    with Progress(len(pictures), f"survey {label}") as progress:
        for picture in pictures:
            progress.advance()
            if picture.name == previous:
                continue
            previous = picture.name
            try:
                headers.append(read_header(picture.open, picture.name))
            except UserError as problem:
                problems.append(problem)
    _raise(problems)
    return headers


def reader(pictures: Sequence[Picture], shape: tuple[int, int, int]) -> Read:
    """Reads rows of `pictures` as [k, c, h, w]; a repeated neighbour is decoded once."""

    def read(rows: Rows) -> tuple[Images, Counter[str]]:
        batch = np.empty((len(rows), *shape), dtype=np.uint8)
        conversions: Counter[str] = Counter()
        done: Counter[str] = Counter()
        problems: list[UserError] = []
        previous: str | None = None
        for position, row in enumerate(rows.tolist()):
            picture = pictures[row]
            if picture.name == previous:
                batch[position] = batch[position - 1]
            else:
                previous, done = picture.name, Counter()
                try:
                    batch[position], done = decode(picture.open, picture.name, shape)
                except UserError as problem:
                    problems.append(problem)
            conversions += done
        _raise(problems)
        return batch, conversions

    return read


def _raise(problems: Sequence[UserError]) -> None:
    error = collect_errors(problems)
    if error is not None:
        raise error
