"""Any folder of images, one subfolder for each class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from replearn.data.images import SHOWN, SUFFIXES, common_shape
from replearn.data.localfiles import content_hash, existing
from replearn.data.options import Options
from replearn.data.plan import Plan, Rows, Split
from replearn.data.splits import subset
from replearn.data.survey import on_disk, reader, survey
from replearn.errors import UserError

LEAST = 3
"""Images a class needs without a test folder: one each to train, to validate and to test."""
LEAST_TRAIN = 2
HELD_OUT = ("test", "val", "valid", "validation")
"""Names of a folder that may serve as the test split, the best first."""


class FolderOptions(Options):
    """Images by class: `<path>/<class>/…`, or `<path>/train/<class>/…` and `<path>/test/<class>/…`.

    Without a test (or val) folder a stratified share becomes the test split. Subfolders of a class
    belong to it.
    """

    where: ClassVar[frozenset[str]] = frozenset({"path"})

    source: Literal["folder"] = "folder"
    path: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images that becomes the test split if there is no test folder."""
    channels: Literal[1, 3] | None = None
    """Channels of the prepared images; if absent, 1 if every image is greyscale and 3 otherwise."""

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        root = existing(self.path, f"datasets.{name}.path" if name else "path")
        files = ((file, f"{root}/{file}") for file in _walk(root).files)
        return content_hash(files, cache, f"hash {name or root.name}")

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        root = existing(self.path, f"datasets.{name}.path")
        found = _walk(root)
        parts, notes = _parts(root, found)
        classes = sorted({row.label for rows in parts.values() for row in rows})
        number = {label: index for index, label in enumerate(classes)}
        labels = {
            part: np.fromiter((number[row.label] for row in rows), dtype=np.int64)
            for part, rows in parts.items()
        }
        _check_classes(root, classes, labels)
        pictures = {
            part: [on_disk(root / row.file) for row in rows] for part, rows in parts.items()
        }
        headers = survey(name, [picture for rows in pictures.values() for picture in rows])
        shape, shape_notes = common_shape(headers, self.size, self.channels)
        if "test" not in pictures:
            everything, all_labels = pictures["train"], labels["train"]
            count = len(everything)
            test = subset(all_labels, round(self.test_fraction * count), content, "test", leave=2)
            train = np.setdiff1d(np.arange(count, dtype=np.int64), test)
            for part, rows in (("train", train), ("test", test)):
                pictures[part] = [everything[row] for row in rows.tolist()]
                labels[part] = all_labels[rows]
        return Plan(
            classes=classes,
            shape=shape,
            splits=[
                Split(part, len(pictures[part]), reader(pictures[part], shape), labels[part])
                for part in ("train", "test")
            ],
            licence="not stated",
            citation="",
            conversions=[*found.notes(), *notes, *shape_notes],
        )


@dataclass(frozen=True, slots=True)
class _Row:
    file: str
    label: str


@dataclass
class _Found:
    files: list[str] = field(default_factory=list)
    hidden: int = 0
    loops: list[str] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        notes = []
        if self.hidden:
            notes.append(f"ignored {_count(self.hidden, 'hidden file')}")
        if self.loops:
            notes.append(f"ignored {_count(len(self.loops), 'link')} to an enclosing folder")
        for suffix, count in sorted(self.other.items()):
            kind = f"'{suffix}'" if suffix else "no suffix"
            notes.append(f"ignored {_count(count, 'file')} of a kind that is no image ({kind})")
        return notes


