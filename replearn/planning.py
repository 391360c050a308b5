"""A study laid out as runs, each with its key and its place on disk; nothing is computed here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from replearn.config import DatasetIdentity, RunConfig, Study, resolve, variants_of
from replearn.data import Options as DatasetOptions
from replearn.errors import UserError
from replearn.evaluate.protocol import EvaluationConfig
from replearn.identity import (
    canonical,
    evaluation_key,
    evaluation_sources,
    feature_protocols,
    feature_sources,
    features_key,
    run_key,
    training_sources,
)
from replearn.jsonfile import write_if_changed, write_text
from replearn.layout import (
    RunLayout,
    dataset_directory,
    protocol_file,
    run_directory,
    study_directory,
)
from replearn.methods.options import METHODS, DistillationOptions, MethodOptions


@dataclass(frozen=True, slots=True)
class PlannedDataset:
    """A dataset of the study and where it will be prepared."""

    name: str
    options: DatasetOptions
    digest: str
    directory: Path

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.json"

    @property
    def request(self) -> Path:
        """JSON file with name and options, the input of `replearn prepare`."""
        return self.directory.with_name(f"{self.directory.name}.json")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run and its files."""

    config: RunConfig
    layout: RunLayout
    teacher: Path | None = None
    """encoder.safetensors of the run that this one learns from."""

    @property
    def captions(self) -> bool:
        """Whether the run learns from captions, and hence is evaluated on texts too."""
        return self.config.options.supervision == "captions"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A cell of the comparison that cannot be, and why."""

    dataset: str
    method: str
    variant: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All runs of a study."""

    study: Study
    datasets: dict[str, PlannedDataset]
    runs: tuple[PlannedRun, ...]
    skipped: tuple[Skipped, ...]

    @property
    def study_directory(self) -> Path:
        return study_directory(self.study.results, self.study.name)

    @property
    def file(self) -> Path:
        return self.study_directory / "plan.json"

    @property
    def report(self) -> Path:
        return self.study.reports / self.study.name / "index.html"


def plan(study: Study) -> Plan:
    """Expand a study into runs.

    Raises:
        UserError: a dataset's files are missing, or a batch cannot be filled.
    """
    cache = study.results / "data" / ".digests.json"
    datasets = {}
    for name, options in study.datasets.items():
        digest = options.digest(cache, name=name)
        directory = dataset_directory(study.results, name, digest)
        datasets[name] = PlannedDataset(name, options, digest, directory)
    runs: list[PlannedRun] = []
    skipped: list[Skipped] = []
    for dataset, method in itertools.product(datasets.values(), study.methods):
        for variant in variants_of(study, method):
            reason = _obstacle(dataset.options, method)
            try:
                runs += [] if reason else _runs(study, dataset, method, variant)
            except UserError as error:
                if study.on_error == "stop":
                    raise
                reason = error.message
            if reason:
                skipped.append(Skipped(dataset.name, method, variant, reason))
    if not runs:
        raise UserError(
            f"no run is possible: {skipped[0].reason}", where=f"{study.source}: methods"
        )
    return Plan(study, datasets, tuple(runs), tuple(skipped))


def write(planned: Plan) -> None:
    """Write the plan, the runs' configurations and the datasets' requests, each only if it changed.

    Beside them lies what the keys were made of, so that `replearn why` can name what has changed.
    """
    for dataset in planned.datasets.values():
        request = {"name": dataset.name, "options": dataset.options.model_dump(mode="json")}
        write_if_changed(dataset.request, canonical(request) + "\n")
    for run in planned.runs:
        write_if_changed(run.layout.config, canonical(run.config.model_dump(mode="json")) + "\n")
        _write_once(run.layout.sources, sources_of(run.config))
    evaluation = planned.study.evaluation
    protocols = evaluation.model_dump(mode="json")
    features, evaluations = (
        protocol_file(planned.study.results, key) for key in protocol_keys(evaluation)
    )
    seen = feature_protocols(protocols)
    _write_once(features, {"protocols": seen, "sources": feature_sources()})
    _write_once(evaluations, {"protocols": protocols, "sources": evaluation_sources()})
    write_if_changed(planned.file, canonical(summary(planned)) + "\n")


