"""Distillation: the loss against loops, and how the teacher comes to the student."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from replearn.build import build_method, method_tensors
from replearn.methods.distillation import Distillation, distillation_loss
from replearn.methods.supervised import Supervised
from tests.methods import oracles
from tests.methods.test_contract import batch_for, manifest, run_config, untrained_teacher


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.5), (4.0, 0.9), (0.5, 1.0), (2.0, 0)])
def test_the_loss_against_loops(temperature: float, weight: float) -> None:
    student, teacher = torch.randn(5, 4).double(), 3 * torch.randn(5, 4).double()
    labels = torch.tensor([0, 3, 1, 1, 2])
    expected = oracles.distillation(
        student.tolist(), teacher.tolist(), labels.tolist(), temperature, weight
    )
    found = distillation_loss(student, teacher, labels, temperature, weight)
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    logits = torch.randn(4, 3).requires_grad_()
    loss = distillation_loss(logits, logits.clone(), torch.zeros(4, dtype=torch.int64), 2.0, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6


def test_at_a_high_temperature_the_soft_gradient_is_that_of_matching_centred_logits() -> None:
    """The limit of section 2.1 of the paper: T² ∂KL → (z − v) / classes for centred logits z and v."""
    z, v = torch.randn(1, 6).double().requires_grad_(), torch.randn(1, 6).double()
    distillation_loss(z, v, torch.tensor([0]), 1e4, 1.0).backward()
    centred = (z - z.mean()) - (v - v.mean())
    assert z.grad is not None
    torch.testing.assert_close(z.grad, centred.detach() / 6, atol=1e-4, rtol=1e-3)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = torch.randn(2, 3).requires_grad_(), torch.randn(2, 3).requires_grad_()
    distillation_loss(student, teacher, torch.tensor([0, 1]), 2.0, 0.5).backward()
    assert teacher.grad is None and student.grad is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": 0.0}, "temperature above 0"),
        ({"weight": 1.5}, "weight from 0 to 1"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "needs labels"),
        ({"teacher": torch.randn(2, 4)}, "one shape"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, Any], says: str) -> None:
    arguments = {
        "student": torch.randn(2, 3),
        "teacher": torch.randn(2, 3),
        "labels": torch.zeros(2, dtype=torch.int64),
        "temperature": 2.0,
        "weight": 0.5,
    }
    with pytest.raises(ValueError, match=says):
        distillation_loss(**{**arguments, **change})


def test_without_a_teacher_there_is_no_loss() -> None:
    config = run_config("distillation")
    with pytest.raises(ValueError, match="needs a teacher"):
        build_method(config, manifest()).loss(batch_for(config))


def test_the_teacher_is_no_part_of_the_student() -> None:
    student = build_method(run_config("distillation"), manifest())
    before = set(method_tensors(student))
    student.learn_from(untrained_teacher())
    assert set(method_tensors(student)) == before
    assert len(list(student.modules())) == len(
        list(build_method(run_config("distillation"), manifest()).modules())
    )


def test_the_student_sees_what_the_teacher_says() -> None:
    student = build_method(run_config("distillation"), manifest())
    assert isinstance(student, Distillation)
    teacher = untrained_teacher()
    student.learn_from(teacher)
    batch = batch_for(run_config("distillation"))
    assert isinstance(teacher, Supervised) and batch.labels is not None
    with torch.no_grad():
        said = student.classifier(student.encoder(batch.views[0]))
        expected = distillation_loss(said, teacher.logits(batch.views[0]), batch.labels, 4.0, 0.9)
    assert student.loss(batch).total.item() == pytest.approx(expected.item(), rel=1e-5)
