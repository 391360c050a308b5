"""Five-step losses of every trained method against recorded ones: a change here moves numbers.

A wanted change is recorded with `pytest tests/methods/test_golden.py --update-golden` and explained in
CHANGELOG.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replearn.pretrain import training_optimizer
from tests.methods.test_contract import TRAINED, batch_for, forward, run_config, training_method

GOLDEN = Path(__file__).with_name("golden.json")
TOLERANCE = 2e-3
"""Relative; other processors round convolutions differently, and five steps amplify that."""


def five_losses(name: str) -> list[float]:
    config = run_config(name)
    method = training_method(config)
    optimizer = training_optimizer(config, method, lr=config.optimizer.lr)
    losses = []
    for step in range(5):
        total = forward(method, batch_for(config, seed=step))
        losses.append(round(total.item(), 6))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        method.after_step((step + 1) / 100)
    return losses


@pytest.mark.parametrize("name", TRAINED)
def test_five_steps_give_the_recorded_losses(name: str, request: pytest.FixtureRequest) -> None:
    recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    losses = five_losses(name)
    if request.config.getoption("--update-golden"):
        recorded[name] = losses
        GOLDEN.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    assert losses == pytest.approx(recorded[name], rel=TOLERANCE)
