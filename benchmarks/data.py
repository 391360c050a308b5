"""Large image folders: how fast they are prepared, in how much memory, and how fast training reads them.

    python -m benchmarks.data

The JPEG files are made up: noise whose spectrum falls like that of photographs, of ImageNet's usual sizes and
bytes, and small ones like CIFAR's. Reading is measured alone and beside a step that takes a given time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.folders import make_files
from benchmarks.harness import Row, Table, one_by_one, options, positive_seconds, run
from benchmarks.pairs import in_fresh_process, paired_ratio, there_and_back
from replearn.allocator import keep_freed_memory
from replearn.data import open_prepared
from replearn.data.stored import StoredImages
from replearn.images import ResidentImages, StreamedImages, TrainingImages

BATCH = 128


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of made-up JPEG files.

    Attributes:
        name: in the table.
        count: images in all.
        sides: least and largest side in pixels.
        size: side to which they are prepared, or None for their own.
    """

    name: str
    count: int
    sides: tuple[int, int]
    size: int | None


LARGE = Folder("400–600 px to 224²", 2_000, (400, 600), 224)
SMALL = Folder("32 px as they are", 20_000, (32, 32), None)


def main() -> None:
    """`python -m benchmarks.data`."""
    parser = options("Preparing image folders, and reading the prepared images in training.")
    parser.add_argument(
        "--step", type=positive_seconds, default=0.05, help="seconds of a made-up step"
    )
    run("data", parser.parse_args(), measure)


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    """Preparing, then reading what was prepared."""
    keep_freed_memory()  # as the `replearn` command does
    scale, rounds = (5, 1) if chosen.quick else (1, 3)
    preparing = Table(
        "Preparing a folder of JPEG files",
        notes=[f"a fresh process each, {len(os.sched_getaffinity(0))} cores; files in memory"],
    )
    yield preparing
    with tempfile.TemporaryDirectory() as place:
        for folder in one_by_one((SMALL, LARGE), "folders"):
            root = Path(place) / folder.name
            make_files(root, folder.count // scale, folder.sides)
            preparing.rows.extend(preparing_rows(folder, root, Path(place)))
        yield from reading(Path(place) / "prepared", root, chosen, rounds)


def preparing_rows(folder: Folder, root: Path, place: Path) -> list[Row]:
    """Images per second of the whole and of its parts, and the most memory it took."""
    found = in_fresh_process(
        "benchmarks.folders:prepare_folder",
        root=str(root),
        size=folder.size,
        output=str(place / "prepared"),
    )
    count = found["images"]
    name = f"{folder.name}, {count:,} files of {found['bytes'] / count / 1000:.1f} kB"
    parts = {part: count / found[part] for part in ("all", "hash", "survey", "decode and write")}
    return [
        Row(name, parts, "images/s"),
        Row(f"{folder.name}: most memory", {"all": found["peak"] / 1e6}, "MB"),
    ]


def reading(prepared: Path, root: Path, chosen: argparse.Namespace, rounds: int) -> Iterator[Table]:
    """Images per second of an epoch, and the share of it spent waiting when a step takes its time."""
    stored = open_prepared(prepared).part("train").images
    resident = ResidentImages(torch.from_numpy(stored.read()).to(chosen.device))
    streamed = StreamedImages(stored, chosen.device)
    works = {
        "resident": partial(epoch_rate, resident, 0.0),
        "streamed": partial(epoch_rate, streamed, 0.0),
        "streamed, from disk": partial(from_disk_rate, stored, chosen.device),
        "decoded in the loop": partial(decoding_rate, root, chosen.device),
    }
    _, _, height, width = stored.shape
    table = Table(
        f"Reading {len(stored):,} images of {height} x {width} in random order, batches of {BATCH}",
        notes=[
            "from disk: the file is dropped from the system's memory first",
            "decoded in the loop: torchvision's ImageFolder, a DataLoader with a worker for each core",
        ],
    )
    yield table
    for source in (resident, streamed):
        epoch_rate(source, 0.0)
    values = there_and_back(list(works.values()), rounds)
    table.rows.append(
        Row(
            "reading alone (ratio: streamed to decoded in the loop)",
            {name: median(found) for name, found in zip(works, values, strict=True)},
            "images/s",
            paired_ratio(values[1], values[3]),
        )
    )
    waits = {}
    for name, source in (("resident", resident), ("streamed", streamed)):
        before, start = source.waited, time.perf_counter()
        epoch_rate(source, chosen.step)
        waits[name] = 100 * (source.waited - before) / (time.perf_counter() - start)
    needed = f"{BATCH / chosen.step:,.0f} images/s"
    table.rows.append(Row(f"waiting beside a step of {chosen.step:g} s ({needed})", waits, "%"))


def epoch_rate(source: TrainingImages, step: float) -> float:
    """Images per second of one epoch in which each batch's step takes `step` seconds."""
    order = torch.randperm(len(source), generator=torch.manual_seed(0))
    count, start = 0, time.perf_counter()
    for _, images in source.batches(order, BATCH):
        count += len(images)
        # As a GPU works: the processor is free meanwhile.
        time.sleep(step)
    if source.device.type == "cuda":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def from_disk_rate(stored: StoredImages, device: str) -> float:
    """`epoch_rate` of images that the system does not hold in memory (as far as the disk is honest)."""
    for file in stored.files:
        with file.path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return epoch_rate(StreamedImages(stored, device), 0.0)


def decoding_rate(root: Path, device: str) -> float:
    """Images per second when the JPEG files are decoded in the loop, as is usual."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.Resize(224), v2.CenterCrop(224), v2.PILToTensor()]
    loader = DataLoader(
        ImageFolder(root, v2.Compose(steps)),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=len(os.sched_getaffinity(0)),
        pin_memory=device == "cuda",
    )
    count, start = 0, time.perf_counter()
    for images, _ in loader:
        count += len(images.to(device, non_blocking=True))
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
