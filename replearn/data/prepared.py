"""The one prepared format behind every source: uint8 arrays and a manifest."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from replearn.data.options import Captions
from replearn.data.stored import StoredImages
from replearn.errors import UserError
from replearn.jsonfile import read_json

MANIFEST = "manifest.json"
PartName = Literal["train", "validation", "test", "unlabelled"]


class SplitCount(BaseModel):
    """Size of one split; `class_counts` is empty without labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    class_counts: tuple[int, ...] = ()


class FileRecord(BaseModel):
    """What a prepared file must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What a prepared dataset is: everything but the pixels.

    `splits` counts whole splits as stored; "train" there includes the validation rows, whose number
    `splits["validation"]` gives. `mean` and `std` [c] are over the training rows, on a 0–1 scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    digest: str
    licence: str
    citation: str
    classes: tuple[str, ...]
    channels: int
    height: int
    width: int
    splits: dict[str, SplitCount]
    files: dict[str, FileRecord]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    captions: Captions
    templates: tuple[str, ...]
    conversions: tuple[str, ...]
    validation: float


@dataclass(frozen=True, slots=True)
class Part:
    """The images one stage works on.

    Args:
        name: which part.
        images: of shape [n, c, h, w], on disk until they are read.
        labels: int64 [n], or None without labels.
        captions: n texts, or None if captions are not paired with the images.
        index: int64 [n], each image's row in its stored split.
    """

    name: str
    images: StoredImages
    labels: NDArray[np.int64] | None
    captions: list[str] | None
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[np.int64]) -> Part:
        """The part's images at positions `rows` int64 [m], in that order."""
        return Part(
            self.name,
            self.images.take(rows),
            None if self.labels is None else self.labels[rows],
            None if self.captions is None else [self.captions[row] for row in rows],
            self.index[rows],
        )


@dataclass(frozen=True, slots=True)
class PreparedDataset:
    """A prepared dataset on disk."""

    path: Path
    manifest: Manifest

    def part(self, name: PartName) -> Part:
        """A part with its images still on disk; "train" leaves out the stored split's validation rows.

        Raises:
            ValueError: the dataset has no such part.
        """
        split = "train" if name == "validation" else name
        if split not in self.manifest.splits:
            known = ", ".join(sorted(self.manifest.splits))
            raise ValueError(f"dataset '{self.manifest.name}' has no part '{name}', only {known}")
        images = StoredImages.open(self.path / f"{split}.images.npy")
        labels = captions = None
        if f"{split}.labels.npy" in self.manifest.files:
            labels = np.load(self.path / f"{split}.labels.npy", allow_pickle=False)
        if f"{split}.captions.json" in self.manifest.files:
            captions = read_json(self.path / f"{split}.captions.json")
        whole = Part(name, images, labels, captions, images.index)
        if split != "train":
            return whole
        return whole.take(np.load(self.path / f"index.{name}.npy", allow_pickle=False))


def open_prepared(path: str | Path, *, verify: bool = False) -> PreparedDataset:
    """Open a prepared dataset by its directory or its manifest.

    Args:
        path: the directory or its `manifest.json`.
        verify: also compare every file's SHA-256 (sizes are always compared).

    Raises:
        UserError: something is missing or damaged.
    """
    path = Path(path)
    directory = path.parent if path.name == MANIFEST else path
    file = directory / MANIFEST
    hint = f"Delete {directory} and prepare the dataset again."
    try:
        manifest = Manifest.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"not a manifest of a prepared dataset ({key}: {first['msg']})",
            where=str(file),
            hint=hint,
        ) from None
    for name, record in manifest.files.items():
        target = directory / name
        if not target.is_file():
            raise UserError(
                "a file of the prepared dataset is missing", where=str(target), hint=hint
            )
        found = target.stat().st_size
        if found != record.bytes:
            raise UserError(
                f"damaged: {found:,} bytes instead of {record.bytes:,}",
                where=str(target),
                hint=hint,
            )
        if verify and file_sha256(target) != record.sha256:
            raise UserError(
                "damaged: SHA-256 differs from the manifest", where=str(target), hint=hint
            )
    return PreparedDataset(directory, manifest)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with io.FileIO(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
