"""CIFAR-10 and CIFAR-100, through torchvision."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from replearn.data import captions
from replearn.data.archives import unpacked
from replearn.data.options import Options
from replearn.data.plan import Images, Plan, Rows, array_shape, array_split
from replearn.errors import UserError, machine_fault

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
    """The plan of an unpacked archive whose files have been verified; `dataset` is its torchvision class."""
    base, key = root / dataset.base_folder, dataset.meta["key"]
    labels = "labels" if key == "label_names" else "fine_labels"
    parts: dict[str, tuple[Images, Rows]] = {}
    for part, files in (("train", dataset.train_list), ("test", dataset.test_list)):
        entries = [read_pickle(base / file) for file, _ in files]
        images = np.concatenate([entry["data"] for entry in entries]).reshape(-1, 3, 32, 32)
        parts[part] = (images, np.concatenate([entry[labels] for entry in entries]))
    return Plan(
        classes=list(read_pickle(base / dataset.meta["filename"])[key]),
        shape=array_shape(parts["train"][0], size),
        splits=[array_split(part, *arrays, size) for part, arrays in parts.items()],
        licence="no explicit licence; the authors ask for a citation",
        citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    )


def read_pickle(path: Path) -> dict[str, Any]:
    """A pickled mapping of texts, numbers, lists and NumPy arrays.

    A pickle may name any function to be called; here, one that names anything else is refused.

    Raises:
        UserError: the file cannot be read, or asks for more than data.
    """
    try:
        with path.open("rb") as file:
            content = _DataOnly(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("it holds no mapping")
    except OSError as error:
        raise machine_fault(error, "cannot read the file", path) from None
    # Damage can make an unpickler stumble over anything.
    except Exception as error:
        raise UserError(f"not a file of CIFAR's ({error})", where=str(path)) from None
    return content


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("numpy._core", "numpy.core"), name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ARRAYS[module.replace("numpy._core", "numpy.core"), name]


_ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy.core.numeric", "_frombuffer"): np._core.numeric._frombuffer,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}
"""All that a pickled array needs, under its name in any version of NumPy."""
