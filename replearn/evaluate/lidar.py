"""LiDAR: how many directions tell images apart from the augmentations of one image."""

from __future__ import annotations

import torch
from torch import Tensor

from replearn.randomness import generator

RIDGE = 1e-4
"""Added to S_w as a share of its mean variance, so that LiDAR does not depend on the scale."""

EPSILON = 1e-7


def lidar(views: Tensor) -> float:
    """Effective rank of S_w^−½ S_b S_w^−½ (Thilak et al., 2023, eq. 1–4).

    Read it beside `between_within` and `lidar_null`: pure noise scores high.

    Args:
        views: features [v, m, d] of v ≥ 2 augmented views of m ≥ 2 images.

    Returns:
        1 … min(m − 1, d); 0 if all features are equal.

    Raises:
        ValueError: another shape.
    """
    within, between = _scatter(views)
    noise = float(within.diagonal().mean())
    if noise == 0 and float(between.diagonal().mean()) == 0:
        return 0.0
    ridge = RIDGE * (noise or float(between.diagonal().mean()))
    variance, basis = torch.linalg.eigh(within + ridge * torch.eye(len(within)).to(within))
    whitening = basis * variance.clamp_min(ridge).rsqrt()
    values = torch.linalg.eigvalsh(whitening.T @ between @ whitening).clamp_min(0)
    total = float(values.sum())
    if total == 0:
        return 0.0
    p = values / total + EPSILON
    return float(torch.exp(-(p * p.log()).sum()))


def lidar_null(views: Tensor) -> float:
    """LiDAR after shuffling which views belong together: what features without content score."""
    v, m, _ = views.shape
    order = torch.randperm(v * m, generator=generator(0, "lidar-null")).to(views.device)
    return lidar(views.flatten(0, 1)[order].reshape(views.shape))


def between_within(views: Tensor) -> float:
    """tr S_b / tr S_w of views [v, m, d]; about 1 / v without content, infinite without spread."""
    within, between = _scatter(views)
    noise = float(within.diagonal().sum())
    return float(between.diagonal().sum()) / noise if noise else float("inf")


def _scatter(views: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance within the views of an image, and of the images' means, float64 [d, d] each."""
    if views.ndim != 3 or views.shape[0] < 2 or views.shape[1] < 2:
        raise ValueError(f"views are [v ≥ 2, m ≥ 2, d], not {list(views.shape)}")
    views = views.double()
    means = views.mean(0)
    residual = (views - means).flatten(0, 1)
    centred = means - means.mean(0)
    v, m, _ = views.shape
    return residual.T @ residual / (m * (v - 1)), centred.T @ centred / (m - 1)
