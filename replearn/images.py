"""The images of a training run: all on the device, or streamed to it a few batches ahead.

Both hand out the same batches, bit for bit and in the same order.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from replearn import distributed
from replearn.data.plan import Rows
from replearn.data.stored import StoredImages
from replearn.errors import UserError
from replearn.memory import free_bytes
from replearn.parallel import in_order
from replearn.progress import Progress

Residency = Literal["auto", "resident", "streamed"]

SHARES = {"cuda": 2, "cpu": 16}
"""The images stay on a device if they take at most one part in so many of its free memory.

A card's other half is for the model and its activations. On a CPU the system keeps files in memory
anyway, for all jobs of the machine together, so that only a small set deserves a copy for each job.
"""
CHUNK_IMAGES = 1024
CHUNK_BYTES = 2**25
AHEAD = 3
"""Batches that are read ahead of the step."""


class TrainingImages(ABC):
    """Images uint8 [count, c, h, w] that a run goes over in many orders.

    Attributes:
        residency: "resident" or "streamed".
        shape: (count, c, h, w).
        device: where they are handed out.
        waited: seconds that the one who takes batches had to wait for them, so far.
    """

    residency: ClassVar[Literal["resident", "streamed"]]

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        self.shape = tuple(shape)
        self.device = device
        self.waited = 0.0

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def batches(
        self, order: Tensor, batch_size: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole batches of an epoch.

        Args:
            order: int64 [m] on the CPU, the epoch's rows in the order in which they are visited.
            batch_size: n.
            start: number of the first batch; those before it are passed over, unread.

        Yields:
            index int64 [n] and images uint8 [n, c, h, w], on the device.

        Raises:
            UserError: the images cannot be read.
        """

    @abstractmethod
    def chunks(self, size: int, count: int | None = None) -> Iterator[Tensor]:
        """The first `count` images (all if absent) in order, uint8 [≤ size, c, h, w], on the device."""


