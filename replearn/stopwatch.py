"""How long training steps take, and which share of that the model is not responsible for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Lap:
    """A stretch of training.

    Attributes:
        seconds: from the end of the last lap.
        outside: share of them spent outside the model (loading, augmenting, bookkeeping), 0 to 1.
    """

    seconds: float
    outside: float


class Stopwatch:
    """Times steps by the clock of the device; on a GPU that is events, and nothing waits before `lap`."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Begin a lap now, leaving out what came since the last one."""
        self._start = self._now()
        self._inside: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []

    @contextmanager
    def model(self) -> Iterator[None]:
        """What runs within the context is the model: forward, backward, optimiser step."""
        begin = self._now()
        yield
        self._inside.append((begin, self._now()))

    def lap(self) -> Lap:
        """End the lap and begin another; waits for the device."""
        end = self._now()
        if isinstance(end, torch.cuda.Event):
            end.synchronize()
        seconds = max(_between(self._start, end), 1e-9)
        inside = sum(_between(*pair) for pair in self._inside)
        self._start, self._inside = end, []
        return Lap(seconds, 1 - inside / seconds)

    def _now(self) -> float | torch.cuda.Event:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _between(start: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return float(start.elapsed_time(end)) / 1000
    assert isinstance(start, float)
    assert isinstance(end, float)
    return end - start
