"""Keys: a number knows what it came from.

A run's key hashes its resolved configuration, the dataset's digest and the source of the modules that
determine its weights. Comments, docstrings and formatting do not count; neither does the order of YAML keys.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
KEY_LENGTH = 12

WITHOUT_EFFECT = frozenset(
    f"replearn.{name}"
    for name in (
        "cli",
        "config",
        "devices",
        "errors",
        "history",
        "identity",
        "jsonfile",
        "layout",
        "methods",
        "methods.options",
        "monitor",
        "planning",
        "progress",
        "provenance",
        "recipes",
        "validation",
        "views",
    )
)
"""Modules that cannot move a number: what they decide is in the resolved configuration, or in nothing."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key_of(*parts: Any) -> str:
    """A short key over JSON-able parts."""
    return hashlib.sha256(canonical(list(parts)).encode()).hexdigest()[:KEY_LENGTH]


def source_digests(roots: Iterable[str]) -> dict[str, str]:
    """Digest of the normalised source of `roots` and of every module of the package that they import."""
    digests: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in digests or module in WITHOUT_EFFECT:
            continue
        digests[module], imported = _examined(module)
        waiting += imported
    return digests


@lru_cache
def training_sources(implementation: str) -> dict[str, str]:
    """Digests of what determines a method's weights; `implementation` is its "module:Class"."""
    return source_digests(["replearn.pretrain", implementation.partition(":")[0]])


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
        config: dump of the RunConfig; names for people, devices and evaluation do not count.
        sources: `training_sources` of its method.
    """
    ignored = {"key", "variant", "evaluation", "device", "jobs_per_gpu", "recipe", "supervision"}
    counted = {name: value for name, value in config.items() if name not in ignored}
    counted["dataset"] = counted["dataset"]["digest"]
    without_effect = ("monitor", "images")
    counted["training"] = {k: v for k, v in counted["training"].items() if k not in without_effect}
    return key_of(counted, sources)


@lru_cache
def _examined(module: str) -> tuple[str, tuple[str, ...]]:
    path = _path_of(module)
    if path is None:
        raise ValueError(f"no module {module} in the package")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = tuple(sorted(_imports(tree)))
    _strip_docstrings(tree)
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), imported


def _imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("replearn.") and _path_of(name)}


def _path_of(module: str) -> Path | None:
    relative = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        node.body = [  # type: ignore[attr-defined]
            line
            for line in body
            if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        ] or [ast.Pass()]
