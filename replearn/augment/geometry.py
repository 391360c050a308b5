"""Crops, resizing and flips: one box and one flip per sample, two products per batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.augment.checks import check_images, check_mask, may_look
from replearn.augment.perimage import PerImage

CROP_TRIES = 10
"""Candidates a crop is chosen from, as in torchvision's RandomResizedCrop."""
CROP_UNIFORMS = 2 * CROP_TRIES + 2
"""Uniform numbers that `crop_boxes` uses per sample."""


def random_resized_crop(
    images: Tensor,
    boxes: Tensor,
    size: int | Sequence[int],
    *,
    flip: Tensor | None = None,
    antialias: bool = True,
) -> Tensor:
    """Cut one box out of each image and resize it, bilinearly, as torchvision's `resized_crop`.

    Args:
        images: [n, c, h, w], uint8 or floating with values 0–1.
        boxes: [n, 4], (top, left, height, width) in pixels, inside the image. Not checked, because
            that would stall an accelerator.
        size: of the result, (height, width) or one number for both.
        flip: bool [n], which results to mirror left to right.
        antialias: widen the triangle where the box shrinks.

    Returns:
        [n, c, *size] with values 0–1, float32 if the images are uint8, else of their type.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, _, height, width = check_images(images, integers=True)
    if boxes.shape != (n, 4):
        raise ValueError(f"boxes must be [{n}, 4], one for each image, not {list(boxes.shape)}")
    if flip is not None:
        check_mask(flip, n, "flip")
    # Half precision can't tell the positions of pixels apart in a large image.
    wide = images.dtype == torch.float64
    boxes = boxes.to(torch.float64 if wide else torch.float32)
    taps = crop_taps(boxes, (height, width), _pair(size), flip, antialias)
    # Autocast would run products in bfloat16, which errs by more than a grey level.
    with torch.autocast(images.device.type, enabled=False):
        return resampled(images, taps)


@dataclass(frozen=True)
class Taps(PerImage):
    """Where the pixels of n resized images come from, with how many pixels to each, and how much of each.

    Attributes:
        rows: int64 [n, rows of the result, taps], rows of the image.
        row_weights: what they count, of the same shape; together 1.
        columns: likewise, [n, columns of the result, taps].
        column_weights: what they count.
    """

    rows: Tensor
    row_weights: Tensor
    columns: Tensor
    column_weights: Tensor


def crop_taps(
    boxes: Tensor,
    shape: tuple[int, int],
    size: tuple[int, int],
    flip: Tensor | None = None,
    antialias: bool = True,
) -> Taps:
    """The taps of `random_resized_crop` for images of a `shape`, boxes [n, 4] of a floating type."""
    top, left, tall, wide = boxes.unbind(1)
    rows, row_weights = _taps(top, tall, shape[0], size[0], antialias)
    columns, column_weights = _taps(left, wide, shape[1], size[1], antialias, flip)
    return Taps(rows, row_weights, columns, column_weights)


def resampled(images: Tensor, taps: Taps) -> Tensor:
    """The images [n, c, h, w] resized as their taps say, with values 0–1.

    Resizing along an axis is a matrix of the taps' weights, so a batch is Wy · X · Wxᵀ. On a CPU whole
    rows of pixels are added up instead of Wy · X.
    """
    n, channels, height, width = images.shape
    rows, columns = taps.rows.shape[1], taps.columns.shape[1]
    dtype = images.dtype if images.is_floating_point() else torch.float32
    row_weights, column_weights = taps.row_weights, taps.column_weights.to(dtype)
    if not images.is_floating_point():
        row_weights = row_weights * (1 / 255)
    across = _dense(taps.columns, column_weights, width).transpose(1, 2)
    if may_look(images) and dtype == row_weights.dtype:
        x = _summed_rows(images.to(dtype), taps.rows, row_weights)
        x = torch.bmm(x.view(n, channels * rows, width), across)
        return x.view(n, channels, rows, columns)
    down = _dense(taps.rows, row_weights.to(dtype), height)
    # A plane per channel, so that each product sees contiguous batches of matrices.
    planes = images.transpose(0, 1).to(dtype, memory_format=torch.contiguous_format).contiguous()
    return torch.stack([torch.bmm(torch.bmm(down, plane), across) for plane in planes], 1)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Floating images 0–1 of size × size pixels."""
    x = images if images.is_floating_point() else images.to(torch.float32).mul_(1 / 255)
    if size is None or x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


def horizontal_flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images [n, c, h, w] for which `mask` (bool [n]) is true, left to right.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n = check_images(images, integers=True)[0]
    check_mask(mask, n, "mask")
    return torch.where(mask[:, None, None, None], images.flip(-1), images)


