"""What every test shares: one thread each, and the same examples from hypothesis every time."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Before torch or NumPy start their thread pools: several workers share the cores, and sums in one
# thread come out the same on every machine.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

pytest_plugins = ["tests.workflow_fixture", "tests.tiny_study"]

settings.register_profile("reproducible", deadline=None, derandomize=True, database=None)
settings.load_profile("reproducible")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` records the losses that tests/methods/test_golden.py compares with."""
    parser.addoption("--update-golden", action="store_true", help="record the golden losses anew")
