"""What a source hands to the writer: how many images there are and how to read some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Rows = NDArray[np.int64]


Read = Callable[[Rows], tuple[Images, Counter[str]]]
"""Reads rows int64 [k]: images uint8 [k, c, h, w], and how many underwent each conversion.

Called from several threads at once.
"""


@dataclass(frozen=True)
class Split:
    """One split of a dataset, still unread.

    Args:
        name: "train", "test" or "unlabelled".
        count: number of images n.
        read: reads rows in 0 … n − 1.
        labels: int64 [n], if the dataset has classes.
        captions: n texts, if captions are paired with the images.
        groups: int64 [n]; rows of a group (one image with five captions) stay together.
    """

    name: str
    count: int
    read: Read
    labels: Rows | None = None
    captions: Sequence[str] | None = None
    groups: Rows | None = None


@dataclass(frozen=True)
class Plan:
    """A surveyed dataset.

    Args:
        classes: class names; empty without labels.
        shape: (channels, height, width) of every prepared image.
        splits: train and test, perhaps unlabelled.
        licence: under which terms the data may be used.
        citation: whom to cite.
        conversions: what the survey changed or left out, in words; counts of decoding come later.
    """

    classes: Sequence[str]
    shape: tuple[int, int, int]
    splits: Sequence[Split]
    licence: str
    citation: str
    conversions: Sequence[str] = field(default_factory=tuple)


def array_split(
    name: str, images: Images, labels: Rows | None, size: int | None, rows: Rows | None = None
) -> Split:
    """A split whose images are already an array (a memory map will do).

    Args:
        name: the split's name.
        images: uint8 [n, c, h, w].
        labels: int64 [n] or None.
        size: height and width to resize to, or None to keep the images as they are.
        rows: the rows of `images` that make up the split; all if absent.
    """
    chosen = np.arange(len(images), dtype=np.int64) if rows is None else rows

    def read(wanted: Rows) -> tuple[Images, Counter[str]]:
        batch = np.ascontiguousarray(images[chosen[wanted]])
        if size is None or batch.shape[2:] == (size, size):
            return batch, Counter()
        from replearn.data.images import resize_array

        phrase = f"resized from {batch.shape[2]} x {batch.shape[3]} to {size} x {size} pixels"
        return resize_array(batch, size), Counter({phrase: len(batch)})

    return Split(name, len(chosen), read, None if labels is None else labels[chosen])


def array_shape(images: Images, size: int | None) -> tuple[int, int, int]:
    """Shape (c, h, w) of images [n, c, h, w] after an optional resize to `size`."""
    channels, height, width = images.shape[1:]
    return (channels, height, width) if size is None else (channels, size, size)
