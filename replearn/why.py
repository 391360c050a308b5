"""Why a run would run again: what is finished, and what has changed since it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replearn.config import load_study
from replearn.differences import protocol_differences, run_differences
from replearn.errors import UserError, nearest
from replearn.failures import word_in
from replearn.identity import (
    KEY_LENGTH,
    evaluation_sources,
    feature_protocols,
    feature_sources,
)
from replearn.jsonfile import read_json
from replearn.layout import FAMILIES, protocol_file
from replearn.planning import PlannedRun, plan

FEATURES = tuple(
    f"{name}.safetensors" for name in ("train", "validation", "test", "views", "shifted")
)
"""What `replearn embed` writes of every run."""
SAME = "nothing that counts differs: it was removed or never finished"


@dataclass(frozen=True, slots=True)
class Question:
    """The run that was asked for: as the study plans it, and as it lies on disk if a place was named."""

    id: str
    planned: PlannedRun | None
    directory: Path | None


def why(study: Path, run: str) -> list[str]:
    """What is finished of a run, what would run, and why, in lines of plain words.

    Args:
        study: the study in YAML.
        run: a run's directory, its key, or `<dataset>/<method>/<variant>/seed-<seed>`.

    Raises:
        UserError: the study is not valid, or neither it nor its results know the run.
    """
    planned = plan(load_study(study))
    results = planned.study.results
    question = _understood(run, planned.runs, results, str(study))
    lines = [question.id]
    now = question.planned
    if now is None:
        return [*lines, f"  {study} does not plan it any more: {question.directory} is left over"]
    lines.append(f"  planned     as {now.config.key}, in {now.layout.root}")
    if question.directory is not None and question.directory.name != now.config.key:
        lines += _against(question.directory, now)
    return [*lines, *_training(now), *_features(now, results), *_evaluation(now, results)]


def _understood(asked: str, runs: Iterable[PlannedRun], results: Path, study: str) -> Question:
    by_id = {run.config.id: run for run in runs}
    by_key = {run.config.key: run for run in by_id.values()}
    if asked in by_key:
        return Question(by_key[asked].config.id, by_key[asked], None)
    places = [Path(asked), results / "runs" / asked]
    if re.fullmatch(rf"[0-9a-f]{{{KEY_LENGTH}}}", asked):
        places += sorted((results / "runs").glob(f"*/*/*/*/{asked}"))
    place = next((place for place in places if (place / "config.json").is_file()), None)
    if place is not None:
        name = _id_of(read_json(place / "config.json"))
        return Question(name, by_id.get(name), place)
    if asked in by_id:
        return Question(asked, by_id[asked], None)
    stored = _stored(results / "runs" / asked)
    if stored:
        return Question(asked, None, stored[0])
    raise UserError(
        f"no run is called '{asked}'",
        where=study,
        hint=f"{nearest(asked, by_id)} A directory or a key of a run is understood too.",
    )


def _id_of(config: Mapping[str, Any]) -> str:
    return (
        f"{config['dataset']['name']}/{config['method']}/{config['variant']}/seed-{config['seed']}"
    )


def _against(directory: Path, now: PlannedRun) -> list[str]:
    """How the run of one key differs from the one that is planned."""
    old = read_json(directory / "config.json")
    changes = run_differences(old, directory, now.config.model_dump(mode="json"))
    return [f"  {directory.name} is another run:", *_indented(changes or [SAME])]


def _training(now: PlannedRun) -> list[str]:
    layout = now.layout
    if all(file.is_file() for file in (layout.encoder, layout.pretrain, layout.history)):
        return [_finished("training", layout.pretrain)]
    if (layout.state / "checkpoint.safetensors").is_file():
        return [_would("training", "it was stopped, and goes on from its checkpoint")]
    others = [place for place in _stored(layout.root.parent) if place != layout.root]
    if not others:
        return [_would("training", "it has never been trained")]
    old = read_json(others[0] / "config.json")
    changes = run_differences(old, others[0], now.config.model_dump(mode="json"))
    head = _would("training", f"there is {others[0].name}, but")
    return [head, *_indented(changes or [SAME])]


def _features(now: PlannedRun, results: Path) -> list[str]:
    layout = now.layout
    protocols = feature_protocols(now.config.evaluation.model_dump(mode="json"))
    files = [layout.features / name for name in FEATURES]
    if now.captions:
        files.append(layout.features / "text.safetensors")
    return _after("features", layout.pretrain, files, results, protocols, feature_sources())


def _evaluation(now: PlannedRun, results: Path) -> list[str]:
    layout = now.layout
    protocols = now.config.evaluation.model_dump(mode="json")
    families = [family for family in FAMILIES if family != "text" or now.captions]
    files = [layout.evaluation / f"{family}.json" for family in families]
    first = layout.features / FEATURES[0]
    return _after("evaluation", first, files, results, protocols, evaluation_sources())


def _after(
    step: str,
    before: Path,
    files: list[Path],
    results: Path,
    protocols: Mapping[str, Any],
    sources: Mapping[str, str],
) -> list[str]:
    """Whether a step's files are there; if not, how older ones beside them differ."""
    missing = [file.name for file in files if not file.is_file()]
    if not missing:
        return [_finished(step, files[0])]
    if not before.is_file():
        return [_would(step, "the step before it does")]
    folder = files[0].parent
    kind = folder.name.partition("-")[0]
    others = [place for place in _newest(folder.parent.glob(f"{kind}-*")) if place != folder]
    others = [place for place in others if any(place.iterdir())]
    if len(missing) < len(files) or not others:
        return [_would(step, f"missing: {', '.join(missing)}")]
    stored = protocol_file(results, others[0].name.partition("-")[2])
    changes = protocol_differences(stored, protocols, sources)
    head = _would(step, f"there is {others[0].name}, but")
    return [head, *_indented(changes or [SAME])]


def _stored(folder: Path) -> list[Path]:
    """Directories of trained runs in a folder, the newest first."""
    return _newest(file.parent for file in folder.glob("*/pretrain.json"))


def _newest(places: Iterable[Path]) -> list[Path]:
    return sorted(places, key=lambda place: place.stat().st_mtime, reverse=True)


def _finished(step: str, file: Path) -> str:
    failure = word_in(file)
    if failure is None:
        return f"  {step:12s}finished, nothing to do"
    return f"  {step:12s}{failure.status}: {failure.message}; replearn retry forgets it"


def _would(step: str, reason: str) -> str:
    return f"  {step:12s}would run: {reason}"


def _indented(changes: Iterable[str]) -> list[str]:
    return [f"{'':14s}{change}" for change in changes]
