"""The teacher of a run: which one it is, how it moves the key, and that it comes as it was trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from replearn.build import build_method
from replearn.config import parse_study
from replearn.data import open_prepared
from replearn.errors import UserError
from replearn.methods.supervised import Supervised
from replearn.planning import Plan, plan
from replearn.teacher import trained_teacher
from tests.tiny_study import run_of


def planned(**methods: dict[str, Any]) -> Plan:
    return plan(parse_study({"name": "s", "datasets": {"digits": {}}, "methods": methods}, "study"))


def test_the_teacher_comes_as_it_was_trained(tiny_study: Plan) -> None:
    run = run_of(tiny_study, "distillation")
    dataset = open_prepared(tiny_study.datasets["digits"].directory)
    teacher = trained_teacher(run.config, run.teacher, dataset.manifest)
    assert isinstance(teacher, Supervised)
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    part = dataset.part("train")
    mean, std = dataset.manifest.mean[0], dataset.manifest.std[0]
    images = (torch.from_numpy(part.images.read()).float() / 255 - mean) / std
    labels = torch.from_numpy(part.labels)
    untrained = build_method(run_of(tiny_study, "supervised").config, dataset.manifest).eval()
    assert isinstance(untrained, Supervised)
    trained_loss, initial_loss = (
        F.cross_entropy(m.logits(images), labels).item() for m in (teacher, untrained)
    )
    assert trained_loss < initial_loss


def test_a_teacher_of_another_run_is_refused(tiny_study: Plan, tmp_path: Path) -> None:
    run = run_of(tiny_study, "distillation")
    found = open_prepared(tiny_study.datasets["digits"].directory).manifest
    shutil.copy(run_of(tiny_study, "simclr").layout.config, tmp_path / "config.json")
    with pytest.raises(UserError, match=f"is {run.config.teacher}, not"):
        trained_teacher(run.config, tmp_path / "encoder.safetensors", found)
    with pytest.raises(UserError, match="--teacher"):
        trained_teacher(run.config, None, found)


def test_each_seed_learns_from_the_teacher_of_that_seed() -> None:
    big = {"variants": {"big": {"encoder": {"width": 64}}}}
    study = planned(distillation={"teacher": "supervised/big"}, supervised=big)
    teachers = {run.config.key: run for run in study.runs if run.config.variant == "big"}
    students = [run for run in study.runs if run.config.method == "distillation"]
    assert len(students) == len(teachers) == 3
    for student in students:
        assert student.config.teacher is not None
        teacher = teachers[student.config.teacher]
        assert teacher.config.seed == student.config.seed
        assert student.teacher == teacher.layout.encoder
        assert student.config.encoder.width == 32 and teacher.config.encoder.width == 64
    assert all(run.teacher is None for run in teachers.values())


def test_the_key_follows_the_teacher_and_not_its_place(tmp_path: Path) -> None:
    def key(results: Path, **supervised: Any) -> str:
        raw = {
            "name": "s",
            "datasets": {"digits": {}},
            "methods": {"supervised": supervised, "distillation": {}},
            "results": str(results),
        }
        return run_of(plan(parse_study(raw, "study")), "distillation").config.key

    assert key(tmp_path / "a") == key(tmp_path / "b")
    assert key(tmp_path / "a") != key(tmp_path / "a", label_smoothing=0.1)


@pytest.mark.parametrize(
    ("methods", "hint"),
    [
        ({"supervised": {}, "distillation": {"teacher": "supervized"}}, "mean 'supervised'"),
        (
            {
                "supervised": {"variants": {"big": {}}},
                "distillation": {"teacher": "supervised/bigg"},
            },
            "mean 'supervised/big'",
        ),
        ({"supervised": {}, "distillation": {"teacher": "distillation"}}, "choices: supervised"),
        ({"supervised": {}, "simclr": {}, "distillation": {"teacher": "simclr"}}, "supervised"),
        ({"distillation": {}}, "Add 'supervised:'"),
    ],
)
def test_who_cannot_teach_is_refused(methods: dict[str, Any], hint: str) -> None:
    with pytest.raises(
        UserError, match=r"methods\.distillation\.teacher: .*row of this study"
    ) as e:
        planned(**methods)
    assert e.value.hint is not None and hint in e.value.hint
