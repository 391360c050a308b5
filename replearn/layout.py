"""Where every file of a study lives, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FAMILIES = ("knn", "linear", "collapse", "structure", "robustness", "text")
"""Families of metrics, each in a file `<family>.json`; "text" only of methods that saw captions."""


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The files of one run: training at the root, features below it, evaluations below those."""

    root: Path
    features_key: str
    evaluation_key: str

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def sources(self) -> Path:
        """Digests of the modules that the run's key counts, for `replearn why`."""
        return self.root / "sources.json"

    @property
    def state(self) -> Path:
        """Checkpoint and history in progress; not an output of any rule, so that Snakemake keeps it."""
        return self.root / "state"

    @property
    def encoder(self) -> Path:
        return self.root / "encoder.safetensors"

    @property
    def pretrain(self) -> Path:
        return self.root / "pretrain.json"

    @property
    def history(self) -> Path:
        return self.root / "history.jsonl"

    @property
    def features(self) -> Path:
        return self.root / f"features-{self.features_key}"

    @property
    def evaluation(self) -> Path:
        return self.features / f"evaluation-{self.evaluation_key}"


def run_directory(
    results: Path, dataset: str, method: str, variant: str, seed: int, key: str
) -> Path:
    """The directory of one run, `<results>/runs/<dataset>/<method>/<variant>/seed-<seed>/<key>`."""
    return results / "runs" / dataset / method / variant / f"seed-{seed}" / key


def dataset_directory(results: Path, dataset: str, digest: str) -> Path:
    """The directory of one prepared dataset, `<results>/data/<dataset>/<digest>`."""
    return results / "data" / dataset / digest[:12]


def study_directory(results: Path, study: str) -> Path:
    """Tidy results and tables of a study, `<results>/studies/<study>`."""
    return results / "studies" / study


def protocol_file(results: Path, key: str) -> Path:
    """What a features key or an evaluation key was made of, `<results>/protocols/<key>.json`."""
    return results / "protocols" / f"{key}.json"
