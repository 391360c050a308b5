"""What one more seed, one more method and one more rank cost, as whole studies run by Snakemake.

    python -m benchmarks.cost

Studies of handwritten digits on one core, one job at a time, so that wall times add up. A line through the
times at 1, 2 and 3 seeds gives what a further seed costs; what is left after its training steps is fixed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Row, Table, one_by_one, options, run
from replearn.errors import UserError
from replearn.provenance import CHECKOUT

SHARE = 0.02
"""What the fixed cost of a further seed may be of its run."""
PROCESSES = 4
"""Of one run: pretrain, embed, select, evaluate."""
METHODS = ("simclr", "supervised", "autoencoder", "byol")


def study(seeds: int, methods: int, epochs: int) -> dict[str, Any]:
    """Small images, the small encoder."""
    return {
        "name": "cost",
        "datasets": {"digits": {"size": 28}},
        "seeds": list(range(seeds)),
        "encoder": {"name": "convnet"},
        "training": {"epochs": epochs, "batch_size": 128},
        "methods": {name: {} for name in METHODS[:methods]},
        "tracking": {"enabled": False},
    }


def finished(folder: Path, content: dict[str, Any]) -> tuple[float, list[dict[str, float]]]:
    """Seconds that Snakemake took for a study in `folder`, and where each of its runs spent them."""
    file = folder / "study.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", str(file)]
    command += ["--snakefile", str(CHECKOUT / "Snakefile"), "--directory", str(folder)]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--quiet", "all"],
        cwd=folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise UserError("Snakemake failed", hint="\n  ".join(done.stdout.splitlines()[-15:]))
    files = sorted((folder / "results").glob("runs/**/pretrain.json"))
    return took, [_seconds(file.parent) for file in files]


def _seconds(run: Path) -> dict[str, float]:
    """What a run spent on training steps, on choosing settings and on measuring."""
    training = json.loads((run / "pretrain.json").read_text())["provenance"]["training_seconds"]
    seconds = {"training": training, "select": 0.0, "evaluate": 0.0}
    for file in run.glob("features-*/evaluation-*/*.json"):
        part = "select" if file.stem == "select" else "evaluate"
        seconds[part] += json.loads(file.read_text())["provenance"]["wall_seconds"]
    return seconds


def starting() -> float:
    """Seconds until a process of Python has imported what an evaluation needs, the median of five."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "import replearn.evaluate.run"],
            check=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        times.append(time.perf_counter() - begin)
    return sorted(times)[len(times) // 2]


def against_seeds(most: int, epochs: int) -> Iterator[Table]:
    """Wall time at 1 … `most` seeds of one method, and the cost of a further one."""
    table = Table("Wall time against seeds (SimCLR, one core)")
    yield table
    walls, spent = [], []
    for seeds in one_by_one(range(1, most + 1), "seeds"):
        wall, facts = _in_new_folder(study(seeds, 1, epochs))
        walls.append(wall)
        spent += facts
        table.rows.append(Row(f"{seeds} seed{'s' if seeds > 1 else ''}", {"wall": wall}, "s"))
    slope, start = np.polyfit(range(1, most + 1), walls, 1)
    fitted = start + slope * np.arange(1, most + 1)
    worst = float(np.abs(np.array(walls) / fitted - 1).max())
    parts = {name: float(np.mean([run[name] for run in spent])) for name in spent[0]}
    fixed = float(slope) - parts["training"]
    started = PROCESSES * starting()
    table.rows.extend(
        [
            Row("a further seed", {"wall": float(slope)}, "s"),
            Row("of it, training steps", {"wall": parts["training"]}, "s"),
            Row("of it, everything else", {"wall": fixed}, "s"),
            Row(f"  starting {PROCESSES} processes", {"wall": started}, "s"),
            Row("  choosing settings", {"wall": parts["select"]}, "s"),
            Row("  measuring", {"wall": parts["evaluate"]}, "s"),
            Row(
                "  features, files, Snakemake",
                {"wall": fixed - started - parts["select"] - parts["evaluate"]},
                "s",
            ),
        ]
    )
    table.notes.extend(
        [
            f"no time is further than {worst:.1%} from the line",
            "starting: Python, torch and our own modules, until the first line of work",
            f"it is at most {SHARE:.0%} of a run whose training takes {fixed / SHARE / 60:.0f} min",
        ]
    )


def against_methods(epochs: int) -> Iterator[Table]:
    """Wall time with one, two and four methods."""
    table = Table("Wall time against methods (one seed, one core)")
    yield table
    for count in one_by_one((1, 2, 4), "methods"):
        wall, facts = _in_new_folder(study(1, count, epochs))
        steps = sum(each["training"] for each in facts)
        values = {"wall": wall, "training steps": steps}
        table.rows.append(Row(", ".join(METHODS[:count]), values, "s"))


def against_ranks(ranks: int, epochs: int) -> Iterator[Table]:
    """Images per second of one training on 1 … `ranks` processes, on CPUs with a thread each."""
    table = Table(
        "One training on several ranks (SimCLR, batch 128 shared, one thread each)",
        notes=["gloo on CPUs; the small encoder is the hard case, its steps last milliseconds"],
    )
    yield table
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _, _ = finished(place, study(1, 1, 1))
        (config,) = (place / "results").glob("runs/**/config.json")
        content = json.loads(config.read_text())
        content["training"]["epochs"] = epochs
        config.write_text(json.dumps(content))
        (manifest,) = (place / "results").glob("data/digits/*/manifest.json")
        for count in one_by_one(range(1, ranks + 1), "ranks"):
            output = place / str(count)
            script = "import sys; from replearn.launch import run_ranks"
            script += "; run_ranks(sys.argv[2:], int(sys.argv[1]))"
            command = [sys.executable, "-c", script, str(count), "pretrain", str(config)]
            command += ["--dataset", str(manifest), "--output", str(output), "--threads", "1"]
            environment = {
                **os.environ,
                "PYTHONPATH": str(CHECKOUT),
                "CUDA_VISIBLE_DEVICES": "",
                "OMP_NUM_THREADS": "1",
            }
            subprocess.run(command, check=True, capture_output=True, env=environment)
            facts = json.loads((output / "pretrain.json").read_text())["provenance"]
            values = {"training": facts["images_per_second"]}
            table.rows.append(Row(f"{count} rank{'s' if count > 1 else ''}", values, "images/s"))


def _in_new_folder(content: dict[str, Any]) -> tuple[float, list[dict[str, float]]]:
    folder = Path(tempfile.mkdtemp())
    try:
        return finished(folder, content)
    finally:
        shutil.rmtree(folder)


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    epochs, seeds = (1, 2) if chosen.quick else (20, 3)
    cores = len(os.sched_getaffinity(0))
    yield from against_seeds(seeds, epochs)
    yield from against_methods(epochs)
    yield from against_ranks(min(cores, 4), epochs)


def main() -> None:
    run("cost", options(__doc__ or "", device=False, threads=False).parse_args(), measure)


if __name__ == "__main__":
    main()
