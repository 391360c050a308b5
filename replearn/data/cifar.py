"""CIFAR-10 and CIFAR-100, through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from replearn.data import captions
from replearn.data.archives import unpacked
from replearn.data.options import Options
from replearn.data.plan import Images, Plan, Rows, array_shape, array_split

SHA256 = {
    "cifar10": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "cifar100": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
}
"""Of the archives cifar-10-python.tar.gz and cifar-100-python.tar.gz."""
ROOM = 400_000_000


class _CifarOptions(Options):
    where: ClassVar[frozenset[str]] = frozenset({"path"})
    default_templates: ClassVar[tuple[str, ...]] = captions.CIFAR

    path: str | None = None
    """A folder that holds the archive or its content; downloaded if absent."""

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        return SHA256[self.model_dump()["source"]]

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        from torchvision import datasets

        source = self.model_dump()["source"]
        dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[source]
        root = unpacked(dataset, name, self.path, raw / source, SHA256[source], ROOM)
        return cifar_plan(dataset, root, self.size)


class Cifar10Options(_CifarOptions):
    """CIFAR-10: 50,000 + 10,000 colour photographs, 32 x 32, ten classes."""

    source: Literal["cifar10"] = "cifar10"


class Cifar100Options(_CifarOptions):
    """CIFAR-100: 50,000 + 10,000 colour photographs, 32 x 32, a hundred (fine) classes."""

    source: Literal["cifar100"] = "cifar100"


def cifar_plan(dataset: Any, root: Path, size: int | None) -> Plan:
    """The plan of an unpacked archive, read by its torchvision class.

    That class compares the files with its checksums before it unpickles them.
    """
    parts: dict[str, tuple[Images, Rows]] = {}
    for part in ("train", "test"):
        loaded = dataset(root=str(root), train=part == "train", download=False)
        parts[part] = (loaded.data.transpose(0, 3, 1, 2), np.array(loaded.targets, dtype=np.int64))
        classes = list(loaded.classes)
    return Plan(
        classes=classes,
        shape=array_shape(parts["train"][0], size),
        splits=[array_split(part, *arrays, size) for part, arrays in parts.items()],
        licence="no explicit licence; the authors ask for a citation",
        citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    )
