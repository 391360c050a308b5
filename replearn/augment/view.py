"""From a `View` and counters to pixels: the same view of a sample in any batch, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from replearn.augment.checks import check_images
from replearn.augment.color import normalize
from replearn.augment.drawn import Drawing, DrawnViews
from replearn.augment.geometry import resized
from replearn.augment.parameters import UNIFORMS
from replearn.randomness import uniforms
from replearn.views import View


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
    n, *shape = check_images(images, integers=True)
    _check_index(index, n)
    drawn = DrawnViews(
        [view],
        seed=seed,
        epoch=epoch,
        index=index,
        batch_size=n,
        shape=shape,
        mean=mean,
        std=std,
        first=number,
    )
    return drawn.make(0, images)[0].to(dtype)


def pixels(
    images: Tensor, view: View, *, seed: int, epoch: int, index: Tensor, number: int
) -> Tensor:
    """One augmented view of each image before normalisation: as `make_view`, with values 0–1."""
    n, *_ = check_images(images, integers=True)
    _check_index(index, n)
    return draw(images, view, uniforms(seed, epoch, index, number, UNIFORMS))


def draw(images: Tensor, view: View, u: Tensor) -> Tensor:
    """The view of each image that the uniform numbers `u` [n, UNIFORMS] stand for, values 0–1.

    This is the part to give to torch.compile: one graph for each view, whatever the seed and epoch.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, *shape = check_images(images, integers=True)
    if u.shape != (n, UNIFORMS):
        raise ValueError(f"u must be [{n}, {UNIFORMS}], not {list(u.shape)}")
    black, white = (0.0,) * shape[0], (1.0,) * shape[0]
    drawing = Drawing(view, u, batch_size=n, count=1, shape=shape, mean=black, std=white)
    return drawing.make(0, images)[0]


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
    return normalize(resized(images, size), mean, std).to(dtype)


def _check_index(index: Tensor, n: int) -> None:
    if index.shape != (n,):
        raise ValueError(f"index must be [{n}], one for each image, not {list(index.shape)}")
