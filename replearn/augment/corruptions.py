"""Common corruptions of images (Hendrycks & Dietterich, 2019), and images of no class at all.

Strengths are those of CIFAR-10-C, severities 1 to 5. Images are uint8 before and after, as there, rounded.
All noise is a function of the image's identity, so that it does not depend on batch or device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from replearn.augment.checks import check_images
from replearn.augment.filters import gaussian_blur
from replearn.randomness import derived_seed, uniforms

STRENGTHS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
}
"""CIFAR-10-C's parameter of each corruption at severities 1 … 5 (its published script).

Standard deviation of the noise; photons at full intensity; share of pixels that become black or white;
blur's standard deviation in pixels; shift of HSV's value; factor of the contrast; size of the small image
as a share.
"""
GRID = 4
"""An image is shuffled as GRID × GRID patches."""


def corrupt(images: Tensor, name: str, severity: int, index: Tensor) -> Tensor:
    """Images with one corruption.

    Args:
        images: uint8 [n, c, h, w].
        name: one of `STRENGTHS`.
        severity: 1 … 5.
        index: int64 [n], identities of the images, for the noise.

    Returns:
        uint8 [n, c, h, w].
    """
    check_images(images, integers=True)
    seed = derived_seed(severity, "corruption", name)
    return _stored(_CORRUPTIONS[name](images, STRENGTHS[name][severity - 1], seed, index))


def shuffled_patches(images: Tensor, index: Tensor) -> Tensor:
    """Images uint8 [n, c, h, w] cut into 4 × 4 patches that change places, at random for each image.

    What is left at the right and the bottom, if 4 divides no side, stays.
    """
    n, _, height, width = check_images(images, integers=True)
    rows, columns = min(GRID, height), min(GRID, width)
    high, wide = height // rows, width // columns
    order = uniforms(derived_seed(0, "shuffled"), 0, index, 0, rows * columns).argsort(1)
    whole = images[:, :, : rows * high, : columns * wide]
    patches = whole.unflatten(2, (rows, high)).unflatten(4, (columns, wide))
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    moved = patches[torch.arange(n, device=images.device)[:, None], order]
    moved = moved.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[:, :, : rows * high, : columns * wide] = moved.reshape(whole.shape)
    return result


def noise_like(
    images: Tensor, mean: Sequence[float], std: Sequence[float], index: Tensor
) -> Tensor:
    """Independent Gaussian pixels uint8 with the channels' `mean` and `std` on the scale 0–1."""
    centre, spread = (images.new_tensor(v, dtype=torch.float32)[:, None, None] for v in (mean, std))
    return _stored(centre + spread * _normal(images, derived_seed(0, "noise"), index))


def _gaussian_noise(images: Tensor, sigma: float, seed: int, index: Tensor) -> Tensor:
    return images / 255 + sigma * _normal(images, seed, index)


def _shot_noise(images: Tensor, photons: float, seed: int, index: Tensor) -> Tensor:
    """Poisson(photons · x) / photons, by inverting the distribution at uniform numbers."""
    table = _poisson(photons).to(images.device)
    level = images.long()
    u = _uniform(images, seed, index).double()
    # Level by level the table rises from 0 to 1, so with the level added it rises throughout.
    steps = table + torch.arange(len(table), device=table.device)[:, None]
    place = torch.searchsorted(steps.flatten(), level + u, right=True)
    return (place - level * table.shape[1]).float() / photons


def _impulse_noise(images: Tensor, share: float, seed: int, index: Tensor) -> Tensor:
    u = _uniform(images, seed, index)
    x = torch.where(u < share / 2, 0.0, images / 255)
    return torch.where(u >= 1 - share / 2, 1.0, x)


def _gaussian_blur(images: Tensor, sigma: float, seed: int, index: Tensor) -> Tensor:
    radius = min(round(4 * sigma), min(images.shape[2:]) - 1)
    width = torch.full((len(images),), sigma, device=images.device)
    return gaussian_blur(images / 255, width, 2 * radius + 1)


def _brightness(images: Tensor, shift: float, seed: int, index: Tensor) -> Tensor:
    """Hue and saturation stay: all channels are scaled alike; black, which has neither, turns grey."""
    x = images / 255
    value = x.amax(1, keepdim=True)
    brighter = (value + shift).clamp_max(1)
    return torch.where(value > 0, x * (brighter / value), brighter)


def _contrast(images: Tensor, factor: float, seed: int, index: Tensor) -> Tensor:
    x = images / 255
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * factor + mean


def _pixelate(images: Tensor, share: float, seed: int, index: Tensor) -> Tensor:
    x = images / 255
    for axis in (2, 3):
        size = images.shape[axis]
        small = max(1, int(size * share))
        down, up = (_box(a, b).to(x) for a, b in ((size, small), (small, size)))
        x = ((up @ down) @ x.transpose(axis, 2)).transpose(axis, 2)
    return x


_CORRUPTIONS: dict[str, Callable[[Tensor, float, int, Tensor], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "gaussian_blur": _gaussian_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
}


def _stored(x: Tensor) -> Tensor:
    """Values 0–1 as 8 bits."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _uniform(images: Tensor, seed: int, index: Tensor) -> Tensor:
    """One uniform number in [0, 1) for each value of the images."""
    return uniforms(seed, 0, index, 0, images[0].numel()).view(images.shape)


def _normal(images: Tensor, seed: int, index: Tensor) -> Tensor:
    normal: Tensor = torch.special.ndtri(_uniform(images, seed, index).double() + 2.0**-25)
    return normal.float()


@lru_cache
def _poisson(photons: float) -> Tensor:
    """P(N ≤ k) for N of mean photons · level / 255: float64 [256, so many k that none is missed]."""
    rate = torch.arange(256, dtype=torch.float64)[:, None] * (photons / 255)
    count = torch.arange(1, photons + 8 * math.sqrt(photons) + 8, dtype=torch.float64)
    table: Tensor = torch.special.gammaincc(count.expand(256, -1), rate.expand(-1, len(count)))
    table[:, -1] = 1
    return table


def _box(length: int, size: int) -> Tensor:
    """Matrix [size, length] of Pillow's box filter: means of the pixels whose centres are near."""
    scale = length / size
    centre = (torch.arange(size, dtype=torch.float64)[:, None] + 0.5) * scale
    offset = (torch.arange(length, dtype=torch.float64) + 0.5 - centre) / max(scale, 1.0)
    near = ((offset > -0.5) & (offset <= 0.5)).double()
    return near / near.sum(1, keepdim=True)
