"""STL-10 with its 100,000 unlabelled images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from replearn.data import captions
from replearn.data.archives import unpacked
from replearn.data.options import Options
from replearn.data.plan import Images, Plan, Rows, Split, array_shape, array_split

SHA256 = "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"
"""Of stl10_binary.tar.gz."""
ROOM = 6_000_000_000


class Stl10Options(Options):
    """STL-10: 5,000 + 8,000 colour photographs, 96 x 96, ten classes, and 100,000 unlabelled."""

    where: ClassVar[frozenset[str]] = frozenset({"path"})
    default_templates: ClassVar[tuple[str, ...]] = captions.STL10

    source: Literal["stl10"] = "stl10"
    path: str | None = None
    """A folder that holds the archive or its content; downloaded if absent."""
    unlabelled: bool = True
    """Whether the unlabelled images are prepared too (2.8 GB at 96 x 96)."""

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        return SHA256

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        from torchvision.datasets import STL10

        root = unpacked(STL10, name, self.path, raw / "stl10", SHA256, ROOM)
        return stl10_plan(root / STL10.base_folder, self.size, unlabelled=self.unlabelled)


def stl10_plan(base: Path, size: int | None, *, unlabelled: bool) -> Plan:
    """The plan of the unpacked binary files; images stay on disk until they are read."""
    splits: list[Split] = []
    for part in ("train", "test"):
        images, labels = _images(base / f"{part}_X.bin"), _labels(base / f"{part}_y.bin")
        splits.append(array_split(part, images, labels, size))
    if unlabelled:
        splits.append(array_split("unlabelled", _images(base / "unlabeled_X.bin"), None, size))
    return Plan(
        classes=(base / "class_names.txt").read_text(encoding="utf-8").split(),
        shape=array_shape(_images(base / "train_X.bin"), size),
        splits=splits,
        licence="no explicit licence; images from ImageNet, the authors ask for a citation",
        citation="A. Coates, H. Lee, A. Y. Ng: An Analysis of Single-Layer Networks in "
        "Unsupervised Feature Learning, AISTATS 2011",
    )


def _images(file: Path) -> Images:
    """uint8 [n, 3, 96, 96]; the file stores columns before rows."""
    flat = np.memmap(file, dtype=np.uint8, mode="r")
    return flat.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)


def _labels(file: Path) -> Rows:
    """int64 [n] from 0; the file counts from 1."""
    return np.fromfile(file, dtype=np.uint8).astype(np.int64) - 1
