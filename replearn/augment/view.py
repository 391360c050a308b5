"""From a `View` and counters to pixels: the same view of a sample in any batch, on any device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.augment.checks import check_images
from replearn.augment.color import grayscale, normalize, solarize
from replearn.augment.filters import gaussian_blur
from replearn.augment.geometry import (
    CROP_UNIFORMS,
    Taps,
    crop_boxes,
    crop_taps,
    horizontal_flip,
    resampled,
)
from replearn.augment.jitter import (
    JITTER_UNIFORMS,
    JitterSteps,
    jitter_parameters,
    jitter_steps,
    jittered,
)
from replearn.augment.perimage import PerImage
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


class DrawnViews:
    """The views of several batches, drawn ahead: a few large operations instead of many small ones.

    Equal views that follow each other go through the operations as one batch, unless it is large.

    Args:
        views: of each image.
        seed: the run's seed.
        epoch: the epoch's number.
        index: int64 [batches · n] on the images' device, identities of the samples, batch after batch.
        batch_size: n.
        shape: (c, h, w) of the images.
    """

    def __init__(
        self,
        views: Sequence[View],
        *,
        seed: int,
        epoch: int,
        index: Tensor,
        batch_size: int,
        shape: Sequence[int],
    ) -> None:
        self._batch_size = batch_size
        self._drawn: list[tuple[View, int, Parameters]] = []
        for view, numbers in _alike(views, _TOGETHER // max(1, batch_size * math.prod(shape[1:]))):
            u = torch.stack([uniforms(seed, epoch, index, number, UNIFORMS) for number in numbers])
            # What a batch needs of all these views has to lie together.
            u = u.view(len(numbers), -1, batch_size, UNIFORMS).transpose(0, 1).reshape(-1, UNIFORMS)
            self._drawn.append((view, len(numbers), parameters(view, u, shape)))

    def make(
        self, number: int, images: Tensor, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Tensor, ...]:
        """All views of the images uint8 [n, c, h, w] of one of the batches: `make_view` for each.

        Args:
            number: of the batch.
            images: of the samples of this batch.
            mean: c numbers on the scale 0–1.
            std: c positive numbers.
        """
        made: list[Tensor] = []
        for view, count, drawn in self._drawn:
            size = count * self._batch_size
            own = drawn.take(slice(number * size, (number + 1) * size))
            pixels = applied(images.repeat(count, 1, 1, 1), view, own)
            made.extend(normalize(pixels, mean, std).chunk(count))
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


@dataclass(frozen=True)
class Parameters(PerImage):
    """What a view does to each of n images; absent: nothing.

    Attributes:
        flip: bool [n], if the view does not crop; else part of the taps.
        crop: crops, with their flips.
        jitter: of the colours.
        grayscale: bool [n].
        sigma: of the blur, in pixels, [n].
        blur: bool [n].
        solarize: bool [n].
    """

    flip: Tensor | None
    crop: Taps | None
    jitter: JitterSteps | None
    grayscale: Tensor | None
    sigma: Tensor | None
    blur: Tensor | None
    solarize: Tensor | None


def parameters(view: View, u: Tensor, shape: Sequence[int]) -> Parameters:
    """What the uniform numbers `u` [n, UNIFORMS] stand for, for images of a `shape` [c, h, w].

    Raises:
        ValueError: if the view changes colours and there is another number of them than 1 or 3.
    """
    channels, height, width = shape
    if (view.jitters or view.grayscale) and channels not in (1, 3):
        raise ValueError(f"colour operations take 1 or 3 channels, not {channels}")
    flip = u[:, _FLIP] < view.flip if view.flip else None
    crop = jitter = None
    if view.crops:
        boxes = crop_boxes(u[:, :CROP_UNIFORMS], height, width, view.crop_scale, view.crop_ratio)
        size = (view.size, view.size) if view.size else (height, width)
        crop, flip = crop_taps(boxes.to(u.dtype), (height, width), size, flip), None
    if view.jitters:
        brightness, contrast, saturation, hue, order, apply = jitter_parameters(
            u[:, _JITTER : _JITTER + JITTER_UNIFORMS], view
        )
        jitter = jitter_steps(
            brightness if view.brightness else None,
            contrast if view.contrast else None,
            saturation if view.saturation else None,
            hue if view.hue else None,
            order=order,
            apply=apply if view.jitter_probability < 1 else None,
            channels=channels,
        )
    low, high = view.blur_sigma
    return Parameters(
        flip=flip,
        crop=crop,
        jitter=jitter,
        grayscale=u[:, _GRAYSCALE] < view.grayscale if view.grayscale and channels == 3 else None,
        sigma=u[:, _SIGMA] * (high - low) + low if view.blur else None,
        blur=u[:, _BLUR] < view.blur if view.blur else None,
        solarize=u[:, _SOLARIZE] < view.solarize if view.solarize else None,
    )


def applied(images: Tensor, view: View, chosen: Parameters) -> Tensor:
    """The view of each image [n, c, h, w] that its parameters describe, values 0–1."""
    if chosen.crop is not None:
        x = resampled(images, chosen.crop)
    else:
        x = images if chosen.flip is None else horizontal_flip(images, chosen.flip)
        x = _resized(x, view.size)
    if chosen.jitter is not None:
        x = jittered(x, chosen.jitter)
    if chosen.grayscale is not None:
        x = grayscale(x, chosen.grayscale)
    if chosen.sigma is not None:
        x = gaussian_blur(x, chosen.sigma, _kernel_size(view, x), chosen.blur)
    if chosen.solarize is not None:
        x = solarize(x, view.solarize_threshold, chosen.solarize)
    return x


def draw(images: Tensor, view: View, u: Tensor) -> Tensor:
    """The view of each image that the uniform numbers `u` [n, UNIFORMS] stand for, values 0–1.

    This is the part to give to torch.compile: one graph for each view, whatever the seed and epoch.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, *shape = check_images(images, integers=True)
    if u.shape != (n, UNIFORMS):
        raise ValueError(f"u must be [{n}, {UNIFORMS}], not {list(u.shape)}")
    return applied(images, view, parameters(view, u, shape))


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
