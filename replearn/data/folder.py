"""Any folder of images, one subfolder for each class."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from replearn.data.images import SUFFIXES, Header, common_shape, decode, read_header
from replearn.data.localfiles import content_hash, existing
from replearn.data.options import Options
from replearn.data.plan import Images, Plan, Rows, Split
from replearn.data.splits import subset
from replearn.errors import UserError
from replearn.progress import Progress

LEAST = 3
"""Images a class needs without a test folder: one each to train, to validate and to test."""
LEAST_TRAIN = 2


class FolderOptions(Options):
    """Images by class: `<path>/<class>/…`, or `<path>/train/<class>/…` and `<path>/test/<class>/…`.

    Without a test folder a stratified share becomes the test split. Subfolders of a class belong to it.
    """

    where: ClassVar[frozenset[str]] = frozenset({"path"})

    source: Literal["folder"] = "folder"
    path: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images that becomes the test split if there is no test folder."""
    channels: Literal[1, 3] | None = None
    """Channels of the prepared images; 1 if every image is greyscale and 3 otherwise, if absent."""

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        root = existing(self.path, f"datasets.{name}.path" if name else "path")
        return content_hash(((file, root / file) for file in _walk(root).files), cache)

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        root = existing(self.path, f"datasets.{name}.path")
        found = _walk(root)
        parts, classes = _by_split(root, found.files)
        labels = {
            part: np.array([classes.index(c) for _, c in rows], dtype=np.int64)
            for part, rows in parts.items()
        }
        files = {part: [root / file for file, _ in rows] for part, rows in parts.items()}
        _check_classes(root, classes, labels)
        headers = _survey(name, [file for part in files.values() for file in part])
        shape, notes = common_shape(headers, self.size, self.channels)
        if "test" not in files:
            count = len(files["train"])
            test = subset(
                labels["train"], round(self.test_fraction * count), content, "test", leave=2
            )
            train = np.setdiff1d(np.arange(count, dtype=np.int64), test)
            everything, all_labels = files["train"], labels["train"]
            files = {
                "train": [everything[row] for row in train],
                "test": [everything[row] for row in test],
            }
            labels = {"train": all_labels[train], "test": all_labels[test]}
        return Plan(
            classes=classes,
            shape=shape,
            splits=[
                Split(part, len(files[part]), reader(files[part], shape), labels[part])
                for part in ("train", "test")
            ],
            licence="as the owner of the folder says",
            citation="",
            conversions=[*found.notes(), *notes],
        )


def reader(
    files: Sequence[Path], shape: tuple[int, int, int]
) -> partial[tuple[Images, Counter[str]]]:
    """A `Read` over image files; a file that follows itself is decoded once."""
    return partial(_read, files, shape)


def _read(
    files: Sequence[Path], shape: tuple[int, int, int], rows: Rows
) -> tuple[Images, Counter[str]]:
    batch = np.empty((len(rows), *shape), dtype=np.uint8)
    conversions: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for position, row in enumerate(rows):
        if position and files[row] == files[rows[position - 1]]:
            batch[position] = batch[position - 1]
        else:
            file = files[row]
            batch[position], done = decode(partial(file.open, "rb"), str(file), shape)
        conversions += done
    return batch, conversions


def _survey(name: str, files: Sequence[Path]) -> list[Header]:
    headers = []
    with Progress(len(files), f"survey {name}") as progress:
        for file in files:
            headers.append(read_header(partial(file.open, "rb"), str(file)))
            progress.advance()
    return headers


@dataclass
class _Found:
    files: list[str]
    hidden: int = 0
    other: Counter[str] | None = None

    def notes(self) -> list[str]:
        notes = []
        if self.hidden:
            notes.append(f"ignored {self.hidden:,} hidden {_files(self.hidden)}")
        for suffix, count in sorted((self.other or Counter()).items()):
            kind = f"'{suffix}'" if suffix else "without a suffix"
            notes.append(f"ignored {count:,} {_files(count)} that are no images ({kind})")
        return notes


def _files(count: int) -> str:
    return "file" if count == 1 else "files"


def _walk(root: Path) -> _Found:
    """Every image below `root`, as sorted paths relative to it; a folder is visited once."""
    if not root.is_dir():
        raise UserError("not a folder", where=str(root))
    found = _Found([], other=Counter())
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a link back to where we came from
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for file in sorted(names):
            relative = Path(place, file).relative_to(root).as_posix()
            suffix = Path(file).suffix.lower()
            if file.startswith(".") or file.lower() in ("thumbs.db", "desktop.ini"):
                found.hidden += 1
            elif suffix in SUFFIXES:
                found.files.append(relative)
            else:
                found.other[suffix] += 1
    found.files.sort()
    return found


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot read the folder ({error.strerror})", where=str(error.filename))


def _by_split(
    root: Path, files: Sequence[str]
) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """(file, class) by split, and the sorted class names."""
    if not files:
        raise UserError(
            "the folder holds no images",
            where=str(root),
            hint=f"Expected {root}/<class>/<image>, images being {', '.join(sorted(SUFFIXES))}.",
        )
    top = {file.split("/", 1)[0] for file in files if "/" in file}
    split = "train" in top and "test" in top and top <= {"train", "test"}
    depth = 1 if split else 0
    parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    stems: dict[str, str] = {}
    stray = []
    for file in files:
        steps = file.split("/")
        if len(steps) < depth + 2:
            stray.append(file)
            continue
        parts[steps[0] if split else "train"].append((file, steps[depth]))
        stem = file.rsplit(".", 1)[0].casefold()
        if stem in stems:
            raise UserError(
                f"two images have one name: '{stems[stem]}' and '{file}'",
                where=str(root),
                hint="Rename or remove one of them.",
            )
        stems[stem] = file
    if stray:
        raise UserError(
            f"{len(stray):,} images lie in no class folder: {', '.join(stray[:3])}"
            + (", …" if len(stray) > 3 else ""),
            where=str(root),
            hint="Move each into a subfolder named after its class.",
        )
    return dict(parts), sorted({c for rows in parts.values() for _, c in rows})


def _check_classes(root: Path, classes: Sequence[str], labels: dict[str, Rows]) -> None:
    if len(classes) < 2:
        raise UserError(
            f"only one class, '{classes[0]}': there is nothing to tell apart",
            where=str(root),
            hint=f"Expected at least two class folders in {root}.",
        )
    for part, values in labels.items():
        counts = np.bincount(values, minlength=len(classes))
        least = 1 if part == "test" else (LEAST_TRAIN if "test" in labels else LEAST)
        short = [f"'{classes[c]}' ({counts[c]})" for c in np.flatnonzero(counts < least)]
        if short:
            raise UserError(
                f"classes with fewer than {least} images"
                + (f" in {part}" if "test" in labels else "")
                + f": {', '.join(short[:5])}"
                + (f" and {len(short) - 5} more" if len(short) > 5 else ""),
                where=str(root),
                hint="Add images, or remove the class folder.",
            )
