"""The image files that both sides read: somebody's folder, or pieces of two photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers.task import SIZE
from replearn.data import prepare
from replearn.data.folder import FolderOptions
from replearn.errors import UserError

NAME = "images"
QUALITY = 95
LARGEST_CROP = 160


def lay_out(folder: Path, source: Path | None, train: int, test: int) -> Path:
    """A folder with train/<class>/ and test/<class>/, equally many images of each class.

    Args:
        folder: to fill; must not exist.
        source: a folder of the same structure, to link to; without one, photographs are cut up.
        train, test: at most so many images of each split.

    Raises:
        UserError: `source` lacks a split or its classes.
    """
    for split, count in (("train", train), ("test", test)):
        if source is None:
            _cut(folder / split, count, seed=0 if split == "train" else 1)
        else:
            _link(folder / split, source / split, count)
    return folder


def prepared(images: Path, results: Path, validation: float = 0.1) -> Path:
    """The same images in replearn's prepared format; the directory."""
    options = FolderOptions(path=str(images), validation=validation)
    prepare(NAME, options, results / "prepared", raw=results / "raw")
    return results / "prepared"


def _link(target: Path, source: Path, count: int) -> None:
    classes = sorted(path for path in source.glob("*") if path.is_dir())
    if not classes:
        raise UserError(
            "no class folders",
            where=str(source),
            hint="--images takes a folder with train/<class>/ and test/<class>/.",
        )
    for place in classes:
        (target / place.name).mkdir(parents=True)
        files = sorted(path for path in place.iterdir() if path.is_file())
        for file in files[: -(-count // len(classes))]:
            (target / place.name / file.name).symlink_to(file.resolve())


def _cut(target: Path, count: int, seed: int) -> None:
    """Random squares of scikit-learn's sample photographs as JPEG files: real texture, no download."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(seed)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        photograph = Image.fromarray(pixels)
        (target / name).mkdir(parents=True)
        for number in range(-(-count // 2)):
            side = int(random.integers(SIZE, LARGEST_CROP + 1))
            left = int(random.integers(photograph.width - side + 1))
            top = int(random.integers(photograph.height - side + 1))
            box = (left, top, left + side, top + side)
            piece = photograph.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box)
            piece.save(target / name / f"{number:05d}.jpg", quality=QUALITY)
