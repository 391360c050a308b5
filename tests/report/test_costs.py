"""What training cost: hours of devices, the Pareto front, and what was spent on tuning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replearn.methods.options import METHODS
from replearn.recipes import settings_tried
from replearn.report import charts
from replearn.report.costs import IMAGES, cost_table, device_time, front, undominated
from replearn.standings import LINEAR, Entry
from tests.boards import board, entry


def costing(
    method: str, accuracies: Sequence[float], *, reference: bool = False, **columns: object
) -> Entry:
    made = entry(method, list(accuracies), reference=reference)
    runs = tuple({**run, **columns} for run in made.runs)
    return replace(made, runs=runs, trained=True)


ROWS = (
    costing("simclr", [0.80, 0.82], train_seconds=3600.0, ranks=2, images_seen=100),
    costing("byol", [0.70, 0.72], train_seconds=1800.0, ranks=1, images_seen=100),
    costing("dino", [0.60, 0.62], train_seconds=5400.0, ranks=1, images_seen=50),
    costing("supervised", [0.9], reference=True, train_seconds=36.0, images_seen=1),
)
PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 5))


def naive_front(points: Sequence[tuple[int, int]]) -> set[int]:
    """Sort by cost; a point stays if it gains more than every cheaper one, or equals one that stays."""
    kept: set[int] = set()
    for cost in sorted({c for c, _ in points}):
        best = max(g for c, g in points if c == cost)
        cheaper = [g for c, g in points if c < cost]
        if not cheaper or best > max(cheaper):
            kept |= {n for n, point in enumerate(points) if point == (cost, best)}
    return kept


@given(st.lists(PAIRS, min_size=1, max_size=9))
def test_the_front_is_that_of_a_sweep_by_cost(points: list[tuple[int, int]]) -> None:
    named = {(str(n), ""): (float(c), float(g)) for n, (c, g) in enumerate(points)}
    assert {int(name) for name, _ in undominated(named)} == naive_front(points)


def test_methods_compete_and_the_ceiling_does_not() -> None:
    rows = board(*ROWS)
    assert [name for name, _ in front(rows, LINEAR, device_time(rows))] == ["byol", "simclr"]
    assert [name for name, _ in front(rows, LINEAR, IMAGES)] == ["dino", "simclr"]


def test_hours_count_every_device() -> None:
    rows = board(
        *(replace(r, runs=tuple({**run, "device": "cuda"} for run in r.runs)) for r in ROWS)
    )
    table = cost_table(rows)
    shown = {row["method"].text: row["hours"].text for row in table.groups[0].rows}
    assert shown == {"SimCLR": "2", "BYOL": "0.5", "DINO": "1.5", "Supervised": "0.01"}
    assert [c.title for c in table.columns if c.name == "hours"] == ["GPU-hours"]
    assert any("× GPUs" in note for note in table.notes)


def test_gpus_and_cpus_are_not_compared_by_hours() -> None:
    rows = board(ROWS[0], costing("byol", [0.9], device="cuda", images_seen=100))
    assert front(rows, LINEAR, device_time(rows)) == []
    table = cost_table(rows)
    assert "not comparable" in " ".join(table.notes)
    assert [row["front"].text for row in table.groups[0].rows] == ["yes", ""], "by images seen"


def test_energy_is_a_column_only_where_it_was_read() -> None:
    names = [column.name for column in cost_table(board(*ROWS)).columns]
    assert "energy" not in names
    table = cost_table(board(costing("byol", [0.7, 0.7], energy_joules=7200.0)))
    assert table.groups[0].rows[0]["energy"].text == "2 Wh"


def test_the_chart_names_the_front() -> None:
    rows = board(*ROWS)
    numbers = {row.name: place for place, row in enumerate(ROWS)}
    svg = charts.cost(rows, LINEAR, device_time(rows), numbers, "x")
    assert svg is not None
    assert "on the Pareto front: SimCLR and BYOL" in svg
    assert "CPU time of training" in svg


TUNED = re.compile(r"^\| ([A-Za-z, ]+) \| (\d+)(?: each)? \|", re.MULTILINE)


def test_the_documented_numbers_of_settings_are_the_recipes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    section = text.partition("### How the small recipe was tuned")[2].partition("\n## ")[0]
    documented = {
        name.strip().lower(): int(times)
        for names, times in TUNED.findall(section)
        for name in names.split(",")
    }
    recorded = {name: settings_tried("small", name) for name in METHODS}
    assert documented == {name: times for name, times in recorded.items() if times}


@pytest.mark.parametrize("recipe", ["cifar", "paper", "one of yours"])
def test_no_number_is_claimed_for_others_recipes(recipe: str) -> None:
    assert settings_tried(recipe, "simclr") is None


def test_time_of_devices_is_a_mean_over_seeds() -> None:
    uneven = costing("byol", [0.7, 0.8])
    runs = tuple(
        {**run, "train_seconds": s, "ranks": 4}
        for run, s in zip(uneven.runs, (10, 30), strict=True)
    )
    rows = board(replace(uneven, runs=runs))
    assert device_time(rows).of(rows.entries[0]) == np.mean([40, 120])
