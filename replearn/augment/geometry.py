"""Crops, resizing and flips: one box and one flip per sample, two matrix products per batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from replearn.augment.checks import check_images, check_mask
from replearn.augment.planes import join_planes

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

    Resizing along one axis is a matrix of triangle weights, so a batch is Wy · X · Wxᵀ. A flip
    reverses the rows of Wx and costs nothing.

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
    rows, columns = _pair(size)
    if boxes.shape != (n, 4):
        raise ValueError(f"boxes must be [{n}, 4], one for each image, not {list(boxes.shape)}")
    if flip is not None:
        check_mask(flip, n, "flip")
    dtype = images.dtype if images.is_floating_point() else torch.float32
    # Half precision can't tell the positions of pixels apart in a large image.
    exact = torch.promote_types(dtype, torch.float32)
    top, left, tall, wide = boxes.to(exact).unbind(1)
    weights_y = _weights(top, tall, height, rows, None, antialias)
    weights_x = _weights(left, wide, width, columns, flip, antialias)
    if not images.is_floating_point():
        weights_y.mul_(1 / 255)
    weights_y, weights_x = weights_y.to(dtype), weights_x.to(dtype)
    # A plane per channel, so that each product sees contiguous batches of matrices.
    planes = images.transpose(0, 1).to(dtype, memory_format=torch.contiguous_format).contiguous()
    # Autocast would run the products in bfloat16, which errs by more than a grey level.
    with torch.autocast(images.device.type, enabled=False):
        resized = [
            torch.bmm(torch.bmm(weights_y, plane), weights_x.transpose(1, 2)) for plane in planes
        ]
    return join_planes(resized)


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


def _weights(
    start: Tensor, extent: Tensor, length: int, size: int, flip: Tensor | None, antialias: bool
) -> Tensor:
    """Matrices [n, size, length] that resize the stretch [start, start + extent) of an axis.

    Row i is a triangle around the centre of output pixel i, of half-width max(1, extent / size)
    input pixels, cut off at the stretch's ends and normalised.
    """
    dtype, device = start.dtype, start.device
    start, extent = start[:, None], extent[:, None]
    scale = extent / size
    slope = scale.clamp(min=1).reciprocal() if antialias else torch.ones_like(scale)
    steps = torch.arange(size, dtype=dtype, device=device) + 0.5
    centres = scale * (steps if flip is None else torch.where(flip[:, None], size - steps, steps))
    places = torch.arange(length, dtype=dtype, device=device) + 0.5 - start
    # Pixels outside the stretch are moved infinitely far, where the triangle is zero.
    places = torch.where((places > 0) & (places < extent), places, torch.inf)
    # Minus the triangle, so that each step can work in place; the division restores the sign.
    weights = torch.sub((places * slope)[:, None, :], (centres * slope)[:, :, None])
    weights = weights.abs_().sub_(1).clamp_(max=0)
    return weights.div_(weights.sum(2, keepdim=True))
