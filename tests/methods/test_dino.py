"""DINO's schedule for the teacher's temperature, which the loss reads from a buffer."""

from __future__ import annotations

import pytest

from replearn.build import method_tensors
from replearn.methods.dino import DINO
from tests.methods.test_contract import batch_for, forward, run_config, training_method


def dino() -> DINO:
    method = training_method(run_config("dino"))
    assert isinstance(method, DINO)
    return method


@pytest.mark.parametrize(
    ("progress", "temperature"), [(0.0, 0.04), (0.15, 0.055), (0.3, 0.07), (1.0, 0.07)]
)
def test_the_teachers_temperature_warms_up_in_its_place(
    progress: float, temperature: float
) -> None:
    """In its place, because CUDA graphs read where they read when they were recorded."""
    method = dino()
    place = method.tau_t.data_ptr()
    method.before_step(progress)
    assert method.tau_t.item() == pytest.approx(temperature)
    assert method.tau_t.data_ptr() == place
    assert "tau_t" not in method_tensors(method), "it follows from the step, and is not saved"


def test_the_loss_is_taken_at_that_temperature() -> None:
    method, batch = dino(), batch_for(run_config("dino"))
    cold, warm = (forward(method, batch, progress).item() for progress in (0.0, 1.0))
    method.tau_t.fill_(0.04)
    assert method.loss(batch).total.item() == pytest.approx(cold, rel=1e-6)
    assert abs(cold - warm) > 1e-4 * warm
