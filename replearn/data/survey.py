"""Image files as rows: look at all of them first, read them in chunks later."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from replearn.data.images import Header, Opener, collect_errors, decode, read_header
from replearn.data.plan import Images, Read, Rows
from replearn.errors import UserError
from replearn.parallel import THREADS, in_order
from replearn.progress import Progress

BATCH = 256
"""Images that a thread looks at in one go."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image file, wherever it lies.

    Args:
        name: what messages call it, and what tells it from others.
        open: opens it for reading.
    """

    name: str
    open: Opener


def on_disk(file: str | Path) -> Picture:
    """A picture that is a file of its own."""
    name = str(file)
    return Picture(name, partial(open, name, "rb"))  # type: ignore[arg-type]


def survey(label: str, pictures: Sequence[Picture]) -> set[Header]:
    """What the headers of all images say, each kind once.

    An image that occurs several times in a row is looked at once.

    Raises:
        UserError: some cannot be used; the first few are named and all are counted.
    """
    from PIL import Image

    headers: set[Header] = set()
    problems: list[UserError] = []
    several = [
        picture
        for picture, before in zip(pictures, [None, *pictures], strict=False)
        if before is None or picture.name != before.name
    ]
    batches = [several[start : start + BATCH] for start in range(0, len(several), BATCH)]
    with warnings.catch_warnings(), Progress(len(several), f"survey {label}") as progress:
        # The check of the size says it with the file's name. (Filters are the whole process's.)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for batch, (found, bad) in zip(
            batches, in_order(_look, batches, threads=THREADS, ahead=2 * THREADS), strict=True
        ):
            headers |= found
            problems += bad
            progress.advance(len(batch))
    _raise(problems)
    return headers


def _look(pictures: Sequence[Picture]) -> tuple[set[Header], list[UserError]]:
    headers, problems = set(), []
    for picture in pictures:
        try:
            headers.add(read_header(picture.open, picture.name))
        except UserError as problem:
            problems.append(problem)
    return headers, problems


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
