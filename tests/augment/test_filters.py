"""Blur against torchvision's, one image at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from replearn.augment import filters, gaussian_blur


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(28, 28), (12, 33)])
@pytest.mark.parametrize("kernel_size", [1, 3, 9, 23])
def test_blur_is_torchvisions(channels: int, shape: tuple[int, int], kernel_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, channels, *shape, generator=generator)
    sigma = torch.rand(24, generator=generator) * 4 + 0.05
    sigma[0], sigma[1] = 0.05, 50.0
    expected = torch.stack(
        [
            tv.gaussian_blur(image, [kernel_size] * 2, [float(s)] * 2)
            for image, s in zip(images, sigma, strict=True)
        ]
    )
    result = gaussian_blur(images, sigma, kernel_size)
    assert torch.allclose(result, expected, rtol=0, atol=0.002 / 255)
    mask = torch.arange(24) % 2 == 0
    chosen = gaussian_blur(images, sigma, kernel_size, mask)
    assert torch.equal(chosen[mask], result[mask])
    assert torch.equal(chosen[~mask], images[~mask])


def test_blurring_some_or_all_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerator multiplies the images to leave alone by the identity; a CPU leaves them out."""
    images = torch.rand(24, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    sigma, mask = torch.linspace(0.1, 2, 24), torch.arange(24) % 3 == 0
    some = gaussian_blur(images, sigma, 5, mask)
    none = gaussian_blur(images, sigma, 5, torch.zeros_like(mask))
    monkeypatch.setattr(filters, "may_look", lambda values: False)
    assert torch.equal(some, gaussian_blur(images, sigma, 5, mask))
    assert torch.equal(none, images)


IMAGES, ONES = torch.zeros(2, 3, 8, 6), torch.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_blur(IMAGES, ONES, 4), "odd and positive"),
        (lambda: gaussian_blur(IMAGES, ONES, -1), "odd and positive"),
        (lambda: gaussian_blur(IMAGES, ONES, 13), "too wide for 8 x 6"),
        (lambda: gaussian_blur(IMAGES, ONES[:1], 3), r"sigma must be \[2\]"),
        (lambda: gaussian_blur(IMAGES, ONES, 3, ONES), "mask must be bool"),
        (lambda: gaussian_blur(IMAGES[0], ONES, 3), "images must be"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
