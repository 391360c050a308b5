"""What image-text datasets share, whether their pairs come from a table or from tar shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from replearn.data.images import SHOWN, common_shape
from replearn.data.options import Captions, Options
from replearn.data.plan import Plan, Rows, Split
from replearn.data.splits import subset
from replearn.data.survey import Picture, reader, survey
from replearn.errors import UserError

LEAST = 4
"""Images that it takes to have some to train, to validate and to test."""


class PairedOptions(Options):
    """Options of every source of image-text pairs."""

    path: str
    caption_column: str | None = None
    label_column: str | None = None
    """Where class names (or numbers) are; without it the images have no classes."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images that becomes the test split."""
    channels: Literal[1, 3] | None = None
    """Channels of the prepared images; if absent, 1 if every image is greyscale and 3 otherwise."""

    @model_validator(mode="after")
    def _templates_need_classes(self) -> PairedOptions:
        if self.templates is not None and self.label_column is None:
            raise ValueError("templates are for class names: set label_column too")
        return self

    @property
    def has_labels(self) -> bool:
        return self.label_column is not None

    @property
    def captions(self) -> Captions:
        return "paired"


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: an image, its text, and its class if there are classes.

    `place` is how a message names the row.
    """

    picture: Picture
    caption: str | None
    label: str | None
    place: str


def paired_plan(
    name: str, options: PairedOptions, pairs: Sequence[Pair], content: str, where: str
) -> Plan:
    """The plan of a list of pairs.

    All pairs of one image stay on one side of every split. The test split has each image once, with
    its first caption, so that retrieval has one right answer.

    Raises:
        UserError: missing captions or labels, contradictory labels, too few images.
    """
    kept, notes = _without_repeats(pairs)
    _complain(where, "without a caption", [p.place for p in kept if p.caption == ""])
    _complain(where, "without a label", [p.place for p in kept if p.label == ""])
    identity: dict[str, int] = {}
    groups = np.array([identity.setdefault(p.picture.name, len(identity)) for p in kept])
    groups = groups.astype(np.int64)
    if len(identity) < LEAST:
        raise UserError(f"{len(identity)} images are too few, at least {LEAST}", where=where)
    classes, labels = _classes(kept, where) if options.has_labels else ([], None)
    test, train = _split(labels, groups, options.test_fraction, content)
    # The first row of each test image.
    _, first = np.unique(groups[test], return_index=True)
    if len(first) < len(test):
        notes.append(
            f"left out {len(test) - len(first):,} captions of test images beyond the first"
        )
    test = test[np.sort(first)]
    shape, shape_notes = common_shape(
        survey(name, [pair.picture for pair in kept]), options.size, options.channels
    )

    def split(part: str, rows: Rows) -> Split:
        chosen = [kept[row] for row in rows.tolist()]
        texts = [pair.caption for pair in chosen if pair.caption is not None]
        return Split(
            part,
            len(chosen),
            reader([pair.picture for pair in chosen], shape),
            labels=None if labels is None else labels[rows],
            captions=texts if options.captions == "paired" else None,
            groups=groups[rows],
        )

    return Plan(
        classes=classes,
        shape=shape,
        splits=[split("train", train), split("test", test)],
        licence="not stated",
        citation="",
        conversions=[*notes, *shape_notes],
    )


def _split(labels: Rows | None, groups: Rows, fraction: float, content: str) -> tuple[Rows, Rows]:
    """Rows of the test split and of the train split."""
    rows = len(groups)
    test = subset(
        labels,
        max(1, round(fraction * rows)),
        content,
        "test",
        count=rows,
        groups=groups,
        leave=2,
    )
    return test, np.setdiff1d(np.arange(rows, dtype=np.int64), test)


def _without_repeats(pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    seen: set[tuple[str, str | None, str | None]] = set()
    kept = []
    for pair in pairs:
        key = (pair.picture.name, pair.caption, pair.label)
        if key not in seen:
            seen.add(key)
            kept.append(pair)
    repeats = len(pairs) - len(kept)
    word = "pair that repeats" if repeats == 1 else "pairs that repeat"
    return kept, [f"left out {repeats:,} {word} an earlier one"] if repeats else []


def _classes(pairs: Sequence[Pair], where: str) -> tuple[list[str], Rows]:
    """Class names in order (numbers by value), and the label of each pair."""
    of_image: dict[str, str] = {}
    contradictions = [
        f"{pair.place} ('{of_image[pair.picture.name]}' before, '{pair.label}' now)"
        for pair in pairs
        if of_image.setdefault(pair.picture.name, str(pair.label)) != pair.label
    ]
    _complain(where, "of an image listed with another label", contradictions)
    names = {str(pair.label) for pair in pairs}
    numeric = all(name.isdecimal() for name in names)
    classes = sorted(names, key=lambda name: (int(name), name) if numeric else (0, name))
    if len(classes) < 2:
        raise UserError(
            f"only one class, '{classes[0]}': there is nothing to tell apart", where=where
        )
    counts = Counter(of_image.values())
    short = [f"'{name}' ({counts[name]})" for name in classes if counts[name] < 3]
    if short:
        raise UserError(
            f"classes with fewer than 3 images: {', '.join(short[:SHOWN])}"
            + (f" and {len(short) - SHOWN:,} more" if len(short) > SHOWN else ""),
            where=where,
            hint="One image each is needed to train, to validate and to test.",
        )
    number = {name: index for index, name in enumerate(classes)}
    return classes, np.array([number[str(pair.label)] for pair in pairs], dtype=np.int64)


def _complain(where: str, what: str, places: Sequence[str]) -> None:
    if places:
        more = f" and {len(places) - SHOWN:,} more" if len(places) > SHOWN else ""
        raise UserError(
            f"{len(places):,} {'pair' if len(places) == 1 else 'pairs'} {what}: "
            f"{', '.join(places[:SHOWN])}{more}",
            where=where,
            hint="Complete them, or remove them from the data.",
        )
