"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from replearn.allocator import keep_freed_memory

OLDER = """
import ctypes
from types import SimpleNamespace
known = ctypes.CDLL(None).mallopt
def mallopt(name, value):
    return 0 if name == -3 and value > 1 << 25 else known(name, value)
older = SimpleNamespace(mallopt=mallopt)
ctypes.CDLL = lambda name: older
"""
"""The limit of glibc before 2.35, put on this one."""

FAULTS = """
import resource
import numpy as np
from replearn.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(size) for size in (200_000, 3_000_000, 800_000)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="needs glibc")
@pytest.mark.parametrize("library", ["", OLDER], ids=["glibc", "glibc before 2.35"])
def test_freed_memory_is_used_again(library: str) -> None:
    """Page faults of the same allocations, again and again; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", library + FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert before > 1000
    assert after < before / 20
