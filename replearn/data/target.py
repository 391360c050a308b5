"""The images of a split on their way to disk: decoded by threads a little ahead, written in order.

A chunk is summed, checked and hashed while it is in memory, so that a large file is not read again.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from replearn.data.journal import Journal
from replearn.data.moments import image_sums
from replearn.data.plan import Images, Rows, Split
from replearn.data.prepared import FileRecord
from replearn.data.stored import StoredImages
from replearn.parallel import THREADS, in_order
from replearn.progress import Progress

CHUNK_IMAGES = 2048
CHUNK_BYTES = 2**24
"""A chunk is at most so many images and bytes; memory holds one for each thread, and one more."""


@dataclass(frozen=True, slots=True)
class Written:
    """A split's images on disk.

    Args:
        conversions: how many images underwent each conversion.
        sums: int64 [2, c], channel sums of values and of squares over the measured rows.
        record: of the file.
    """

    conversions: Counter[str]
    sums: NDArray[np.int64]
    record: FileRecord


class Target:
    """The file that a split's images go to, perhaps begun by an earlier attempt.

    Args:
        split: what to write.
        shape: (c, h, w) of an image.
        folder: where to put `<split>.images.npy`.
        journal: tells the chunks of an earlier attempt, and learns of new ones.
    """

    def __init__(
        self, split: Split, shape: tuple[int, int, int], folder: Path, journal: Journal
    ) -> None:
        self.split = split
        self.journal = journal
        self.path = folder / f"{split.name}.images.npy"
        self.image_bytes = math.prod(shape)
        self.header = _header((split.count, *shape))
        self.bytes = len(self.header) + split.count * self.image_bytes
        size = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // self.image_bytes))
        self.chunks = [slice(s, min(s + size, split.count)) for s in range(0, split.count, size)]
        if not self._begun():
            with self.path.open("wb") as file:
                file.write(self.header)
                file.truncate(self.bytes)
        self.stored = StoredImages.open(self.path)

    @property
    def claimed(self) -> int:
        """Images that the journal says are there; `write` looks whether they are."""
        return sum(
            chunk.stop - chunk.start
            for chunk in self.chunks
            if self.journal.claims(self.split.name, chunk.start)
        )

    def write(self, measured: Rows, progress: Progress) -> Written:
        """Write what is missing.

        Args:
            measured: rows int64 [m] that the sums are over.
            progress: has counted the claimed images already.
        """
        chosen = np.zeros(self.split.count, dtype=np.bool_)
        chosen[measured] = True
        conversions: Counter[str] = Counter()
        sums = np.zeros((2, self.stored.shape[1]), dtype=np.int64)
        sha256 = hashlib.sha256(self.header)

        def work(rows: slice) -> _Chunk:
            return self._chunk(rows, chosen[rows])

        # Few enough in memory at a time that it stays bounded, enough that no thread waits.
        ready = in_order(work, self.chunks, threads=THREADS, ahead=THREADS)
        with closing(ready) as chunks, self.path.open("r+b") as file:
            for rows, chunk in zip(self.chunks, chunks, strict=True):
                if chunk.found:
                    progress.checked()
                else:
                    self._record(file, rows.start, chunk, progress)
                sha256.update(chunk.images.reshape(-1).data)
                conversions += chunk.conversions
                sums += chunk.sums
            os.fsync(file.fileno())
        return Written(conversions, sums, FileRecord(sha256=sha256.hexdigest(), bytes=self.bytes))

    def _begun(self) -> bool:
        """Whether the file is there with its full length, as an earlier attempt leaves it."""
        if not self.path.is_file() or self.path.stat().st_size != self.bytes:
            return False
        with self.path.open("rb") as file:
            return file.read(len(self.header)) == self.header

    def _chunk(self, rows: slice, measured: NDArray[np.bool_]) -> _Chunk:
        """A chunk as the earlier attempt left it, or decoded; in one of several threads."""
        conversions = None
        if self.journal.claims(self.split.name, rows.start):
            images = self.stored.read(rows)
            conversions = self.journal.finished(self.split.name, rows.start, images)
        found = conversions is not None
        if conversions is None:
            numbers = np.arange(rows.start, rows.stop, dtype=np.int64)
            images, conversions = self.split.read(numbers)
        return _Chunk(images, conversions, image_sums(images)[measured].sum(axis=0), found)

    def _record(self, file: BinaryIO, start: int, chunk: _Chunk, progress: Progress) -> None:
        file.seek(len(self.header) + start * self.image_bytes)
        file.write(chunk.images.reshape(-1).data)
        file.flush()
        if self.journal.claims(self.split.name, start):
            progress.advance(-len(chunk.images))
        self.journal.record(self.split.name, start, chunk.images, chunk.conversions)
        progress.advance(len(chunk.images))


@dataclass(frozen=True, slots=True)
class _Chunk:
    images: Images
    conversions: Counter[str]
    sums: NDArray[np.int64]
    found: bool


def _header(shape: tuple[int, ...]) -> bytes:
    """What stands before the pixels of a `.npy` file."""
    stream = io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()
