"""Images on disk, read when asked for: a dataset may be larger than the memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replearn.data.plan import Images, Rows


class StoredImages:
    """Rows of memory-mapped arrays, as one array uint8 [n, c, h, w] that reads what it is asked for.

    Args:
        arrays: uint8 [m, c, h, w] each, of one image shape.
        index: int64 [n], rows of the arrays laid end to end; all if absent.
    """

    def __init__(self, *arrays: Images, index: Rows | None = None) -> None:
        self._arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])
        self._index = np.arange(self._ends[-1], dtype=np.int64) if index is None else index
        self.shape: tuple[int, int, int, int] = (len(self._index), *arrays[0].shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        """Bytes of all its images in memory."""
        return math.prod(self.shape)

    @property
    def place(self) -> str:
        """The file that holds the images, for messages."""
        return str(getattr(self._arrays[0], "filename", "memory"))

    def __getitem__(self, key: int | slice | Rows) -> Images:
        """One image [c, h, w], or those of a slice or of positions int64 [k], [k, c, h, w], in memory."""
        positions = np.arange(len(self))[key]
        if positions.ndim:
            return self.read(positions)
        image: Images = self.read(positions[None])[0]
        return image

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def read(self, positions: Rows, out: Images | None = None) -> Images:
        """The images at `positions` int64 [k], in that order: uint8 [k, c, h, w].

        Args:
            positions: which.
            out: where to, [k, c, h, w]; a new array if absent.
        """
        if out is None:
            out = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        rows = self._index[positions]
        # From the beginning of the file to its end, whatever order is wanted.
        forward = np.argsort(rows, kind="stable")
        starts = [0, *self._ends[:-1]]
        cuts = np.searchsorted(rows[forward], [*starts, self._ends[-1]])
        for array, start, first, last in zip(self._arrays, starts, cuts, cuts[1:], strict=False):
            wanted = forward[first:last]
            out[wanted] = array[rows[wanted] - start]
        return out

    def take(self, rows: Rows) -> StoredImages:
        """The images at positions `rows` int64 [k], still unread."""
        return StoredImages(*self._arrays, index=self._index[rows])

    def followed_by(self, other: StoredImages) -> StoredImages:
        """These images and then those of `other`, still unread."""
        index = np.concatenate([self._index, other._index + self._ends[-1]])
        return StoredImages(*self._arrays, *other._arrays, index=index)
