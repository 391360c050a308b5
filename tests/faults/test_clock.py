"""Clocks that jump: every process of a study sees another time, hours away from that of the last one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.workflow_fixture import FinishedStudy, copy_checkout

pytestmark = pytest.mark.faults

JUMPY = """
import random, time

real = time.time
offset = random.Random().uniform(-6, 6) * 3600

def jumping():
    global offset
    if random.random() < 0.01:
        offset = random.uniform(-6, 6) * 3600
    return real() + offset

time.time = jumping
"""


def test_the_numbers_do_not_depend_on_the_clock(smoke_study: FinishedStudy, tmp_path: Path) -> None:
    study = copy_checkout(tmp_path / "study")
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPY)
    environment = {"PYTHONPATH": str(tmp_path / "clock")}
    done = study.snakemake("--cores", "2", environment=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    found, wanted = (pd.read_csv(each.study / "results.csv") for each in (study, smoke_study))
    pd.testing.assert_frame_equal(found, wanted)
