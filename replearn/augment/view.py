"""From a `View` and counters to pixels: the same view of a sample in any batch, on any device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.augment.checks import check_images
from replearn.augment.color import (
    JITTER_UNIFORMS,
    color_jitter,
    grayscale,
    jitter_parameters,
    normalize,
    solarize,
)
from replearn.augment.filters import gaussian_blur
from replearn.augment.geometry import (
    CROP_UNIFORMS,
    crop_boxes,
    horizontal_flip,
    random_resized_crop,
)
from replearn.randomness import uniforms
from replearn.views import View

# Columns of the uniform numbers. They are the same for every view, so switching an operation off
# leaves the parameters of the others alone.
_JITTER = CROP_UNIFORMS
_FLIP, _GRAYSCALE, _BLUR, _SIGMA, _SOLARIZE = range(
    _JITTER + JITTER_UNIFORMS, _JITTER + JITTER_UNIFORMS + 5
)
UNIFORMS = _SOLARIZE + 1
"""Uniform numbers that a view uses per sample."""

_TOGETHER = 2**20
"""Pixels of a batch up to which views are made together; beyond it, an operation's start no longer counts."""


def make_views(
    images: Tensor,
    views: Sequence[View],
    *,
    seed: int,
    epoch: int,
    index: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[Tensor, ...]:
    """All views of each image: `make_view` for each of `views`, by its number.

    Equal views that follow each other go through the operations as one batch, unless it is large.
    """
    made: list[Tensor] = []
    n, _, height, width = check_images(images, integers=True)
    for view, numbers in _alike(views, _TOGETHER // max(1, n * height * width)):
        u = torch.cat([uniforms(seed, epoch, index, number, UNIFORMS) for number in numbers])
        drawn = draw(images.repeat(len(numbers), 1, 1, 1), view, u)
        made.extend(normalize(drawn, mean, std).chunk(len(numbers)))
    return tuple(made)


def make_view(
    images: Tensor,
    view: View,
    *,
    seed: int,
    epoch: int,
    index: Tensor,
    number: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One augmented, normalised view of each image.

    The parameters are a function of (seed, epoch, sample, number of the view), whatever batch the
    sample is in. So are the pixels on a CPU, bit for bit if heights and widths are multiples of 4 and
    (with several threads) at most 128; else, and on a GPU, to about 1e-6, because matrix products and
    means round by how they are cut into parts.
    They are computed in float32, under autocast too.

    Args:
        images: uint8 [n, c, h, w], c = 1 or 3.
        view: what to do.
        seed: the run's seed.
        epoch: the epoch's number.
        index: int64 [n] on the images' device, identities of the samples.
        number: of the view among those of a sample.
        mean: c numbers on the scale 0–1.
        std: c positive numbers.
        dtype: of the result.

    Returns:
        [n, c, s, s] with s = view.size, or [n, c, h, w] if that is absent.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    drawn = pixels(images, view, seed=seed, epoch=epoch, index=index, number=number)
    return normalize(drawn, mean, std).to(dtype)


def pixels(
    images: Tensor, view: View, *, seed: int, epoch: int, index: Tensor, number: int
) -> Tensor:
    """One augmented view of each image before normalisation: as `make_view`, with values 0–1."""
    n = check_images(images, integers=True)[0]
    if index.shape != (n,):
        raise ValueError(f"index must be [{n}], one for each image, not {list(index.shape)}")
    return draw(images, view, uniforms(seed, epoch, index, number, UNIFORMS))


def draw(images: Tensor, view: View, u: Tensor) -> Tensor:
    """The view of each image that the uniform numbers `u` [n, UNIFORMS] stand for, values 0–1.

    This is the part to give to torch.compile: one graph for each view, whatever the seed and epoch.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, channels, height, width = check_images(images, integers=True)
    if u.shape != (n, UNIFORMS):
        raise ValueError(f"u must be [{n}, {UNIFORMS}], not {list(u.shape)}")
    flip = u[:, _FLIP] < view.flip if view.flip else None
    if view.crops:
        boxes = crop_boxes(u[:, :CROP_UNIFORMS], height, width, view.crop_scale, view.crop_ratio)
        size = (view.size, view.size) if view.size else (height, width)
        x = random_resized_crop(images, boxes, size, flip=flip)
    else:
        x = _resized(images if flip is None else horizontal_flip(images, flip), view.size)
    if view.brightness or view.contrast or view.saturation or view.hue:
        brightness, contrast, saturation, hue, order, apply = jitter_parameters(
            u[:, _JITTER : _JITTER + JITTER_UNIFORMS], view
        )
        x = color_jitter(
            x,
            brightness if view.brightness else None,
            contrast if view.contrast else None,
            saturation if view.saturation else None,
            hue if view.hue else None,
            order,
            apply if view.jitter_probability < 1 else None,
        )
    if view.grayscale and channels == 3:
        x = grayscale(x, u[:, _GRAYSCALE] < view.grayscale)
    if view.blur:
        low, high = view.blur_sigma
        sigma = u[:, _SIGMA] * (high - low) + low
        x = gaussian_blur(x, sigma, _kernel_size(view, x), u[:, _BLUR] < view.blur)
    if view.solarize:
        x = solarize(x, view.solarize_threshold, u[:, _SOLARIZE] < view.solarize)
    return x


def clean(
    images: Tensor,
    size: int | None,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Images without augmentation: resized to size × size if given and different, then normalised.

    Args:
        images: uint8 [n, c, h, w].
        size: in pixels, or none to keep the images' own.
        mean: c numbers on the scale 0–1.
        std: c positive numbers.
        dtype: of the result.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    check_images(images, integers=True)
    if size is None or images.shape[2:] == (size, size):
        return normalize(images, mean, std).to(dtype)
    return normalize(_resized(images, size), mean, std).to(dtype)


def _alike(views: Sequence[View], most: int) -> Iterator[tuple[View, range]]:
    """Stretches of at most so many equal views (at least one), as a view and its numbers."""
    start = 0
    for view, equal in groupby(views):
        stop = start + len(list(equal))
        for first in range(start, stop, max(1, most)):
            yield view, range(first, min(first + max(1, most), stop))
        start = stop


def _resized(images: Tensor, size: int | None) -> Tensor:
    """Floating images 0–1 of size × size pixels."""
    x = images if images.is_floating_point() else images.to(torch.float32).mul_(1 / 255)
    if size is None or x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


def _kernel_size(view: View, images: Tensor) -> int:
    """The view's blur kernel, by default about a tenth of the image (SimCLR, appendix A)."""
    return view.blur_kernel or max(3, min(images.shape[2:]) // 20 * 2 + 1)
