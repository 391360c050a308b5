"""Mean and standard deviation of pixels: sums of integers, hence exact and the same in any order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from replearn.data.plan import Images

BLOCK = 2**20
"""Bytes of images that are summed at a time: what a processor's cache holds beside their squares."""


def image_sums(images: Images) -> NDArray[np.int64]:
    """For images [n, c, h, w] the sum of each channel's values and of their squares, int64 [n, 2, c]."""
    count, channels = images.shape[:2]
    sums = np.empty((count, 2, channels), dtype=np.int64)
    flat = images.reshape(count, channels, -1)
    block = max(1, BLOCK // math.prod(images.shape[1:]))
    for start in range(0, count, block):
        values = flat[start : start + block]
        squares = np.square(values, dtype=np.uint16)
        sums[start : start + block, 0] = values.sum(axis=2, dtype=np.int64)
        sums[start : start + block, 1] = squares.sum(axis=2, dtype=np.int64)
    return sums


def mean_and_std(
    sums: NDArray[np.int64], pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on a 0–1 scale.

    Args:
        sums: int64 [2, c], of `image_sums` over all images.
        pixels: summands of each sum.
    """
    mean = sums[0] / pixels
    std = np.sqrt(np.maximum(sums[1] / pixels - mean**2, 0))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
