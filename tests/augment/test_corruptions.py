"""Corruptions against NumPy, SciPy, Pillow and colorsys, image by image."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import poisson
from torch import Tensor

from replearn.augment.corruptions import (
    STRENGTHS,
    corrupt,
    noise_like,
    shuffled_patches,
)
from replearn.evaluate.protocol import CORRUPTIONS
from replearn.randomness import derived_seed, uniforms


def images(n: int = 3, channels: int = 3, size: int = 28) -> Tensor:
    """Smooth images with some black in them."""
    random = np.random.default_rng(0)
    x = gaussian_filter(random.normal(size=(n, channels, size, size)), (0, 0, 2, 2))
    x = 128 + 400 * x
    x[:, :, :3] = 0
    return torch.from_numpy(np.clip(x, 0, 255).astype(np.uint8))


INDEX = torch.tensor([5, 0, 77])


def corrupted(
    x: Tensor, name: str, severity: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    found = corrupt(x, name, severity, INDEX[: len(x)])
    assert found.dtype == torch.uint8 and found.shape == x.shape
    return found.numpy().astype(np.float64)


def test_every_corruption_of_the_protocol_is_there() -> None:
    assert tuple(STRENGTHS) == CORRUPTIONS
    assert {len(strengths) for strengths in STRENGTHS.values()} == {5}


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(3, 28), (1, 28), (1, 8), (3, 5)])
def test_an_image_is_corrupted_alike_in_any_batch(name: str, shape: tuple[int, int]) -> None:
    x = images(3, *shape)
    whole = corrupt(x, name, 5, INDEX)
    for row in range(3):
        one = slice(row, row + 1)
        assert torch.equal(corrupt(x[one], name, 5, INDEX[one]), whole[one])


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "pixelate"])
def test_the_severer_the_more_pixels_change(name: str) -> None:
    x = images()
    change = [np.abs(corrupted(x, name, severity) - x.numpy()).mean() for severity in (1, 3, 5)]
    assert 0 < change[0] < change[1] < change[2]


@pytest.mark.parametrize("severity", [1, 5])
def test_gaussian_noise_has_its_deviation(severity: int) -> None:
    x = torch.full((3, 3, 64, 64), 128, dtype=torch.uint8)
    noise = (corrupted(x, "gaussian_noise", severity) - 128) / 255
    sigma = STRENGTHS["gaussian_noise"][severity - 1]
    assert noise.mean() == pytest.approx(0, abs=4 * sigma / noise.size**0.5)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.04


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_inverts_the_poisson_distribution(severity: int) -> None:
    x = images()
    photons = STRENGTHS["shot_noise"][severity - 1]
    u = uniforms(derived_seed(severity, "corruption", "shot_noise"), 0, INDEX, 0, x[0].numel())
    counts = poisson.ppf(u.view(x.shape).double().numpy() + 1e-12, x.numpy() / 255 * photons)
    expected = np.round(np.clip(counts / photons, 0, 1) * 255)
    assert np.array_equal(corrupted(x, "shot_noise", severity), np.maximum(expected, 0))


def test_impulse_noise_is_black_and_white_in_equal_shares() -> None:
    x = torch.full((3, 3, 100, 100), 128, dtype=torch.uint8)
    found = corrupted(x, "impulse_noise", 5)
    assert set(np.unique(found)) == {0, 128, 255}
    assert (found == 0).mean() == pytest.approx(0.035, rel=0.1)
    assert (found == 255).mean() == pytest.approx(0.035, rel=0.1)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_blur_is_that_of_scipy(severity: int) -> None:
    x, sigma = images(), STRENGTHS["gaussian_blur"][severity - 1]
    expected = gaussian_filter(x.numpy().astype(float), (0, 0, sigma, sigma), mode="mirror")
    assert np.abs(corrupted(x, "gaussian_blur", severity) - expected).max() <= 0.51


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_contrast_and_brightness_are_those_of_each_pixel(severity: int) -> None:
    x = images()
    factor, shift = (STRENGTHS[name][severity - 1] for name in ("contrast", "brightness"))
    mean = x.numpy().mean((2, 3), keepdims=True)
    expected = np.clip((x.numpy() - mean) * factor + mean, 0, 255)
    assert np.abs(corrupted(x, "contrast", severity) - expected).max() <= 0.51
    found = corrupted(x, "brightness", severity)
    for row, column in ((0, 0), (10, 3), (20, 20), (27, 9)):
        hue, saturation, value = colorsys.rgb_to_hsv(
            *(x[1, :, row, column].double() / 255).tolist()
        )
        rgb = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + shift))
        assert np.abs(found[1, :, row, column] - 255 * np.array(rgb)).max() <= 0.51


@pytest.mark.parametrize("size", [28, 32, 8])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_pixelate_is_that_of_pillow(size: int, severity: int) -> None:
    x = images(size=size)
    small = int(size * STRENGTHS["pixelate"][severity - 1])
    found = corrupted(x, "pixelate", severity)
    for row in range(3):
        picture = Image.fromarray(x[row].permute(1, 2, 0).numpy())
        picture = picture.resize((small, small), Image.Resampling.BOX)
        expected = np.asarray(picture.resize((size, size), Image.Resampling.BOX)).transpose(2, 0, 1)
        assert np.abs(found[row] - expected).max() <= 1


def test_patches_change_places_and_stay_whole() -> None:
    x = torch.arange(64).view(1, 1, 8, 8).to(torch.uint8).repeat(3, 1, 1, 1)
    found = shuffled_patches(x, INDEX)
    corners = found[:, 0, ::2, ::2].reshape(3, 16)
    assert all(sorted(row) == sorted(corners[0].tolist()) for row in corners.tolist())
    assert len({tuple(row) for row in corners.tolist()}) == 3
    for step, by in ((found[:, 0, ::2, 1::2], 1), (found[:, 0, 1::2, ::2], 8)):
        assert torch.equal(step.reshape(3, 16), corners + by)
    assert torch.equal(shuffled_patches(x[1:2], INDEX[1:2]), found[1:2])


def test_patches_of_odd_sizes_leave_the_rest() -> None:
    x = images(size=11)
    found = shuffled_patches(x, INDEX)
    assert torch.equal(found[:, :, 8:], x[:, :, 8:]) and torch.equal(found[..., 8:], x[..., 8:])
    assert torch.equal(found.flatten(1).sort(1)[0], x.flatten(1).sort(1)[0])
    tiny = images(size=3)
    assert torch.equal(
        shuffled_patches(tiny, INDEX).flatten(1).sort(1)[0], tiny.flatten(1).sort(1)[0]
    )


def test_noise_has_the_channels_mean_and_deviation() -> None:
    x = images(size=64)
    found = noise_like(x, (0.5, 0.4, 0.6), (0.1, 0.05, 0.08), INDEX).double() / 255
    assert found.mean((0, 2, 3)).tolist() == pytest.approx([0.5, 0.4, 0.6], abs=0.005)
    assert found.std((0, 2, 3)).tolist() == pytest.approx([0.1, 0.05, 0.08], rel=0.03)
