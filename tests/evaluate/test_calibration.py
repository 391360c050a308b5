"""Calibration against plain loops and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss

from replearn.evaluate.calibration import brier_score, calibration, expected_calibration_error


def made_up(count: int = 400, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, classes, generator=random)
    return logits, torch.randint(0, classes, (count,), generator=random)


def test_error_of_the_confidence_is_that_of_a_loop_over_bins() -> None:
    logits, labels = made_up()
    p = logits.double().softmax(1)
    expected = 0.0
    for b in range(15):
        rows = [row for row in range(len(p)) if b / 15 < float(p[row].max()) <= (b + 1) / 15]
        right = sum(int(p[row].argmax()) == int(labels[row]) for row in rows)
        expected += abs(right - sum(float(p[row].max()) for row in rows)) / len(p)
    assert expected_calibration_error(p, labels) == pytest.approx(expected, abs=1e-12)
    assert expected > 0.1


def test_likelihood_and_brier_score() -> None:
    logits, labels = made_up()
    p = logits.double().softmax(1)
    found = calibration(logits, labels)
    assert found["nll"] == pytest.approx(log_loss(labels.numpy(), p.numpy()), abs=1e-9)
    squares = [
        sum((float(p[row, c]) - (c == int(labels[row]))) ** 2 for c in range(5))
        for row in range(len(p))
    ]
    assert found["brier"] == pytest.approx(sum(squares) / len(squares), abs=1e-12)
    assert found["ece"] == expected_calibration_error(p, labels)


def test_sure_and_right_is_perfect_and_sure_and_wrong_is_worst() -> None:
    p = torch.eye(3, dtype=torch.float64)
    right, wrong = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    assert expected_calibration_error(p, right) == 0
    assert expected_calibration_error(p, wrong) == 1
    assert (brier_score(p, right), brier_score(p, wrong)) == (0, 2)


def test_a_class_that_training_had_not_is_infinitely_unlikely() -> None:
    found = calibration(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 3]))
    assert math.isinf(found["nll"])
    assert found["brier"] == pytest.approx((0.5 + 1.5) / 2)
    assert found["ece"] == 0