def crop_boxes(
    u: Tensor,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """Boxes distributed as those of torchvision's `RandomResizedCrop.get_params`.

    Ten candidates of uniform area and log-uniform aspect ratio; the first that fits in the image is
    placed uniformly. If none fits: the largest central box of an allowed aspect ratio.

    Args:
        u: uniform numbers in [0, 1), [n, CROP_UNIFORMS].
        height: of the images in pixels.
        width: likewise.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width / height.

    Returns:
        int64 [n, 4], (top, left, height, width) in pixels.

    Raises:
        ValueError: if there are not CROP_UNIFORMS numbers for each sample.
    """
    if u.ndim != 2 or u.shape[1] != CROP_UNIFORMS:
        raise ValueError(f"u must be [n, {CROP_UNIFORMS}], not {list(u.shape)}")
    # In float64 the last bit of exp, which differs between devices, practically never moves a box
    # by a pixel. Apple's GPUs have no float64.
    u = u.to(torch.float32 if u.device.type == "mps" else torch.float64)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * u[:, :CROP_TRIES])
    logs = math.log(ratio[0]), math.log(ratio[1])
    aspect = (logs[0] + (logs[1] - logs[0]) * u[:, CROP_TRIES : 2 * CROP_TRIES]).exp()
    wide = (area * aspect).sqrt().round()
    tall = (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.any(1)
    fallback_tall, fallback_wide = _central(height, width, ratio)
    tall = torch.where(found, tall.gather(1, first)[:, 0], fallback_tall)
    wide = torch.where(found, wide.gather(1, first)[:, 0], fallback_wide)
    top = _place(u[:, -2], height - tall)
    left = _place(u[:, -1], width - wide)
    top = torch.where(found, top, (height - fallback_tall) // 2)
    left = torch.where(found, left, (width - fallback_wide) // 2)
    return torch.stack([top, left, tall, wide], 1).to(torch.int64)


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest box of an allowed aspect ratio."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def _place(u: Tensor, room: Tensor) -> Tensor:
    """Uniform whole numbers from 0 to `room`."""
    return torch.minimum((u * (room + 1)).floor(), room)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"size must be a positive number or (height, width), not {size}")
    return pair[0], pair[1]


def _taps(
    start: Tensor,
    extent: Tensor,
    length: int,
    size: int,
    antialias: bool,
    flip: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Taps of one axis, which resize the stretch [start, start + extent) of it to `size` pixels.

    The weights are a triangle around the centre of the output pixel, of half-width max(1, extent / size)
    input pixels, cut off at the stretch's ends and normalised.

    Returns:
        places int64 and weights, [n, size, taps] each.
    """
    dtype, device = start.dtype, start.device
    extent = extent[:, None]
    scale = extent / size
    half = scale.clamp(min=1) if antialias else torch.ones_like(scale)
    taps = 2 * math.ceil(length / size) if antialias and length > size else 2
    steps = torch.arange(size, dtype=dtype, device=device) + 0.5
    centres = scale * (steps if flip is None else torch.where(flip[:, None], size - steps, steps))
    first = (centres - half + 0.5).floor_()
    # Of pixels the middles: a half more than their numbers. Taps come last once all is computed, since
    # operations are slow over a last dimension of two.
    middles = first + (torch.arange(taps, dtype=dtype, device=device) + 0.5)[:, None, None]
    weights = (middles - centres).abs_().neg_().add_(half).clamp_(min=0)  # [taps, n, size]
    inside = middles.clamp(min=0.5).minimum(extent - 0.5)
    weights.mul_(inside == middles)
    weights.div_(weights.sum(0))
    places = inside.add_(start[:, None]).long()
    return places.movedim(0, 2).contiguous(), weights.movedim(0, 2).contiguous()


def _dense(places: Tensor, weights: Tensor, length: int) -> Tensor:
    """Taps [n, size, taps] of an axis as matrices [n, size, length]."""
    matrices = weights.new_zeros(*places.shape[:2], length)
    return matrices.scatter_add_(2, places, weights)


def _summed_rows(images: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [n, c, size, w] of rows of the images [n, c, h, w], by taps [n, size, taps]."""
    n, channels, height, width = images.shape
    size, taps = rows.shape[1:]
    first = torch.arange(0, n * channels * height, height, device=rows.device)
    summed = F.embedding_bag(
        (first.view(n, channels, 1, 1) + rows[:, None]).view(-1, taps),
        images.reshape(-1, width),
        per_sample_weights=weights[:, None].expand(n, channels, size, taps).reshape(-1, taps),
        mode="sum",
    )
    return summed.view(n, channels, size, width)
