"""Keys: a number knows what it came from.

A run's key hashes its resolved configuration, the dataset's digest and the source of the modules that
determine its weights. Comments, docstrings and formatting do not count; neither does the order of YAML keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from replearn.sources import examined

KEY_LENGTH = 12

WITHOUT_EFFECT = frozenset(
    f"replearn.{name}"
    for name in (
        "cli",
        "collector",
        "config",
        "devices",
        "energy",
        "errors",
        "failures",
        "history",
        "identity",
        "jsonfile",
        "layout",
        "locks",
        "methods",
        "methods.options",
        "monitor",
        "planning",
        "progress",
        "provenance",
        "recipes",
        "sources",
        "validation",
        "views",
        "wholefile",
    )
)
"""Modules that cannot move a number: what they decide is in the resolved configuration, or in nothing."""


OUTSIDE_THE_KEY = frozenset(
    ("key", "variant", "evaluation", "device", "jobs_per_gpu", "on_error", "recipe", "supervision")
)
"""Parts of a run's configuration that may change while its key stays."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key_of(*parts: Any) -> str:
    """A short key over JSON-able parts."""
    return hashlib.sha256(canonical(list(parts)).encode()).hexdigest()[:KEY_LENGTH]


def source_digests(roots: Iterable[str]) -> dict[str, str]:
    """Digest of the normalised source of `roots` and of every module of the package that they import.

    Raises:
        ValueError: a root is no module of the package.
    """
    digests: dict[str, str] = {}
    waiting = list(roots)
    for root in waiting:
        if examined(root) is None:
            raise ValueError(f"no module {root} in the package")
    while waiting:
        module = waiting.pop()
        source = None if module in digests or module in WITHOUT_EFFECT else examined(module)
        if source is not None:
            digests[module] = source.digest
            waiting += source.imports
    return digests


@lru_cache
def training_sources(implementation: str, *, stops: bool = False) -> dict[str, str]:
    """Digests of what determines a method's weights.

    Args:
        implementation: the method's "module:Class".
        stops: whether a verdict on the features may end the training.
    """
    judging = ["replearn.evaluate.verdict", "replearn.evaluate.collapse"] if stops else []
    return source_digests(["replearn.pretrain", implementation.partition(":")[0], *judging])


@lru_cache
def feature_sources() -> dict[str, str]:
    """Digests of what turns a trained network into feature files."""
    return source_digests(["replearn.embed"])


@lru_cache
def evaluation_sources() -> dict[str, str]:
    """Digests of what turns feature files into metrics."""
    return source_digests(["replearn.evaluate.run"])


def run_key(config: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Key of a run from its resolved configuration and the digests of its sources.

    Args:
        config: dump of the RunConfig.
        sources: `training_sources` of its method.
    """
    return key_of(counted(config), sources)


def counted(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's key hashes of its configuration: no names for people, no devices, no evaluation."""
    kept = {name: value for name, value in config.items() if name not in OUTSIDE_THE_KEY}
    kept["dataset"] = kept["dataset"]["digest"]
    looks = () if kept["training"].get("stop_on_collapse") else ("monitor",)
    without_effect = ("images", *looks)
    kept["training"] = {k: v for k, v in kept["training"].items() if k not in without_effect}
    return kept


def feature_protocols(protocols: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the evaluation's protocols that feature files depend on."""
    return {name: protocols[name] for name in ("views", "robustness")}


def features_key(protocols: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Key of a run's features from the dump of the EvaluationConfig and `feature_sources`."""
    return key_of(sources, *feature_protocols(protocols).values())


def evaluation_key(protocols: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Key of a run's evaluations from the dump of the EvaluationConfig and `evaluation_sources`."""
    return key_of(protocols, sources)
