"""Write a prepared dataset: in parallel, in bounded memory, resumably, and all or nothing."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from replearn.data.download import free_space
from replearn.data.journal import Journal
from replearn.data.moments import mean_and_std
from replearn.data.options import Options
from replearn.data.plan import Plan, Rows, Split
from replearn.data.prepared import (
    MANIFEST,
    FileRecord,
    Manifest,
    PreparedDataset,
    SplitCount,
    file_sha256,
    open_prepared,
)
from replearn.data.splits import subset
from replearn.data.target import Target, Written
from replearn.errors import UserError
from replearn.jsonfile import write_json
from replearn.locks import exclusive
from replearn.progress import Progress


def prepare(
    name: str, options: Options, directory: Path, *, raw: Path, cache: Path | None = None
) -> PreparedDataset:
    """Prepare a dataset, or open it if that is done already.

    The work happens in a sibling folder `<directory>.partial`. Killed at any moment, the next call
    goes on after the last finished chunk of 2,048 images and ends with the same bytes as an
    uninterrupted one.

    Args:
        name: the dataset's name in the study.
        options: one of the models in `replearn.data.SOURCES`.
        directory: where the prepared dataset is to appear, whole or not at all.
        raw: where downloads are kept.
        cache: file that remembers the hashes of local files.

    Raises:
        UserError: the data cannot be had, or something is wrong with it.
    """
    content = options.content(cache, name=name)
    digest = options.digest_of(content)
    partial = directory.with_name(directory.name + ".partial")
    try:
        with exclusive(raw / f".{name}-{digest[:12]}.lock"):
            if (ready := _ready(directory, digest)) is not None:
                return ready
            _free(directory)
            # Its name tells an interrupted attempt at the same data from one at other data.
            journal = partial / f"journal-{digest[:12]}.jsonl"
            if partial.exists() and not journal.exists():
                shutil.rmtree(partial)
            partial.mkdir(parents=True, exist_ok=True)
            try:
                manifest = _build(name, options, content, partial, journal, raw)
            finally:
                if not any(partial.iterdir()):
                    partial.rmdir()
            write_json(partial / MANIFEST, manifest.model_dump(mode="json"))
            journal.unlink()
            if directory.exists():
                shutil.rmtree(directory)
            partial.replace(directory)
    except OSError as error:
        place = error.filename or directory
        reason = error.strerror or str(error)
        raise UserError(f"cannot prepare the dataset ({reason})", where=str(place)) from error
    return open_prepared(directory)


def _ready(directory: Path, digest: str) -> PreparedDataset | None:
    """What lies at `directory`, if it is whole and the data wanted."""
    try:
        found = open_prepared(directory)
    except UserError:
        return None
    return found if found.manifest.digest == digest else None


def _free(directory: Path) -> None:
    """Make sure that `directory` may be replaced: absent, or holding nothing but our own files."""
    if not directory.exists():
        return
    for file in directory.iterdir():
        if not file.name.startswith((".", "index.", MANIFEST)) and not file.name.endswith(
            (".npy", ".captions.json")
        ):
            raise UserError(
                f"the folder is not a prepared dataset: it holds '{file.name}'",
                where=str(directory),
                hint="Move it away or choose another results folder.",
            )


def _build(
    name: str, options: Options, content: str, partial: Path, record: Path, raw: Path
) -> Manifest:
    plan = options.plan(name, raw, content)
    journal = Journal(record)
    splits = [_limited(split, plan, options, content, name) for split in plan.splits]
    # Better to know before hours of work than after them.
    needed = sum(split.count for split in splits) * math.prod(plan.shape)
    present = sum(file.stat().st_blocks * 512 for file in partial.glob("*.images.npy"))
    free_space(partial, needed - present, f"datasets.{name}")
    train = next(split for split in splits if split.name == "train")
    held_out, kept = _validation(train, options, content, name)
    _save(partial / "index.train.npy", kept)
    _save(partial / "index.validation.npy", held_out)
    written = _write(splits, kept, plan.shape, partial, journal, f"prepare {name}")
    pixels = len(kept) * plan.shape[1] * plan.shape[2]
    mean, std = mean_and_std(written["train"].sums, pixels)
    conversions: Counter[str] = Counter()
    for each in written.values():
        conversions += each.conversions
    files = {f"{split}.images.npy": each.record for split, each in written.items()}
    counts = {split.name: _count(split, len(plan.classes)) for split in splits}
    counts["validation"] = _count(_rows(train, held_out), len(plan.classes))
    return Manifest(
        name=name,
        source=str(options.model_dump()["source"]),
        digest=options.digest_of(content),
        licence=plan.licence,
        citation=plan.citation,
        classes=tuple(plan.classes),
        channels=plan.shape[0],
        height=plan.shape[1],
        width=plan.shape[2],
        splits=counts,
        files=files
        | {
            file.name: FileRecord(sha256=file_sha256(file), bytes=file.stat().st_size)
            for file in sorted(partial.iterdir())
            if file not in (record, partial / MANIFEST)
            and file.name not in files
            and not file.name.startswith(".")  # left by a process that was killed in writing it
        },
        mean=mean,
        std=std,
        captions=options.captions,
        templates=options.prompt_templates,
        conversions=(*plan.conversions, *_stated(conversions)),
        validation=options.validation,
    )


def _write(
    splits: Sequence[Split],
    kept: Rows,
    shape: tuple[int, int, int],
    partial: Path,
    journal: Journal,
    label: str,
) -> dict[str, Written]:
    """Write the arrays of every split; the sums of "train" are over the rows kept to train."""
    for split in splits:
        if split.labels is not None:
            _save(partial / f"{split.name}.labels.npy", split.labels)
        if split.captions is not None:
            write_json(partial / f"{split.name}.captions.json", list(split.captions))
    targets = [Target(split, shape, partial, journal) for split in splits]
    total = sum(split.count for split in splits)
    nothing = np.empty(0, dtype=np.int64)
    with Progress(total, label, done=sum(target.claimed for target in targets)) as progress:
        return {
            target.split.name: target.write(
                kept if target.split.name == "train" else nothing, progress
            )
            for target in targets
        }


def _rows(split: Split, rows: Rows) -> Split:
    """The split reduced to some of its rows."""
    return replace(
        split,
        count=len(rows),
        read=lambda wanted: split.read(rows[wanted]),
        labels=None if split.labels is None else split.labels[rows],
        captions=None if split.captions is None else [split.captions[row] for row in rows],
        groups=None if split.groups is None else split.groups[rows],
    )


def _limited(split: Split, plan: Plan, options: Options, content: str, name: str) -> Split:
    """The train split under `limit`; other splits as they are."""
    if split.name != "train" or options.limit is None or options.limit >= split.count:
        return split
    least = 2 * max(1, len(plan.classes))
    if options.limit < least:
        raise UserError(
            f"a limit of {options.limit} leaves too few images to train and validate on",
            where=f"datasets.{name}.limit",
            hint=f"It takes {least} at least: two for each class.",
        )
    rows = subset(split.labels, options.limit, content, "limit", count=split.count)
    return _rows(split, rows)


def _validation(train: Split, options: Options, content: str, name: str) -> tuple[Rows, Rows]:
    """Rows of the train split held out for validation, and the rest."""
    held_out = subset(
        train.labels,
        max(1, round(options.validation * train.count)),
        content,
        "validation",
        count=train.count,
        groups=train.groups,
        leave=1,
    )
    kept = np.setdiff1d(np.arange(train.count, dtype=np.int64), held_out)
    if not len(held_out) or not len(kept):
        raise UserError(
            f"{train.count} training images are too few to hold some out for validation",
            where=f"datasets.{name}",
        )
    return held_out, kept


def _count(split: Split, classes: int) -> SplitCount:
    if split.labels is None:
        return SplitCount(count=split.count)
    counts = np.bincount(split.labels, minlength=classes)
    return SplitCount(count=split.count, class_counts=tuple(counts.tolist()))


def _stated(conversions: Counter[str]) -> Sequence[str]:
    return [
        f"{count:,} {'image' if count == 1 else 'images'} {phrase}"
        for phrase, count in sorted(conversions.items())
    ]


def _save(path: Path, array: NDArray[np.int64]) -> None:
    np.save(path, array, allow_pickle=False)
