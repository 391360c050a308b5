"""What training cost: images, hours of devices, memory, energy; and who is beaten in nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from replearn.formats import NOTHING, Cell, Column, Group, Table, count, duration, memory, percent
from replearn.standings import LINEAR, Entry, Metric, Standings

Name = tuple[str, str]
DEVICES = {"cuda": "GPU", "cpu": "CPU"}
TAUGHT = ("distillation",)
"""Methods that need another training, which their own cost does not hold."""
NOTES = {
    "front": "On the front: no method has both a higher mean accuracy and less of this work.",
    "GPU": "GPU-hours: wall time of pretraining × GPUs.",
    "CPU": "CPU-hours: wall time of pretraining × processes; the threads of a process are not counted.",
    "mixed": "Hours of GPUs and of CPUs are not comparable, so the front is by images seen.",
    "energy": "Energy: as the counters say, which include other jobs on the same processors or card.",
    "taught": "Distillation's row leaves out its teacher's training, so it is not on the front.",
}


@dataclass(frozen=True, slots=True)
class Work:
    """One measure of what a training took."""

    name: str
    title: str
    text: Callable[[float | None], str]
    of: Callable[[Entry], float | None]


IMAGES = Work("images_seen", "training images seen", count, lambda e: e.average("images_seen"))
VIEWS = Work(
    "views_seen", "views the network saw in training", count, lambda e: e.average("views_seen")
)


def device_time(board: Standings) -> Work:
    """Wall time × devices in seconds, named after the device; over kinds of device it is just time."""
    device = _device(board) or "device"
    return Work("device_seconds", f"{device} time of training", duration, _device_seconds)


def front(board: Standings, metric: Metric, work: Work) -> list[Name]:
    """Methods that no other beats in accuracy without more work, by rising work.

    Empty for the time of devices that are not of one kind.
    """
    if work.name == "device_seconds" and _device(board) is None:
        return []
    points = {
        entry.name: (cost, accuracy)
        for entry in board.methods
        if entry.method not in TAUGHT
        if (cost := work.of(entry)) and (accuracy := entry.mean(metric)) is not None
    }
    return sorted(undominated(points), key=lambda name: points[name])


def undominated(points: Mapping[Name, tuple[float, float]]) -> set[Name]:
    """Names of (cost, gain) for which no other point costs no more, gains no less, and differs."""
    return {
        name
        for name, (cost, gain) in points.items()
        if not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points.values())
    }


def cost_table(board: Standings, metric: Metric = LINEAR) -> Table:
    """One row per trained row of the study, the methods by accuracy, then the reference."""
    device = _device(board)
    work = device_time(board) if device else IMAGES
    best = front(board, metric, work)
    known_energy = any(entry.average("energy_joules") is not None for entry in board.entries)
    columns = (
        Column("method", "Method", numeric=False),
        Column("linear", "Linear probe %"),
        Column("front", "On the front", "Beaten by no method in accuracy and work", numeric=False),
        Column("images_seen", "Images seen"),
        Column("views_seen", "Views seen"),
        Column("hours", f"{device}-hours" if device else "Device-hours"),
        Column("peak_memory_mb", "Peak memory"),
        *((Column("energy", "Energy"),) if known_energy else ()),
        Column("settings_tried", "Settings tried"),
    )
    ordered = sorted(board.methods, key=lambda e: -(e.mean(metric) or 0.0)) + list(board.references)
    rows = tuple(_row(entry, metric, best) for entry in ordered if entry.trained)
    taught = any(entry.method in TAUGHT for entry in board.methods)
    notes = [NOTES["front"], NOTES[device or "mixed"]]
    notes += [NOTES["energy"]] * known_energy + [NOTES["taught"]] * taught
    return Table("What training took, means over seeds", columns, (Group("", rows),), tuple(notes))


def _row(entry: Entry, metric: Metric, best: list[Name]) -> dict[str, Cell]:
    accuracy, seconds = entry.mean(metric), _device_seconds(entry)
    hours = None if seconds is None else seconds / 3600
    joules = entry.average("energy_joules")
    on_front = entry.name in best
    cells = {
        "method": Cell(entry.label, entry.label),
        "linear": Cell(percent(accuracy), accuracy),
        "front": Cell("yes" if on_front else "", int(on_front), bold=on_front),
        "hours": Cell(NOTHING if hours is None else f"{hours:.3g}", hours),
        "energy": Cell(NOTHING if joules is None else f"{joules / 3600:.3g} Wh", joules),
    }
    for name, shown in (
        ("images_seen", count),
        ("views_seen", count),
        ("peak_memory_mb", memory),
        ("settings_tried", count),
    ):
        value = entry.average(name)
        cells[name] = Cell(shown(value), value)
    return cells


def _device_seconds(entry: Entry) -> float | None:
    spent = [
        float(str(run["train_seconds"])) * int(str(run["ranks"] or 1))
        for run in entry.finished
        if run["train_seconds"] is not None
    ]
    return float(np.mean(spent)) if spent else None


def _device(board: Standings) -> str | None:
    """ "GPU" or "CPU" if all trainings ran on one kind, else None."""
    kinds = {run["device"] for entry in board.entries if entry.trained for run in entry.finished}
    return DEVICES.get(str(next(iter(kinds)))) if len(kinds) == 1 else None
