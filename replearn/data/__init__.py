"""Datasets: one source family per file, one prepared format behind all of them.

`DatasetOptions` types a dataset's block in a study; `prepare` turns it into arrays on disk;
`open_prepared` reads them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from replearn.data.captions import prompts
from replearn.data.cifar import Cifar10Options, Cifar100Options
from replearn.data.digits import DigitsOptions
from replearn.data.fashion_mnist import FashionMnistOptions
from replearn.data.folder import FolderOptions
from replearn.data.options import Options
from replearn.data.pairs import PairsOptions
from replearn.data.prepared import (
    MANIFEST,
    Manifest,
    Part,
    PartName,
    PreparedDataset,
    open_prepared,
)
from replearn.data.stl10 import Stl10Options
from replearn.data.webdataset import WebDatasetOptions
from replearn.data.write import prepare

SOURCES: dict[str, type[Options]] = {
    "digits": DigitsOptions,
    "fashion-mnist": FashionMnistOptions,
    "cifar10": Cifar10Options,
    "cifar100": Cifar100Options,
    "stl10": Stl10Options,
    "folder": FolderOptions,
    "pairs": PairsOptions,
    "webdataset": WebDatasetOptions,
}
"""Every source by the name that a study's `source` gives it."""

DatasetOptions = Annotated[
    DigitsOptions
    | FashionMnistOptions
    | Cifar10Options
    | Cifar100Options
    | Stl10Options
    | FolderOptions
    | PairsOptions
    | WebDatasetOptions,
    Field(discriminator="source"),
]
"""The options of a dataset, told apart by `source`."""

__all__ = [
    "MANIFEST",
    "SOURCES",
    "DatasetOptions",
    "Manifest",
    "Options",
    "Part",
    "PartName",
    "PreparedDataset",
    "open_prepared",
    "prepare",
    "prompts",
]
