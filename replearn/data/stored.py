"""Images on disk as rows that are read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from replearn.data.plan import Images, Rows
from replearn.errors import UserError, machine_fault

AT_ONCE = 1024
"""Most buffers that one call of the system may fill (IOV_MAX on Linux)."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One `.npy` file of images: where its pixels begin, and its shape (n, c, h, w)."""

    path: Path
    offset: int
    shape: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class StoredImages:
    """8-bit images in files, chosen and ordered by row; nothing is read before `read`.

    Reading is by plain system calls and not through a memory map: a file that was cut short is then an
    error with its name, where a map would end the process, and what the system keeps of the file in
    memory does not count as the process's own.

    Args:
        files: of one image shape.
        index: int64 [n], each image's row, counted on through the files.
    """

    files: tuple[ImageFile, ...]
    index: Rows

    @classmethod
    def open(cls, path: Path) -> StoredImages:
        """All images of a `.npy` file of uint8 [n, c, h, w]."""
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        count = len(array)
        file = ImageFile(path, array.offset, (count, *array.shape[1:]))
        return cls((file,), np.arange(count, dtype=np.int64))

    @classmethod
    def joined(cls, parts: Sequence[StoredImages]) -> StoredImages:
        """The images of several, one after the other."""
        starts = np.cumsum([0, *(sum(file.shape[0] for file in part.files) for part in parts)])
        return cls(
            tuple(file for part in parts for file in part.files),
            np.concatenate(
                [part.index + start for part, start in zip(parts, starts, strict=False)]
            ),
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, c, h, w)."""
        return (len(self.index), *self.files[0].shape[1:])

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        _, channels, height, width = self.files[0].shape
        return channels * height * width

    @property
    def nbytes(self) -> int:
        """Bytes of all images together, once they are read."""
        return len(self.index) * self.image_bytes

    def __getitem__(self, row: int) -> Images:
        """One image, uint8 [c, h, w]."""
        image: Images = self.read(np.array([row]))[0]
        return image

    def take(self, rows: Rows) -> StoredImages:
        """The images at positions `rows` int64 [m], in that order; still nothing is read."""
        return StoredImages(self.files, self.index[rows])

    def read(self, rows: Rows | slice = slice(None), out: Images | None = None) -> Images:
        """The images at some positions, in that order; may be called from several threads at once.

        Args:
            rows: int64 [m] or a slice; all images if absent.
            out: uint8 [m, c, h, w], contiguous, to read into; new memory if absent.

        Returns:
            uint8 [m, c, h, w].

        Raises:
            UserError: a file cannot be read, or has been cut short.
        """
        wanted = self.index[rows]
        if out is None:
            out = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        first = 0
        for file in self.files:
            begin, end = np.searchsorted(ascending, [first, first + file.shape[0]])
            if begin < end:
                _read_file(file, ascending[begin:end] - first, out, order[begin:end])
            first += file.shape[0]
        return out

    def chunks(self, size: int) -> Iterator[Images]:
        """All images in order, uint8 [≤ size, c, h, w] at a time."""
        for start in range(0, len(self.index), size):
            yield self.read(slice(start, start + size))


def _read_file(file: ImageFile, rows: Rows, out: Images, places: NDArray[np.intp]) -> None:
    """Read ascending `rows` [m] of a file into `out[places]`, neighbours in one go."""
    size = out[0].nbytes
    memory = out.reshape(-1).data
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *cuts.tolist(), len(rows)]
    targets = [memory[place * size : (place + 1) * size] for place in places.tolist()]
    try:
        with file.path.open("rb", buffering=0) as stream:
            for begin, end in pairwise(bounds):
                for start in range(begin, end, AT_ONCE):
                    row = int(rows[start])
                    _fill(
                        stream.fileno(),
                        targets[start : min(start + AT_ONCE, end)],
                        file.offset + row * size,
                    )
    except OSError as error:
        raise machine_fault(error, "cannot read the images", file.path) from error
    except EOFError:
        raise UserError(
            "the file of images has been cut short",
            where=str(file.path),
            hint=f"Delete {file.path.parent} and prepare the dataset again.",
        ) from None


def _fill(descriptor: int, targets: list[memoryview], offset: int) -> None:
    """Fill the targets, one after the other, from the bytes that begin at `offset`."""
    if os.preadv(descriptor, targets, offset) == sum(map(len, targets)):
        return
    # The system may hand out less than was asked for, so that the rest takes more calls.
    for target in targets:
        while target:
            count = os.preadv(descriptor, [target], offset)
            if not count:
                raise EOFError
            target = target[count:]
            offset += count