class ResidentImages(TrainingImages):
    """All images in the device's memory.

    Args:
        images: uint8 [count, c, h, w].
    """

    residency = "resident"

    def __init__(self, images: Tensor) -> None:
        super().__init__(images.shape, images.device)
        self.images = images

    def batches(
        self, order: Tensor, batch_size: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = moved(order, self.device)
        for rows in _whole(len(order), batch_size, start):
            index = order[rows]
            # Plain indexing copies uint8 byte by byte on a CPU, several times slower.
            on_cpu = self.device.type == "cpu"
            out = _memory((batch_size, *self.shape[1:])) if on_cpu else None
            yield index, torch.index_select(self.images, 0, index, out=out)

    def chunks(self, size: int, count: int | None = None) -> Iterator[Tensor]:
        yield from self.images[:count].split(size)


class StreamedImages(TrainingImages):
    """Images that stay on disk; threads read a few batches ahead and send them to the device.

    Args:
        stored: uint8 [count, c, h, w].
        device: where to hand them out.
        ahead: batches that are read ahead, each by a thread of its own.
    """

    residency = "streamed"

    def __init__(
        self, stored: StoredImages, device: str | torch.device, *, ahead: int = AHEAD
    ) -> None:
        super().__init__(stored.shape, torch.device(device))
        self.stored = stored
        self.ahead = ahead
        self._copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def batches(
        self, order: Tensor, batch_size: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        index = moved(order, self.device)
        visited = order.numpy()
        parts = (visited[rows] for rows in _whole(len(order), batch_size, start))
        numbers = _whole(len(order), batch_size, start)
        with closing(self._read_ahead(parts)) as batches:
            while True:
                asked = time.monotonic()
                images = next(batches, None)
                self.waited += time.monotonic() - asked
                if images is None:
                    return
                yield index[next(numbers)], images

    def chunks(self, size: int, count: int | None = None) -> Iterator[Tensor]:
        end = len(self) if count is None else min(count, len(self))
        parts = (slice(first, min(first + size, end)) for first in range(0, end, size))
        with closing(self._read_ahead(parts)) as chunks:
            yield from chunks

    def _read_ahead(self, parts: Iterable[Rows | slice]) -> Generator[Tensor, None, None]:
        with closing(in_order(self._read, parts, threads=self.ahead, ahead=self.ahead)) as read:
            for images, arrived in read:
                if arrived is not None:
                    current = torch.cuda.current_stream(self.device)
                    current.wait_event(arrived)
                    # Its memory belongs to the copying stream: not to be reused before the step is over.
                    images.record_stream(current)
                yield images

    def _read(self, rows: Rows | slice) -> tuple[Tensor, torch.cuda.Event | None]:
        """Images on the device, and the event after which they are there (None on the CPU)."""
        count = len(self.stored.index[rows])
        host = _memory((count, *self.shape[1:]), pinned=self._copies is not None)
        self.stored.read(rows, out=host.numpy())
        if self._copies is None:
            return host, None
        torch.cuda.set_device(self._copies.device)  # of this thread, which begins with the first
        # PyTorch keeps a pinned buffer back from its next user until the copies out of it are over.
        with torch.cuda.stream(self._copies):
            return host.to(self.device, non_blocking=True), self._copies.record_event()


def place_images(
    stored: StoredImages,
    device: str | torch.device,
    residency: Residency = "auto",
    *,
    jobs: int = 1,
) -> TrainingImages:
    """Images on a device: resident if they fit, else streamed; the batches are the same.

    Args:
        stored: uint8 [count, c, h, w].
        device: of the training.
        residency: "auto" decides by size, the others insist.
        jobs: trainings that share the device.

    Raises:
        UserError: "resident" is asked for and the images are larger than the free memory, or they cannot
            be read.
    """
    device = torch.device(device)
    if residency == "streamed":
        return StreamedImages(stored, device)
    free = free_bytes(device)
    if residency == "resident" and stored.nbytes > free:
        raise UserError(
            f"the images take {stored.nbytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            where="training.images",
            hint="Set images: auto or streamed, or a smaller size for the dataset.",
        )
    if residency == "auto" and not resident_fits(stored.nbytes, free, SHARES[device.type] * jobs):
        return StreamedImages(stored, device)
    if device.type == "cpu":
        return ResidentImages(torch.from_numpy(stored.read()))
    images = torch.empty(stored.shape, dtype=torch.uint8, device=device)
    silent = distributed.rank() != 0
    with Progress(len(images), f"images to {device}", silent=silent, patience=3.0) as progress:
        for chunk in stored.chunks(chunk_size(stored.shape)):
            images[progress.done : progress.done + len(chunk)] = torch.from_numpy(chunk)
            progress.advance(len(chunk))
    return ResidentImages(images)


def resident_fits(needed: int, free: int, shares: int) -> bool:
    """Whether `needed` bytes are at most one part in `shares` of `free` bytes."""
    return needed * shares <= free


def chunk_size(shape: Sequence[int]) -> int:
    """How many images [·, c, h, w] a pass without gradients takes at a time, so that memory stays bounded."""
    return max(1, min(CHUNK_IMAGES, CHUNK_BYTES // math.prod(shape[1:])))


def _whole(count: int, batch_size: int, start: int) -> Iterator[slice]:
    """The rows of each whole batch, from batch number `start` on."""
    for number in range(start, count // batch_size):
        yield slice(number * batch_size, (number + 1) * batch_size)


def moved(order: Tensor, device: torch.device) -> Tensor:
    """The order on a device, without waiting for what the device is doing."""
    order = order.pin_memory() if device.type == "cuda" else order
    return order.to(device, non_blocking=True)


def _memory(shape: tuple[int, ...], *, pinned: bool = False) -> Tensor:
    """Memory for images uint8 `shape` on the host."""
    if pinned:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    # NumPy asks for huge pages, PyTorch does not: first use of the memory is then several times faster.
    return torch.from_numpy(np.empty(shape, dtype=np.uint8))
