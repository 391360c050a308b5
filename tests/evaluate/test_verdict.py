"""Collapsed features must be caught, healthy ones must pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from replearn.encoders import build_encoder
from replearn.evaluate.collapse import diagnose
from replearn.evaluate.verdict import verdict
from replearn.methods.references import principal_components
from tests.evaluate.digits import pixels, untrained


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clusters(count: int, spread: float) -> Tensor:
    centres = noise(count, 128)
    return centres[torch.arange(1500) % count] + spread * noise(1500, 128, seed=1)


@torch.no_grad()
def resnet() -> Tensor:
    torch.manual_seed(0)
    network, _ = build_encoder("resnet18", 1, 8, width=32, patch=4)
    features: Tensor = network.eval()(pixels()[0].reshape(-1, 1, 8, 8))
    return features


def pca() -> Tensor:
    centred = pixels()[0] - pixels()[0].mean(0)
    return centred @ principal_components(centred, 32).T


BROKEN = {
    "constant": (torch.ones(1500, 128), "complete"),
    "zero": (torch.zeros(1500, 128), "complete"),
    "constant and little noise": (noise(1, 128) + 1e-4 * noise(1500, 128, seed=1), "complete"),
    "constant and more noise": (noise(1, 128) + 0.05 * noise(1500, 128, seed=1), "complete"),
    "rectified constant": (
        noise(1, 128).relu() + 1e-3 * noise(1500, 128, seed=1).relu(),
        "complete",
    ),
    "one direction, many lengths": ((noise(1500, 1).abs() + 0.1) * noise(1, 128), "complete"),
    "line": (noise(1500, 1) @ noise(1, 128, seed=1), "dimensional"),
    "rank two": (noise(1500, 2) @ noise(2, 128, seed=1), "dimensional"),
    "rank two and noise": (
        noise(1500, 2) @ noise(2, 128, seed=1) + 0.03 * noise(1500, 128, seed=2),
        "dimensional",
    ),
    "rank two of sixteen": (noise(1500, 2) @ noise(2, 16, seed=1), "dimensional"),
    "rank five of 512": (noise(1500, 5) @ noise(5, 512, seed=1), "dimensional"),
    "five points": (clusters(5, 0.01), "cluster"),
    "ten points": (clusters(10, 0.03), "cluster"),
    "not a number": (torch.full((10, 4), torch.nan), "diverged"),
    "one infinity": (
        torch.eye(100).index_put((torch.tensor(3),), torch.tensor(torch.inf)),
        "diverged",
    ),
}

HEALTHY = {
    "isotropic": noise(1500, 128),
    "shifted": noise(1500, 128) + 2,
    "raw pixels": pixels()[0],
    "PCA": pca(),
    "untrained convnet": untrained(0),
    "another": untrained(1),
    "narrow convnet": untrained(2, width=4),
    "untrained ResNet": resnet(),
    "power law": noise(1500, 128) * torch.arange(1, 129) ** -0.5,
    "wide clusters": clusters(10, 0.5),
    "two dimensions of two": noise(1500, 2),
    "few images": noise(12, 64),
}


@pytest.mark.parametrize(("h", "expected"), BROKEN.values(), ids=BROKEN)
def test_collapsed_features_are_caught(h: Tensor, expected: str) -> None:
    found = verdict(diagnose(h))
    assert found.status == expected
    assert found.rule


@pytest.mark.parametrize("h", HEALTHY.values(), ids=HEALTHY)
@pytest.mark.parametrize("supervision", ["none", "labels", "-"])
def test_healthy_features_pass(h: Tensor, supervision: str) -> None:
    found = verdict(diagnose(h), supervision=supervision)
    assert found.status == "healthy", found.rule


def test_a_constant_projector_is_a_collapse() -> None:
    found = verdict(diagnose(untrained(0)), diagnose(torch.ones(1500, 16)))
    assert found.status == "complete"
    assert "projector" in found.rule
    low = diagnose(noise(1500, 2) @ noise(2, 64))
    assert verdict(diagnose(untrained(0)), low).status == "healthy"


@pytest.mark.parametrize("supervision", ["labels", "captions", "template captions", "-"])
def test_neural_collapse_is_no_fault_of_supervision(supervision: str) -> None:
    found = verdict(diagnose(clusters(10, 0.01)), supervision=supervision)
    assert found.status == "healthy"
    assert "no fault" in found.rule
    constant = verdict(diagnose(torch.ones(1500, 128)), supervision=supervision)
    assert constant.status == "complete"
