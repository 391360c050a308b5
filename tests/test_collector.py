"""The garbage collector leaves alone what stays, and still finds garbage."""

from __future__ import annotations

import gc
import subprocess
import sys

from replearn import collector


class Ring:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_searched_within_a_pause_and_all_as_before_after_it() -> None:
    assert gc.isenabled()
    before = gc.get_freeze_count()
    with collector.paused():
        assert not gc.isenabled()
        kept = [Ring() for _ in range(100)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
    gc.unfreeze()


def test_garbage_is_found_all_the_same() -> None:
    with collector.paused():
        pass
    gc.collect()
    for _ in range(50):
        Ring()
    assert gc.collect() >= 50
    gc.unfreeze()


def test_a_process_ends_without_a_last_search() -> None:
    script = """
import atexit, gc, sys
from replearn import collector
class Loud:
    def __init__(self): self.itself = self
    def __del__(self): sys.stdout.write("searched")
if sys.argv[1] == "rarely":
    collector.rarely()
    assert gc.get_threshold()[0] == 100_000
gc.collect()
kept = Loud()
del kept
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", script, how], capture_output=True, text=True, check=True
        ).stdout
        for how in ("as always", "rarely")
    ]
    assert said == ["searched", ""]