def _count(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _walk(root: Path) -> _Found:
    """Every image below `root`, paths relative to it, sorted; links are followed, loops not."""
    if not root.is_dir():
        raise UserError("not a folder", where=str(root))
    found = _Found()
    for place, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        here = Path(place)
        if here.is_symlink() and here.parent.resolve().is_relative_to(here.resolve()):
            found.loops.append(here.relative_to(root).as_posix())
            folders.clear()
            continue
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        below = "" if here == root else f"{here.relative_to(root).as_posix()}/"
        for file in names:
            stem, _, ending = file.rpartition(".")
            suffix = f".{ending.lower()}" if stem and ending else ""
            if file.startswith(".") or file.lower() in ("thumbs.db", "desktop.ini"):
                found.hidden += 1
            elif suffix in SUFFIXES:
                found.files.append(f"{below}{file}")
            else:
                found.other[suffix] += 1
    found.files.sort()
    for file in found.files:
        if not file.isascii() and os.fsencode(file).decode(errors="replace") != file:
            raise UserError(
                f"the name {os.fsencode(file)!r} is not UTF-8, so it can be neither stored nor shown",
                where=str(root),
                hint=f"Rename it; all of them: convmv -f latin1 -t utf8 -r --notest '{root}'",
            )
    if not found.files:
        raise UserError(
            "the folder holds no images",
            where=str(root),
            hint=f"Expected {root}/<class>/<image>, images being {', '.join(sorted(SUFFIXES))}.",
        )
    return found


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot read the folder ({error.strerror})", where=str(error.filename))


def _parts(root: Path, found: _Found) -> tuple[dict[str, list[_Row]], list[str]]:
    """Rows by split ("train", perhaps "test"), and what has to be said about the choice."""
    files = found.files
    top = {file.split("/", 1)[0] for file in files if "/" in file}
    split = "train" in top and top <= {"train", *HELD_OUT}
    test = next((name for name in HELD_OUT if name in top), None) if split else None
    depth = 1 if split else 0
    parts: dict[str, list[_Row]] = {"train": []}
    left_out: Counter[str] = Counter()
    stems: dict[str, str] = {}
    stray: list[str] = []
    twins: list[str] = []
    for file in files:
        steps = file.split("/")
        stem = file.rsplit(".", 1)[0].casefold()
        if stem in stems:
            twins.append(f"'{stems[stem]}' and '{file}'")
        stems[stem] = file
        if len(steps) < depth + 2:
            stray.append(f"'{file}'")
        elif not split or steps[0] == "train":
            parts["train"].append(_Row(file, steps[depth]))
        elif steps[0] == test:
            parts.setdefault("test", []).append(_Row(file, steps[depth]))
        else:
            left_out[steps[0]] += 1
    if twins:
        raise UserError(
            f"images of one name: {_some(twins)}",
            where=str(root),
            hint="Rename or remove one of each.",
        )
    if stray:
        raise UserError(
            f"{_count(len(stray), 'image')} in no class folder: {_some(stray)}",
            where=str(root),
            hint="Move each into a subfolder named after its class.",
        )
    for part in parts:
        place = root / {"train": "train", "test": test or ""}[part] if split else root
        filled = {place / row.label for row in parts[part]}
        loops = {root / loop for loop in found.loops}
        empty = [
            f"'{folder.name}'"
            for folder in sorted(place.iterdir())
            if folder.is_dir()
            and not folder.name.startswith(".")
            and folder not in filled
            and folder not in loops
        ]
        if empty:
            raise UserError(
                f"class folders without images: {_some(empty)}",
                where=str(place),
                hint="Add images or remove the folder.",
            )
    notes = [f"left out {count:,} images of '{name}'" for name, count in sorted(left_out.items())]
    if test not in (None, "test"):
        notes.append(f"the folder '{test}' serves as the test split")
    return parts, notes


def _some(items: Sequence[str]) -> str:
    """The first few items, and how many more there are."""
    more = f" and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _check_classes(root: Path, classes: Sequence[str], labels: dict[str, Rows]) -> None:
    if len(classes) < 2:
        raise UserError(
            f"only one class, '{classes[0]}': there is nothing to tell apart",
            where=str(root),
            hint=f"Expected at least two class folders in {root}.",
        )
    for part, values in labels.items():
        counts = np.bincount(values, minlength=len(classes)).tolist()
        least = 1 if part == "test" else (LEAST_TRAIN if "test" in labels else LEAST)
        short = [f"'{classes[c]}' ({n})" for c, n in enumerate(counts) if n < least]
        if short:
            raise UserError(
                f"classes with fewer than {_count(least, 'image')}"
                + (f" in the {part} split" if "test" in labels else "")
                + f": {_some(short)}",
                where=str(root),
                hint="Add images, or remove the class folder.",
            )
