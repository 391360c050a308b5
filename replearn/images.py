"""The images of a training run: all on its device, or streamed to it from disk while the model works."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from replearn.data.stored import StoredImages
from replearn.errors import UserError
from replearn.progress import Progress

Residency = Literal["auto", "resident", "streamed"]

SHARE = 0.5
"""Of the free memory, what resident images may take; the rest is the model's."""
AHEAD = 3
"""Batches that are read before they are asked for."""
CHUNK = 2048
SHOWN = 2**30
"""Bytes from which on loading shows its progress."""


class TrainingImages(Protocol):
    """Images uint8 [n, c, h, w] as the training loop wants them.

    Attributes:
        device: where its batches are.
        waited: seconds that batches were waited for.
    """

    device: torch.device
    waited: float

    def __len__(self) -> int: ...

    def batches(
        self, order: Tensor, batch_size: int, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole batches of an epoch, from batch number `start` on.

        Args:
            order: int64 [count] on the CPU, rows in the order of the epoch.
            batch_size: consecutive rows of a batch.
            start: number of the first batch.

        Yields:
            index int64 [batch_size] and images uint8 [batch_size, c, h, w], both on the device.
        """
        ...

    def chunks(self, size: int) -> Iterator[Tensor]:
        """All images in their order, at most `size` at a time, on the device."""
        ...


class ResidentImages:
    """Images that lie on the device; a batch is a gather.

    Args:
        tensor: uint8 [n, c, h, w].
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.device = tensor.device
        self.waited = 0.0

    def __len__(self) -> int:
        return len(self.tensor)

    def batches(
        self, order: Tensor, batch_size: int, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for index in _whole(order.to(self.device), batch_size, start):
            yield index, self.tensor[index]

    def chunks(self, size: int) -> Iterator[Tensor]:
        yield from self.tensor.split(size)


class StreamedImages:
    """Images that stay on disk; a thread reads the next batches while the model works on this one.

    Args:
        stored: the images.
        device: where they are wanted.
    """

    def __init__(self, stored: StoredImages, device: str | torch.device) -> None:
        self.stored = stored
        self.device = torch.device(device)
        self.waited = 0.0
        self._pinned = self.device.type == "cuda"

    def __len__(self) -> int:
        return len(self.stored)

    def batches(
        self, order: Tensor, batch_size: int, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        wanted = _whole(order, batch_size, start)
        reader = _Reader(self.stored, wanted, self._pinned)
        side = torch.cuda.Stream(self.device) if self._pinned else None
        try:
            for index in wanted:
                began = time.perf_counter()
                buffer = reader.next()
                self.waited += time.perf_counter() - began
                yield index.to(self.device, non_blocking=True), self._moved(buffer, side, reader)
        finally:
            reader.stop()

    def chunks(self, size: int) -> Iterator[Tensor]:
        for start in range(0, len(self), size):
            yield torch.from_numpy(self.stored[start : start + size]).to(self.device)

    def _moved(self, buffer: _Buffer, side: torch.cuda.Stream | None, reader: _Reader) -> Tensor:
        """The buffer's images on the device, and the buffer back to its reader."""
        if side is None:
            return buffer.images
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(side):
            images = buffer.images.to(self.device, non_blocking=True)
            buffer.copied = torch.cuda.Event()
            buffer.copied.record(side)
        current.wait_stream(side)
        images.record_stream(current)
        reader.give_back(buffer)
        return images


@dataclass(slots=True, eq=False)
class _Buffer:
    """A batch in the host's memory, and when its copy to the device is done."""

    images: Tensor
    copied: torch.cuda.Event | None = None


class _Reader:
    """A thread that reads batches ahead, into buffers that go round if they are pinned."""

    def __init__(self, stored: StoredImages, wanted: list[Tensor], pinned: bool) -> None:
        self._stored, self._wanted, self._pinned = stored, wanted, pinned
        self._ready: queue.Queue[_Buffer | Exception] = queue.Queue(AHEAD)
        self._free: queue.Queue[_Buffer] = queue.Queue()
        self._made = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="images", daemon=True)
        self._thread.start()

    def next(self) -> _Buffer:
        """The next batch.

        Raises:
            UserError: it cannot be read.
        """
        found = self._ready.get()
        if isinstance(found, Exception):
            raise UserError(
                f"cannot read the training images ({found})", where=self._stored.place
            ) from found
        return found

    def give_back(self, buffer: _Buffer) -> None:
        """Let a buffer be filled again, once its copy is done."""
        self._free.put(buffer)

    def stop(self) -> None:
        """End the thread, whatever it is doing."""
        self._stopping.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _read_all(self) -> None:
        try:
            for index in self._wanted:
                if self._stopping.is_set():
                    return
                buffer = self._buffer(len(index))
                self._stored.read(index.numpy(), out=buffer.images.numpy())
                self._ready.put(buffer)
        except Exception as error:
            self._ready.put(error)

    def _buffer(self, count: int) -> _Buffer:
        """An empty buffer: one that was given back, or a new one while there are few."""
        if not self._pinned or self._made <= AHEAD:
            self._made += 1
            shape = (count, *self._stored.shape[1:])
            return _Buffer(torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned))
        while not self._stopping.is_set():
            try:
                buffer = self._free.get(timeout=0.1)
            except queue.Empty:
                continue
            if buffer.copied is not None:
                buffer.copied.synchronize()
            return buffer
        raise RuntimeError("the reading was stopped")


def place_images(
    stored: StoredImages, device: str | torch.device, residency: Residency = "auto"
) -> TrainingImages:
    """The images of a run where its training finds them.

    Args:
        stored: the images on disk.
        device: of the training.
        residency: "resident", "streamed", or by size: resident if they take at most half of what is free.
    """
    device = torch.device(device)
    if residency == "auto":
        fits = resident_fits(stored.nbytes, free_memory(device))
        residency = "resident" if fits else "streamed"
    if residency == "streamed":
        return StreamedImages(stored, device)
    tensor = torch.empty(stored.shape, dtype=torch.uint8, device=device)
    with Progress(len(stored), "load images", silent=stored.nbytes < SHOWN) as progress:
        for start in range(0, len(stored), CHUNK):
            part = torch.from_numpy(stored[start : start + CHUNK])
            tensor[start : start + len(part)] = part.to(device)
            progress.advance(len(part))
    return ResidentImages(tensor)


def resident_fits(size: int, free: int) -> bool:
    """Whether images of `size` bytes may lie in `free` bytes of memory."""
    return size <= SHARE * free


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or in the machine's memory within the limits of this process's group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    memory = Path("/proc/meminfo")
    if memory.is_file():
        lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
        free = [1024 * int(lines["MemAvailable"].split()[0])]
    return min(free + _left_in_group())


def _left_in_group(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What the process's control group has left of its limit on memory; nothing without a limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (root / limit).read_text().strip(), (root / used).read_text().strip()
        except OSError:
            continue
        return [] if most == "max" else [max(0, int(most) - int(now))]
    return []


def _whole(order: Tensor, batch_size: int, start: int) -> list[Tensor]:
    """The whole batches of an order from number `start` on."""
    whole = order[: len(order) // batch_size * batch_size]
    return list(whole.view(-1, batch_size)[start:])
