"""Progress that reads well on a terminal and in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TextIO


class Progress:
    """Counts work done and says how long the rest will take.

    A terminal gets one line that is redrawn; anything else gets a plain line every `interval` seconds.

    Args:
        total: how many units the whole work has.
        label: what is being done.
        unit: the plural of what is counted.
        done: units already finished before this process (they do not count in the rate).
        stream: where to write; standard error by default.
        interval: seconds between two plain lines.
        silent: count, but say nothing.
        patience: seconds before anything is shown; work that is done by then passes in silence.
    """

    def __init__(
        self,
        total: int,
        label: str,
        unit: str = "images",
        *,
        done: int = 0,
        stream: TextIO | None = None,
        interval: float = 10.0,
        silent: bool = False,
        patience: float = 0.0,
    ) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = self.start_done = done
        self.stream = stream if stream is not None else sys.stderr
        self.live = self.stream.isatty()
        self.silent = silent
        self.interval = 0.1 if self.live else interval
        self.patience = patience
        self.scalars: dict[str, float | str] = {}
        self.start = self._shown = self._working = time.monotonic()
        self._width = 0
        self._told: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._early():
            return
        if self.live or self.done < self.total or self._told != self.done:
            self._show()
        if self.live:
            self._write("\n")

    def advance(self, count: int = 1, **scalars: float | str) -> None:
        """Record `count` finished units and the latest values worth showing."""
        self.done += count
        self.scalars.update(scalars)
        if time.monotonic() - self._shown >= self.interval and not self._early():
            self._show()

    def checked(self) -> None:
        """What went on until now was a look at finished work: its time does not count in the rate."""
        self.start_done, self._working = self.done, time.monotonic()

    def note(self, text: str) -> None:
        """Write one line that stays."""
        clear = "\r" + " " * self._width + "\r" if self.live else ""
        self._write(f"{clear}{self.label}: {text}\n")

    def line(self) -> str:
        """The progress as one line of text."""
        elapsed = max(time.monotonic() - self.start, 1e-9)
        if not self.total:
            return f"{self.label} done  elapsed {duration(elapsed)}"
        working = max(time.monotonic() - self._working, 1e-9)
        rate = (self.done - self.start_done) / working
        share = 100 * self.done / self.total
        parts = [f"{self.label} {share:3.0f}%", f"{self.done:,}/{self.total:,} {self.unit}"]
        parts += [_scalar(name, value) for name, value in self.scalars.items()]
        if rate >= 0.1:
            parts.append(
                f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2f} {self.unit}/s"
            )
        if rate > 0 and self.done < self.total:
            parts.append(f"ETA {duration((self.total - self.done) / rate)}")
        parts.append(f"elapsed {duration(elapsed)}")
        return "  ".join(parts)

    def _early(self) -> bool:
        return time.monotonic() - self.start < self.patience

    def _show(self) -> None:
        self._shown, self._told = time.monotonic(), self.done
        text = self.line()
        if self.live:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        """To the stream, if it is still read: a cluster that ends a job may end its log first."""
        if self.silent:
            return
        with suppress(OSError):
            self.stream.write(text)
            self.stream.flush()


def duration(seconds: float) -> str:
    """Seconds as a person would say them: `8s`, `3m20s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _scalar(name: str, value: float | str) -> str:
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
