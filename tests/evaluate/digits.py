"""Real features: pixels of scikit-learn's digits, and untrained networks on them."""

from __future__ import annotations

from functools import lru_cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from replearn.encoders import ConvNet


@lru_cache
def pixels() -> tuple[Tensor, Tensor]:
    """Shuffled images in 0–1, float32 [1797, 64], and labels."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(data.data).float() / 16
    return images[order], torch.from_numpy(data.target).long()[order]


@torch.no_grad()
def untrained(seed: int, width: int = 32) -> Tensor:
    """Features [1797, 4 · width] of a randomly initialised convnet in evaluation mode."""
    torch.manual_seed(seed)
    network = ConvNet(1, width).eval()
    features: Tensor = network((pixels()[0].reshape(-1, 1, 8, 8) - 0.3) / 0.37)
    return features
