"""Python's garbage collector, kept from searching what stays until the process ends.

To start is to make hundreds of thousands of objects that stay: the modules of torch, or what Snakemake
holds of each job. Searching them for garbage again and again, and once more at exit, takes a good part of
a small job's time.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No search within, and none later through what was made by then; for imports."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def rarely() -> None:
    """Search only after every 100,000 objects that stay (Python's default is 700), and not at exit."""
    gc.set_threshold(100_000)
    not_at_exit()


def not_at_exit() -> None:
    """Let the process end without the last search; what it holds then goes with it."""
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
