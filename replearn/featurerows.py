"""Some rows of a feature file, read without the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def sample(total: int, points: int) -> NDArray[np.int64]:
    """At most so many evenly spaced rows, the same for every method."""
    return np.unique(np.linspace(0, total - 1, min(points, total)).astype(np.int64))


def row_count(file: Path) -> int:
    """Number of samples in a features file; 0 if it holds none."""
    from safetensors import safe_open

    with safe_open(str(file), framework="numpy") as tensors:
        if "h" not in tensors.keys():  # noqa: SIM118 - a safetensors handle is no mapping
            return 0
        return int(tensors.get_slice("h").get_shape()[0])


def read_rows(file: Path, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Some rows of one tensor of a features file, without loading the others; None if absent."""
    from safetensors import safe_open

    if not file.is_file():
        return None
    with safe_open(str(file), framework="numpy") as tensors:
        if name not in tensors.keys():  # noqa: SIM118 - a safetensors handle is no mapping
            return None
        whole = tensors.get_slice(name)
        return np.stack([whole[int(row)] for row in rows]) if rows.size else None
