"""The record of a training: one JSON line every few steps, and progress for whoever watches."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replearn.progress import Progress

HEALTHY = "healthy"
COLLAPSED = {
    "complete": "collapsed to about one point",
    "cluster": "collapsed to a few points",
    "dimensional": "collapsed to a few dimensions",
}


class History:
    """Appends lines to a file and tells the progress.

    Args:
        path: of the JSON-lines file.
        progress: counts images.
        recording: whether to write; of several ranks, one does.
    """

    def __init__(self, path: Path, progress: Progress, *, recording: bool = True) -> None:
        self.path, self.progress, self.recording = path, progress, recording
        self._verdict = HEALTHY

    def mark(self) -> dict[str, Any]:
        """What the file holds now, for `resume`: its size and its digest."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            return _mark(file.read())

    def resume(self, mark: Mapping[str, Any] | None) -> None:
        """Cut the file to what it was at `mark`; to nothing without one.

        Raises:
            ValueError: the file does not begin with what it held then.
        """
        size = 0
        if mark is not None:
            size = mark["bytes"]
            present = self.path.read_bytes()[:size] if self.path.is_file() else b""
            if _mark(present) != mark:
                raise ValueError(f"{self.path.name} beside it is not the one it was saved with")
        if self.recording:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(size)

    def start(self, images: int) -> None:
        """Begin with so many images done."""
        self.progress.done = self.progress.start_done = images
        if images:
            self.note(f"resuming after {images:,} images")

    def advance(self, images: int, **scalars: float) -> None:
        """Count images as done."""
        self.progress.advance(images, **scalars)

    def write(self, *, step: int, epoch: float, **values: Any) -> None:
        """Append one line; values that are not finite become null. A verdict that changes is told."""
        verdict = values.get("verdict", self._verdict)
        if step and verdict != self._verdict:
            self.note(f"epoch {epoch:g}: the features look {COLLAPSED.get(verdict, verdict)}")
            self._verdict = verdict
        line = {"time": time.time(), "step": step, "epoch": epoch, **values}
        finite = {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in line.items()
        }
        with self.path.open("ab") as file:
            file.write((json.dumps(finite) + "\n").encode())

    def note(self, text: str) -> None:
        """Tell the person watching something."""
        self.progress.note(text)


def _mark(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "digest": hashlib.sha256(content).hexdigest()}


def speed(path: Path) -> dict[str, float]:
    """What a recorded training says of its speed; empty if nothing was trained.

    Returns:
        training_seconds: in steps, without monitoring and checkpoints, over all restarts.
        images_per_second: in that time.
        outside_model: share of it spent outside the model, 0 to 1.
        waiting_for_images: share of it spent waiting for streamed images, a part of the former.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    laps = [line for line in lines if "seconds" in line]
    if not laps:
        return {}
    seconds = sum(lap["seconds"] for lap in laps)
    averaged = ("images_per_second", "outside_model", "waiting_for_images")
    return {"training_seconds": seconds} | {
        name: sum(lap[name] * lap["seconds"] for lap in laps) / seconds for name in averaged
    }
