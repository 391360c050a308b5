"""A thousand and more mutilated studies: each is planned, or refused by one message that names the key."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replearn.config import load_study
from replearn.errors import UserError
from replearn.planning import plan

BASE = yaml.safe_load("""
name: fuzz
title: A study
datasets: {digits: {limit: 400, validation: 0.2}}
seeds: [0, 1]
recipe: small
encoder: {name: convnet, width: 8, patch: 4}
training: {epochs: 2, batch_size: 64, warmup_epochs: 0.5, precision: auto, monitor: {epochs: 1, bank: 100}}
evaluation: {knn: {k: 20, temperature: 0.1}, linear: {standardise: true}}
tracking: {enabled: true, experiment: fuzz}
device: cpu
jobs_per_gpu: 1
on_error: record
methods:
  raw_pixels:
  simclr: {temperature: 0.5, optimizer: {name: sgd, lr: 0.1}, views: {blur: 0.5}}
  byol: {training: {epochs: 3}, variants: {slow: {base_momentum: 0.999}}}
  dino: {encoder: {width: 16}}
  clip: {context: 8}
""")

ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=12),
    st.sampled_from(
        ["", "1e-3", "auto", "../x", "a b", "$(rm -rf /)", "<script>", "\n", "\x00", "ü", "0x10"]
    ),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(
        st.sampled_from(["name", "lr", "size", "x", "k"]), st.integers(-2, 9), max_size=2
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLACES = places(BASE)


@st.composite
def mutilated(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A study with one to three things wrong or odd in it, and the keys that were touched."""
    study = copy.deepcopy(BASE)
    touched = []
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PLACES))
        parent: Any = study
        try:
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        match draw(st.sampled_from(["replace", "remove", "rename", "add"])):
            case "replace":
                parent[path[-1]] = draw(ODD)
            case "remove":
                del parent[path[-1]]
            case "rename" if isinstance(parent, dict):
                typo = draw(st.text(min_size=1, max_size=8) | st.just(f"{path[-1]}s"))
                parent[typo] = parent.pop(path[-1])
            case _ if isinstance(parent, dict):
                parent[draw(st.text(max_size=6) | st.integers() | st.none())] = draw(ODD)
        touched.append(".".join(map(str, path)))
    return study, touched


@settings(max_examples=1500, suppress_health_check=list(HealthCheck))
@given(mutilated())
def test_a_mutilated_study_is_planned_or_refused(case: tuple[dict[str, Any], list[str]]) -> None:
    study, _ = case
    folder = Path(FOLDER)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study, allow_unicode=False), encoding="utf-8")
    try:
        planned = plan(load_study(file, {"results": str(folder / "results")}))
    except UserError as error:
        refused = error
    else:
        assert planned.runs
        for run in planned.runs:
            assert math.isfinite(run.config.optimizer.lr)
            assert run.layout.root.resolve().is_relative_to(folder.resolve())
        return
    told = str(refused)
    assert refused.where is not None and refused.where.startswith(str(file)), told
    assert len(told) < 2000, told
    assert "Traceback" not in told and "pydantic" not in told, told


FOLDER = ""


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    global FOLDER
    FOLDER = str(tmp_path_factory.mktemp("fuzz"))


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_a_file_that_is_no_study(content: bytes) -> None:
    file = Path(FOLDER) / "any.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as told:
        load_study(file)
    assert str(file) in str(told.value)