def summary(planned: Plan) -> dict[str, Any]:
    """What `plan.json` says: the runs with their directories, the datasets, and what was skipped."""
    study = planned.study
    return {
        "study": study.name,
        "title": study.title or study.name,
        "description": study.description,
        "source": study.source,
        "experiment": study.tracking.experiment or study.name,
        "on_error": study.on_error,
        "results": str(study.results),
        "report": str(planned.report),
        "datasets": {name: str(dataset.manifest) for name, dataset in planned.datasets.items()},
        "runs": [
            {
                "dataset": run.config.dataset.name,
                "method": run.config.method,
                "variant": run.config.variant,
                "seed": run.config.seed,
                "key": run.config.key,
                "directory": str(run.layout.root),
                "features": str(run.layout.features),
                "evaluation": str(run.layout.evaluation),
            }
            for run in planned.runs
        ],
        "skipped": [
            {"dataset": s.dataset, "method": s.method, "variant": s.variant, "reason": s.reason}
            for s in planned.skipped
        ],
    }


def layout_of(config: RunConfig, root: Path) -> RunLayout:
    """The files of a run whose directory is `root`."""
    return RunLayout(root, *protocol_keys(config.evaluation))


@lru_cache
def protocol_keys(evaluation: EvaluationConfig) -> tuple[str, str]:
    """Keys of the features and of the evaluations that follow these protocols, the same for every run."""
    protocols = evaluation.model_dump(mode="json")
    features = features_key(protocols, feature_sources())
    return features, evaluation_key(protocols, evaluation_sources())


def _write_once(path: Path, value: Any) -> None:
    """Write what a key was made of; under its key it never changes."""
    if not path.is_file():
        write_text(path, canonical(value) + "\n", durable=False)


def sources_of(config: RunConfig) -> dict[str, str]:
    """Digests of what determines a run's weights."""
    stops = config.training.stop_on_collapse
    return training_sources(config.options.implementation, stops=stops)


def _runs(study: Study, dataset: PlannedDataset, method: str, variant: str) -> Iterator[PlannedRun]:
    parts = resolve(study, dataset.name, method, variant)
    options = parts["options"]
    if options.trained:
        _check_batch(study, dataset, method, parts["training"].batch_size)
    captions = dataset.options.captions
    supervision = options.supervision if options.trained else "-"
    if supervision == "captions" and captions == "templates":
        supervision = "template captions"
    sources = training_sources(options.implementation, stops=parts["training"].stop_on_collapse)
    seeds = study.seeds if options.seeded else study.seeds[:1]
    first = RunConfig(
        dataset=DatasetIdentity(name=dataset.name, digest=dataset.digest, captions=captions),
        method=method,
        variant=variant,
        seed=seeds[0],
        evaluation=study.evaluation,
        device=study.device,
        jobs_per_gpu=study.jobs_per_gpu,
        on_error=study.on_error,
        supervision=supervision,
        **parts,
    )
    content = first.model_dump(mode="json")
    teachers = _teachers(study, dataset, options)
    for seed in seeds:
        teacher = teachers.get(seed)
        identity = {"seed": seed, "teacher": teacher.config.key if teacher else None}
        key = run_key({**content, **identity}, sources)
        config = first.model_copy(update={**identity, "key": key})
        root = run_directory(study.results, dataset.name, method, variant, seed, key)
        learns_from = teacher.layout.encoder if teacher else None
        yield PlannedRun(config, layout_of(config, root), learns_from)


def _teachers(
    study: Study, dataset: PlannedDataset, options: MethodOptions
) -> dict[int, PlannedRun]:
    """The run of each seed that a run with these options learns from, if it learns from one."""
    if not isinstance(options, DistillationOptions):
        return {}
    return {run.config.seed: run for run in _runs(study, dataset, *options.teacher_row)}


def _obstacle(dataset: DatasetOptions, method: str) -> str | None:
    supervision = METHODS[method].supervision
    if supervision == "labels" and not dataset.has_labels:
        return "the method needs labels and the dataset has none"
    if supervision == "captions" and dataset.captions == "none":
        return "the method needs captions and the dataset has none"
    return None


def _check_batch(study: Study, dataset: PlannedDataset, method: str, batch_size: int) -> None:
    if batch_size % study.gpus_per_run:
        raise UserError(
            f"{study.gpus_per_run} GPUs cannot share a batch of {batch_size} images evenly",
            where=f"{study.source}: gpus_per_run",
            hint=f"Make methods.{method}'s batch_size a multiple of {study.gpus_per_run}.",
        )
    limit = dataset.options.limit
    if limit is None:
        return
    training = int(limit * (1 - dataset.options.validation))
    if batch_size > training:
        raise UserError(
            f"a batch of {batch_size} is larger than the {training} training images",
            where=f"{study.source}: training.batch_size",
            hint=f"Lower batch_size or raise datasets.{dataset.name}.limit.",
        )
