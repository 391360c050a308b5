"""Small standings to test tables and findings with."""

from __future__ import annotations

from replearn.standings import KNN, LINEAR, Entry, Standings


def entry(
    method: str,
    linear: list[float],
    *,
    supervision: str = "none",
    reference: bool = False,
    deterministic: bool = False,
    verdicts: list[str] | None = None,
) -> Entry:
    shown = verdicts or ["healthy"] * max(len(linear), 1)
    runs = tuple(
        {
            "dataset": "toy",
            "method": method,
            "variant": "default",
            "seed": seed,
            "status": "ok",
            "verdict": verdict,
            "rule": f"rule of {verdict}",
            "directory": f"{method}/{seed}",
            "epochs": 10.0,
            "images_seen": 54_000,
            "views_seen": 108_000,
            "train_seconds": 38.0,
            "peak_memory_mb": 612.0,
            "images_per_second": 4120.0,
            "outside_model": 0.07,
            "settings_tried": 3,
            "ranks": 1,
            "device": "cpu",
            "energy_joules": None,
        }
        for seed, verdict in enumerate(shown)
    )
    values = {m: dict(enumerate(linear)) for m in (LINEAR, KNN) if linear}
    return Entry(
        method, "default", reference, not reference, deterministic, supervision, runs, values
    )


def board(*entries: Entry) -> Standings:
    labelled = any(each.values for each in entries)
    return Standings("toy", entries, lambda run: {}, labelled=labelled)
