"""Colour: greyscale, solarise, normalise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from replearn.augment.checks import (
    check_colours,
    check_images,
    check_mask,
    check_parameter,
    may_look,
)

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, rounded as in torchvision)."""


def grayscale(images: Tensor, mask: Tensor) -> Tensor:
    """Turn the images [n, c, h, w] for which `mask` (bool [n]) is true grey, keeping the channels.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, channels, _, _ = check_colours(images)
    check_mask(mask, n, "mask")
    if channels == 1:
        return images
    return mapped(grey_maps(mask, images), images.flatten(2)).view(images.shape)


def mapped(maps: Tensor, colours: Tensor, shift: Tensor | None = None) -> Tensor:
    """maps · colours + shift, a map of colours for each image.

    Args:
        maps: [n, k, c].
        colours: [n, c, pixels].
        shift: broadcast to the result [n, k, pixels]; absent: none.
    """
    # Autocast would run the product in bfloat16, which errs by more than a grey level.
    with torch.autocast(colours.device.type, enabled=False):
        if may_look(colours):
            if shift is None:
                return torch.bmm(maps, colours)
            return torch.baddbmm(shift, maps, colours)
        # Products of so small matrices are slow on a GPU, and a compiler fuses them with nothing.
        first, *others = zip(maps.split(1, 2), colours.split(1, 1), strict=True)
        total = first[0] * first[1] if shift is None else torch.addcmul(shift, *first)
        for one, channel in others:
            total = torch.addcmul(total, one, channel)
        return total


def grey_maps(mask: Tensor, like: Tensor) -> Tensor:
    """`grayscale` of three channels as maps of colours [n, 3, 3], of the type of `like`."""
    own = torch.eye(3, dtype=like.dtype, device=like.device)
    return torch.where(mask[:, None, None], grey_weights(like, 3), own)


def solarize(images: Tensor, threshold: float | Tensor, mask: Tensor) -> Tensor:
    """Invert the pixels from `threshold` upwards of the images for which `mask` (bool [n]) is true.

    Args:
        images: [n, c, h, w] with values 0–1.
        threshold: one for all or [n].
        mask: bool [n].

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n = check_images(images)[0]
    check_mask(mask, n, "mask")
    if isinstance(threshold, Tensor):
        check_parameter(threshold, n, "threshold")
        threshold = threshold[:, None, None, None]
    inverted = (images >= threshold) & mask[:, None, None, None]
    return torch.where(inverted, 1 - images, images)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x − mean) / std with one mean and one standard deviation per channel.

    Args:
        images: [n, c, h, w], floating; or uint8, which stands for 0–1.
        mean: c numbers on the scale 0–1.
        std: c positive numbers.

    Raises:
        ValueError: if there are not c of each, or a standard deviation is not positive.
    """
    channels = check_images(images, integers=True)[1]
    x = images if images.is_floating_point() else images.to(torch.float32) / 255
    scale, shift = normalization(mean, std, channels, x)
    return torch.addcmul(shift, x, scale).contiguous()


def normalization(
    mean: Sequence[float], std: Sequence[float], channels: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Factors and summands [c, 1, 1] that normalise, of the type and on the device of `like`.

    Raises:
        ValueError: if there are not c of each, or a standard deviation is not positive.
    """
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"{channels} channels need as many means and deviations, not {len(mean)}, {len(std)}"
        )
    if min(std) <= 0:
        raise ValueError(f"standard deviations must be positive, not {list(std)}")
    scale = torch.stack([like.new_full((1, 1), 1 / s) for s in std])
    return scale, torch.stack(
        [like.new_full((1, 1), -m / s) for m, s in zip(mean, std, strict=True)]
    )


def grey_weights(like: Tensor, channels: int) -> Tensor:
    """What one or three channels weigh in grey, [channels], of the type and on the device of `like`."""
    if channels == 1:
        return like.new_ones(1)
    return torch.stack([like.new_full((), weight) for weight in GREY])
