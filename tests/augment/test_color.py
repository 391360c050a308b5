"""Colour operations against torchvision's, one image at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare, ks_1samp, uniform
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from replearn.augment import color_jitter, grayscale, jitter, jitter_parameters, normalize, solarize
from replearn.augment.jitter import JITTER_UNIFORMS
from replearn.views import View

OPERATIONS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
NAMES = ("brightness", "contrast", "saturation", "hue")
TOLERANCE = 0.01 / 255


def random_images(n: int, channels: int, seed: int = 0) -> Tensor:
    """Noise, with black, white, grey, one-coloured and saturated images among it."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, channels, 12, 9, generator=generator)
    images[0], images[1] = 0, 1
    images[2::7] = (images[2::7] > 0.5).float()
    images[3::11] = images[3::11, :1]
    images[4::13] = images[4::13, :, :1, :1]
    images[5::17] *= 1e-3
    return images


def random_factors(n: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three factors on [0, 3] and a hue on [−0.5, 0.5], with the ends and the identity."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.rand(4, n, generator=generator)
    factors[:3] *= 3
    factors[3] -= 0.5
    for row in range(4):
        identity = 0.0 if row == 3 else 1.0
        factors[row, 10 * row : 10 * row + 5] = -0.5 if row == 3 else 0.0
        factors[row, 10 * row + 5 : 10 * row + 10] = identity
    factors[3, 50:55] = 0.5
    brightness, contrast, saturation, hue = factors
    return brightness, contrast, saturation, hue


def torchvision_jitter(
    images: Tensor, factors: tuple[Tensor, ...], orders: list[tuple[int, ...]], apply: Tensor
) -> Tensor:
    expected = []
    for i, image in enumerate(images):
        for operation in orders[i] if apply[i] else ():
            image = OPERATIONS[operation](image, float(factors[operation][i]))
        expected.append(image)
    return torch.stack(expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_torchvisions_in_every_order(channels: int) -> None:
    n = 240
    images, factors = random_images(n, channels), random_factors(n)
    orders = list(itertools.permutations(range(4))) * 10
    apply = torch.rand(n, generator=torch.Generator().manual_seed(2)) < 0.8
    before = images.clone()
    result = color_jitter(images, *factors, torch.tensor(orders), apply)
    expected = torchvision_jitter(images, factors, orders, apply)
    assert torch.allclose(result, expected, rtol=0, atol=TOLERANCE)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "chosen", [c for k in (1, 2, 3) for c in itertools.combinations(range(4), k)]
)
def test_absent_operations_are_left_out(channels: int, chosen: tuple[int, ...]) -> None:
    n = 96
    images, factors = random_images(n, channels), random_factors(n)
    permutations = list(itertools.permutations(range(4))) * 4
    orders = [tuple(o for o in order if o in chosen) for order in permutations]
    given = {NAMES[o]: factors[o] for o in chosen}
    result = color_jitter(images, **given, order=torch.tensor(permutations))
    expected = torchvision_jitter(images, factors, orders, torch.ones(n, dtype=torch.bool))
    assert torch.allclose(result, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("chosen", [(3,), (0, 3), (1, 2, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("partly", [False, True])
def test_all_images_at_once_or_in_groups_are_the_same_bits(
    chosen: tuple[int, ...], partly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accelerator makes all steps for all images; a CPU leaves out what changes nothing."""
    n = 96
    images, factors = random_images(n, 3), random_factors(n)
    order = torch.tensor(list(itertools.permutations(range(4))) * 4)
    given = {NAMES[o]: factors[o] for o in chosen}
    mask = torch.arange(n) % 3 != 0
    apply = mask if partly else None
    in_groups = color_jitter(images, **given, order=order, apply=apply)
    monkeypatch.setattr(jitter, "may_look", lambda values: False)
    assert torch.equal(in_groups, color_jitter(images, **given, order=order, apply=apply))


def test_nothing_to_jitter() -> None:
    images, factors = random_images(20, 3), random_factors(20)
    nobody = torch.zeros(20, dtype=torch.bool)
    assert torch.equal(color_jitter(images, *factors, apply=nobody), images)
    assert torch.equal(grayscale(images, nobody), images)


def test_one_order_for_all() -> None:
    images, factors = random_images(60, 3), random_factors(60)
    order = torch.tensor([3, 1, 0, 2])
    result = color_jitter(images, *factors, order)
    assert torch.equal(result, color_jitter(images, *factors, order.expand(60, 4)))


def test_images_left_alone_keep_every_bit() -> None:
    images, factors = random_images(60, 3), random_factors(60)
    order = torch.tensor([0, 1, 2, 3])
    apply = torch.arange(60) % 2 == 0
    result = color_jitter(images, *factors, order, apply)
    assert torch.equal(result[~apply], images[~apply])
    assert not torch.equal(result[apply], images[apply])


def test_turning_the_hue_there_and_back_is_the_identity() -> None:
    images = random_images(60, 3)
    hue = random_factors(60)[3]
    there = color_jitter(images, hue=hue)
    assert torch.allclose(color_jitter(there, hue=-hue), images, rtol=0, atol=1e-5)
    half = torch.full((60,), 0.5)
    assert torch.allclose(
        color_jitter(images, hue=half), color_jitter(images, hue=-half), rtol=0, atol=1e-5
    )


def test_third_turns_permute_the_channels() -> None:
    images = random_images(60, 3)
    result = color_jitter(images, hue=torch.full((60,), 1 / 3))
    assert torch.allclose(result, images.roll(1, dims=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_grayscale_is_torchvisions(channels: int) -> None:
    images = random_images(60, channels)
    mask = torch.arange(60) % 3 == 0
    result = grayscale(images, mask)
    expected = torch.stack([tv.rgb_to_grayscale(image, channels) for image in images])
    assert torch.allclose(result[mask], expected[mask], rtol=0, atol=1e-6)
    assert torch.equal(result[mask], result[mask][:, :1].expand_as(result[mask]))
    assert torch.equal(result[~mask], images[~mask])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_solarize_is_torchvisions(threshold: float) -> None:
    images = random_images(60, 3)
    images[0, 0, 0, 0] = threshold
    mask = torch.arange(60) % 3 != 1
    result = solarize(images, threshold, mask)
    expected = torch.stack([tv.solarize(image, threshold) for image in images])
    assert torch.equal(result[mask], expected[mask])
    assert torch.equal(result[~mask], images[~mask])
    assert torch.equal(result, solarize(images, torch.full((60,), threshold), mask))


def test_normalize_is_torchvisions() -> None:
    images = random_images(20, 3)
    mean, std = [0.2, 0.5, 0.9], [0.1, 0.3, 2.0]
    expected = tv.normalize(images, mean, std)
    assert torch.allclose(normalize(images, mean, std), expected, rtol=1e-6, atol=1e-6)
    whole = (images * 255).to(torch.uint8)
    expected = tv.normalize(whole.float() / 255, mean, std)
    assert torch.allclose(normalize(whole, mean, std), expected, rtol=1e-6, atol=1e-6)
    assert normalize(images, mean, std).is_contiguous()


def test_parameters_are_distributed_as_torchvisions() -> None:
    """Uniform on the documented ranges; each of the 24 orders as often as another."""
    view = View(brightness=0.8, contrast=1.5, saturation=0.2, hue=0.3, jitter_probability=0.7)
    u = torch.rand(12000, JITTER_UNIFORMS, generator=torch.Generator().manual_seed(3))
    brightness, contrast, saturation, hue, order, apply = jitter_parameters(u, view)
    ranges = [(0.2, 1.8), (0.0, 2.5), (0.8, 1.2), (-0.3, 0.3)]
    for values, (low, high) in zip((brightness, contrast, saturation, hue), ranges, strict=True):
        assert low <= float(values.min())
        assert float(values.max()) <= high + 1e-6
        assert ks_1samp(values.numpy(), uniform(low, high - low).cdf).pvalue > 1e-3
    assert torch.equal(order.sort(1).values, torch.arange(4).expand(12000, 4))
    counts = torch.unique(order, dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert chisquare(counts.numpy()).pvalue > 1e-3
    assert abs(float(apply.float().mean()) - 0.7) < 4 * (0.7 * 0.3 / 12000) ** 0.5


IMAGES, ONES, MASK = torch.zeros(2, 3, 4, 4), torch.ones(2), torch.ones(2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: color_jitter(IMAGES[:, :2], ONES), "1 or 3 channels, not 2"),
        (lambda: color_jitter(IMAGES.to(torch.uint8), ONES), "must be floating"),
        (lambda: color_jitter(IMAGES, torch.ones(3)), r"brightness must be \[2\]"),
        (lambda: color_jitter(IMAGES, hue=torch.ones(2, 1)), r"hue must be \[2\]"),
        (lambda: color_jitter(IMAGES, ONES, order=torch.zeros(2, 3)), r"order must be \[2, 4\]"),
        (lambda: color_jitter(IMAGES, ONES, apply=ONES), "apply must be bool"),
        (lambda: grayscale(IMAGES, MASK[:1]), "mask must be bool"),
        (lambda: grayscale(IMAGES[0], MASK), "images must be"),
        (lambda: solarize(IMAGES, 0.5, ONES), "mask must be bool"),
        (lambda: solarize(IMAGES, torch.ones(3), MASK), "threshold must be"),
        (lambda: normalize(IMAGES, [0.5], [1.0]), "3 channels need as many"),
        (lambda: normalize(IMAGES, [0.5] * 3, [1.0, 0.0, 1.0]), "must be positive"),
        (lambda: jitter_parameters(torch.zeros(2, 4), View()), r"u must be \[n, 9\]"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
