"""The kernels that torch.compile writes for a graphics card compute what the plain operations do."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from replearn.engine import Engine
from tests.gpu.steps import compiled_view_errors, gradients
from tests.methods.test_contract import TRAINED, run_config

pytestmark = pytest.mark.kernels


@pytest.fixture(autouse=True)
def compiled_anew() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("name", "encoder", "error"),
    [*((name, "convnet", 1e-4) for name in TRAINED), ("simclr", "resnet18", 2e-2)],
)
def test_gradients(name: str, encoder: str, error: float, launched: Counter[str]) -> None:
    """Rounding alone is 1 % in ResNet-18, between memory layouts as well: its ReLUs multiply it."""
    config = run_config(name, encoder)
    plain = gradients(config, Engine(fast=False), "cpu")
    compiled = gradients(config, Engine(compile="kernels"), "cpu", views_at_once=True)
    assert (compiled - plain).norm() < error * plain.norm()
    assert launched


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in ("jigsaw", "clip")])
def test_bfloat16_costs_no_more(name: str, launched: Counter[str]) -> None:
    """Jigsaw's and CLIP's kernels add to bfloat16 in memory, which the interpreter cannot do."""
    config = run_config(name)
    exact = gradients(config, Engine(fast=False), "cpu")
    plain = gradients(config, Engine(fast=False), "cpu", torch.bfloat16)
    compiled = gradients(
        config, Engine(compile="kernels"), "cpu", torch.bfloat16, views_at_once=True
    )
    assert (compiled - exact).norm() < 1.5 * (plain - exact).norm() + 1e-3 * exact.norm()
    assert launched


@pytest.mark.parametrize("name", {run_config(name).views: name for name in TRAINED}.values())
def test_views(name: str, launched: Counter[str]) -> None:
    for error in compiled_view_errors(run_config(name), "cpu"):
        assert error.max() < 1e-4
    assert launched
