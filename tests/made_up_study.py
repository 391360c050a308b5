"""A small study's files as the workflow leaves them, for tests of what comes after the workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from replearn.tracking import track

BORN = 1_790_000_000
"""When the made-up runs were made, in seconds since 1970."""

SECRET = "hush-hush"


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def metrics_file(name: str, metrics: dict[str, Any], **provenance: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "run": {},
        "protocol": {"name": name, "version": 2},
        "metrics": metrics,
        "provenance": {"created": "2026-09-21T14:13:20+00:00", "wall_seconds": 9.5, **provenance},
    }


class MadeUpStudy:
    """A finished study's files, as the workflow leaves them."""

    def __init__(self) -> None:
        self.plan: dict[str, Any] = {
            "study": "toy",
            "title": "A toy",
            "description": "Two methods, two seeds.",
            "experiment": "toys",
            "results": "results",
            "report": "reports/toy/index.html",
            "source": "toy.yaml",
            "datasets": {"shapes": "results/data/shapes/0/manifest.json"},
            "runs": [],
            "skipped": [],
        }
        self.file = Path("results/studies/toy/plan.json")
        self.receipt = self.file.with_name("mlflow.json")
        write(
            Path("results/data/shapes/0/manifest.json"),
            {
                "source": "folder",
                "digest": "d" * 64,
                "classes": ["disc", "star"],
                "splits": {"train": {"count": 90}, "test": {"count": 10}},
            },
        )
        for path in (self.plan["report"], "results/studies/toy/tables/comparison.md", "toy.yaml"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("shown to people")
        for method in ("simclr", "byol"):
            for seed in (0, 1):
                self.add(method, seed)

    def add(self, method: str, seed: int, *, epochs: int = 3, status: str = "ok") -> Path:
        """Write a run's files and plan it; its key depends on method, seed and epochs."""
        key = f"{method[0]}{epochs:03d}{seed:08d}".replace("s", "a")
        root = Path(f"results/runs/shapes/{method}/default/seed-{seed}/{key}")
        evaluation = root / "features-0" / "evaluation-0"
        config = {
            "dataset": {"name": "shapes", "digest": "d" * 64},
            "method": method,
            "seed": seed,
            "key": key,
            "options": {"temperature": 0.2},
            "training": {"epochs": epochs},
            "views": [{"size": 8}, {"size": 4}],
            "evaluation": {"knn": {"k": 20}},
            "device": "auto",
            "recipe": "small",
            "supervision": "none",
        }
        write(root / "config.json", config)
        write(
            root / "pretrain.json",
            metrics_file("pretrain", {"status": status, "final_loss": 1.25}, device="cpu"),
        )
        lines = []
        for step in range(epochs * 10):
            line = {"time": BORN + step, "step": step, "epoch": step / 10, "loss": 2.0 - step / 100}
            if step % 10 == 0:
                line |= {"knn": 0.5 + step / 1000, "rank_me": None}
            lines.append(json.dumps(line))
        (root / "history.jsonl").write_text("\n".join(lines) + "\n")
        (root / "encoder.safetensors").write_bytes(b"weights")
        accuracy = 0.5 + 0.1 * seed
        write(evaluation / "knn.json", metrics_file("knn", {"accuracy": accuracy}))
        write(evaluation / "linear.json", metrics_file("linear", {"accuracy": accuracy + 0.1}))
        collapse = {"h_rank_me": 30.0, "z_rank_me": None, "verdict": "healthy"}
        write(evaluation / "collapse.json", metrics_file("collapse", collapse))
        write(evaluation / "structure.json", metrics_file("structure", {"nmi": 0.4}))
        write(evaluation / "robustness.json", metrics_file("robustness", {"invariance_hue": None}))
        self.plan["runs"].append(
            {
                "dataset": "shapes",
                "method": method,
                "variant": "default",
                "seed": seed,
                "key": key,
                "directory": str(root),
                "features": str(evaluation.parent),
                "evaluation": str(evaluation),
            }
        )
        write(self.file, self.plan)
        return root

    def sync(self) -> dict[str, Any]:
        track(self.file, receipt=self.receipt)
        said: dict[str, Any] = json.loads(self.receipt.read_text())
        return said
