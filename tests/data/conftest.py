"""Real image files, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from replearn.data import DatasetOptions, Options, PreparedDataset, prepare

ADAPTER: TypeAdapter[Options] = TypeAdapter(DatasetOptions)

Prepare = Callable[..., PreparedDataset]


def pixels(seed: int, shape: tuple[int, ...] = (12, 12, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, seed: int = 0, shape: tuple[int, ...] = (12, 12, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, shape)).save(path)
    return path


def class_folder(root: Path, classes: dict[str, int], shape: tuple[int, ...] = (12, 12, 3)) -> Path:
    for number, (name, count) in enumerate(classes.items()):
        for index in range(count):
            save(root / name / f"{index:03d}.png", 1000 * number + index, shape)
    return root


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Prepare a dataset from the block that a study would hold."""

    def run(place: str = "out", name: str = "mine", **block: object) -> PreparedDataset:
        options = ADAPTER.validate_python(block)
        return prepare(name, options, tmp_path / place, raw=tmp_path / "raw")

    return run
