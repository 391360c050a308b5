"""The record of finished chunks that lets an interrupted preparation go on."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from replearn.data.plan import Images


class Journal:
    """Which chunks of which split are on disk, one JSON line each.

    A line counts only if the chunk matches its checksum, so that a power cut cannot pass off
    something else as finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[tuple[str, int], tuple[int, Counter[str]]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the line that was being written when the process was killed
            key = (entry["split"], entry["start"])
            self._entries[key] = (entry["crc32"], Counter(entry["conversions"]))
        self._stream = path.open("a", encoding="utf-8")
        if lines:
            self._stream.write("\n")

    def claims(self, split: str, start: int) -> bool:
        """Whether a chunk was finished, unless it has been damaged since."""
        return (split, start) in self._entries

    def finished(self, split: str, start: int, chunk: Images) -> Counter[str] | None:
        """The conversions of a chunk that is whole on disk, or None."""
        crc32, conversions = self._entries.get((split, start), (None, Counter()))
        return conversions if crc32 == _checksum(chunk) else None

    def record(self, split: str, start: int, chunk: Images, conversions: Counter[str]) -> None:
        entry = {
            "split": split,
            "start": start,
            "crc32": _checksum(chunk),
            "conversions": conversions,
        }
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()


def _checksum(chunk: Images) -> int:
    return zlib.crc32(np.ascontiguousarray(chunk).data)
