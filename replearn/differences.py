"""What has changed since a stored key was made: values of the configuration, and modules of the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replearn.formats import NOTHING, join
from replearn.identity import (
    counted,
    evaluation_key,
    evaluation_sources,
    feature_sources,
    features_key,
    run_key,
    training_sources,
)
from replearn.jsonfile import read_json
from replearn.layout import protocol_file
from replearn.methods.options import METHODS
from replearn.recorded import flattened

UNRECORDED = "other source, which is not recorded"


def changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Values that differ between two nested configurations: "training.epochs: 4 → 8"."""
    before, after = flattened(old), flattened(new)
    return [
        f"{name}: {before.get(name, NOTHING)} → {after.get(name, NOTHING)}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def changed_modules(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Modules whose code differs, with those that only one side has: "replearn.train (new)"."""
    found = []
    for module in sorted({*old, *new}):
        if module not in old:
            found.append(f"{module} (new)")
        elif module not in new:
            found.append(f"{module} (no longer used)")
        elif old[module] != new[module]:
            found.append(module)
    return found


def current_sources(config: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what trains a run of this configuration today; empty if its method is gone."""
    options = METHODS.get(config["method"])
    stops = bool(config["training"].get("stop_on_collapse"))
    return training_sources(options.implementation, stops=stops) if options else {}


def code_of_run(config: Mapping[str, Any], directory: Path) -> str:
    """What code a stored run was made by, if not by today's: "other code (replearn.train)", else ""."""
    now = current_sources(config)
    if run_key(config, now) == config["key"]:
        return ""
    return code_words(_read(directory / "sources.json"), now)


def code_words(stored: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Which modules differ from those of today, in words; "" if none does."""
    if stored is None:
        return UNRECORDED
    modules = changed_modules(stored, now)
    return f"other code ({join(modules)})" if modules else ""


def run_differences(old: Mapping[str, Any], directory: Path, new: Mapping[str, Any]) -> list[str]:
    """Why a stored run is not the planned one.

    Args:
        old: its config.json.
        directory: where it lies, with its sources.json if it has one.
        new: dump of the planned RunConfig.
    """
    values = changed_values(_named(counted(old)), _named(counted(new)))
    code = code_of_run(old, directory)
    return [*values, f"made by {code}"] if code else values


def protocol_differences(
    file: Path, protocols: Mapping[str, Any], sources: Mapping[str, str]
) -> list[str]:
    """Why stored features or evaluations are not the planned ones.

    Args:
        file: what their key was made of, as planning wrote it.
        protocols: those of the plan.
        sources: digests of today's modules.
    """
    stored = _read(file)
    values = changed_values(stored["protocols"], protocols) if stored else []
    code = code_words(stored and stored["sources"], sources)
    return [*values, f"made by {code}"] if code else values


def stale(config: Mapping[str, Any], directory: Path, evaluation: Path) -> str:
    """Whether a run's stored numbers were made by code of another day, and which; "" if not.

    Args:
        config: its config.json.
        directory: of the run, in `<results>/runs/<dataset>/<method>/<variant>/seed-<seed>`.
        evaluation: of its evaluations, in the directory of its features.
    """
    found = code_of_run(config, directory)
    if found:
        return f"trained by {found}"
    results = directory.parents[5]
    protocols = config["evaluation"]
    for step, folder, make_key, sources in (
        ("embedded", evaluation.parent, features_key, feature_sources()),
        ("evaluated", evaluation, evaluation_key, evaluation_sources()),
    ):
        key = folder.name.rpartition("-")[2]
        if make_key(protocols, sources) != key:
            stored = _read(protocol_file(results, key))
            code = code_words(stored and stored["sources"], sources)
            if code:
                return f"{step} by {code}"
    return ""


def _named(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The digest of the dataset is called so."""
    kept = {name: value for name, value in parts.items() if name != "dataset"}
    return {"digest of the dataset": parts["dataset"], **kept}


def _read(file: Path) -> Any:
    return read_json(file) if file.is_file() else None
