"""The record of a training: one JSON line every few steps, and progress for whoever watches."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from replearn.progress import Progress


class History:
    """Appends lines to a file and tells the progress.

    Args:
        path: of the JSON-lines file.
        progress: counts images; its rate goes into each line.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self.bytes = 0
        self._last = (time.monotonic(), progress.done)

    def resume(self, size: int, images: int, complaint: str | None) -> None:
        """Cut the file to its first `size` bytes, where the checkpoint was taken."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(size)
        self.bytes = size
        self.progress.done = self.progress.start_done = images
        self._last = (time.monotonic(), images)
        if complaint:
            self.note(complaint)
        elif images:
            self.note(f"resuming after {images:,} images")

    def advance(self, images: int, **scalars: float) -> None:
        """Count images as done."""
        self.progress.advance(images, **scalars)

    def write(self, *, step: int, epoch: float, **values: Any) -> None:
        """Append one line; values that are not finite become null."""
        now = time.monotonic()
        seconds, images = now - self._last[0], self.progress.done - self._last[1]
        self._last = (now, self.progress.done)
        line = {"time": time.time(), "step": step, "epoch": epoch, **values}
        if images:
            line["images_per_second"] = images / max(seconds, 1e-9)
        finite = {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in line.items()
        }
        with self.path.open("ab") as file:
            file.write((json.dumps(finite) + "\n").encode())
            self.bytes = file.tell()

    def note(self, text: str) -> None:
        """Tell the person watching something."""
        self.progress.note(text)
