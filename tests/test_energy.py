"""Energy: counters are read where they can be, and nothing is claimed where they cannot."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from replearn.energy import HIGHEST_WATTS, Reading, between, read
from replearn.provenance import READINGS, provenance

MOST = 262_143.328
"""Where a common processor's counter wraps, in joules."""


def zone(powercap: Path, name: str, joules: float) -> None:
    (powercap / name).mkdir(parents=True, exist_ok=True)
    (powercap / name / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (powercap / name / "max_energy_range_uj").write_text(f"{round(MOST * 1e6)}\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    for package in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zone(tmp_path, package, 100.0)
    first = read(tmp_path)
    assert set(first.packages) == {"intel-rapl:0", "intel-rapl:1"}
    zone(tmp_path, "intel-rapl:0", 130.0)
    zone(tmp_path, "intel-rapl:1", 105.5)
    zone(tmp_path, "intel-rapl:0:0", 190.0)
    assert between(first, read(tmp_path)) == 35.5


def packages(when: float, *joules: float) -> Reading:
    return Reading(when, {f"intel-rapl:{n}": (value, MOST) for n, value in enumerate(joules)})


def test_a_counter_may_wrap_once() -> None:
    assert between(packages(0, MOST - 10), packages(60, 5)) == pytest.approx(15)


def test_nothing_is_claimed_once_it_may_have_wrapped_twice() -> None:
    longest = MOST / HIGHEST_WATTS
    assert between(packages(0, 10), packages(longest, 50)) == 40
    assert between(packages(0, 10), packages(longest + 1, 50)) is None


def test_a_machine_that_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    reading = read(tmp_path)
    assert reading.packages == {}
    assert between(reading, reading) is None
    assert between(packages(0, 1), packages(1, 2, 3)) is None, "a package appeared"


def test_a_gpu_counts_for_itself_alone() -> None:
    first, last = (Reading(when, gpus={"GPU-a": 10.0 * when, "GPU-b": 1.0}) for when in (1, 3))
    assert between(first, last, "GPU-a") == 20
    assert between(first, last, "GPU-c") is None


def test_ranks_see_a_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert between(packages(0, 1), packages(1, 2)) is None


def test_each_piece_of_work_counts_from_the_last_reading_before_it() -> None:
    before = len(READINGS)
    facts = provenance(time.time())
    assert len(READINGS) == before + 1
    assert facts["energy_joules"] == between(READINGS[-2], READINGS[-1])
    assert provenance(0.0)["energy_joules"] == between(READINGS[0], READINGS[-1])
