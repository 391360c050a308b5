"""Gaussian blur with one width per sample."""

from __future__ import annotations

import torch
from torch import Tensor

from replearn.augment.checks import check_images, check_mask, check_parameter, may_look


def gaussian_blur(
    images: Tensor, sigma: Tensor, kernel_size: int, mask: Tensor | None = None
) -> Tensor:
    """Blur each image with its own Gaussian, as torchvision's `gaussian_blur`.

    A true Gaussian, cut off at `kernel_size` pixels and normalised, that reflects at the border.
    PIL's `GaussianBlur` is a chain of box filters and differs by one to three grey levels. Along
    an axis a blur is a banded matrix, so a batch is By · X · Bxᵀ.

    Args:
        images: [n, c, h, w] with values 0–1.
        sigma: [n], positive standard deviations in pixels.
        kernel_size: odd, less than twice the image's height and width.
        mask: bool [n], which images to blur; absent: all.

    Returns:
        [n, c, h, w] with values 0–1.

    Raises:
        ValueError: if shapes or types don't fit or the kernel is even or too wide.
    """
    n, _, height, width = check_images(images)
    check_parameter(sigma, n, "sigma")
    radius = kernel_size // 2
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, not {kernel_size}")
    if radius >= min(height, width):
        raise ValueError(
            f"a blur of {kernel_size} pixels is too wide for {height} x {width} pixels"
        )
    if mask is not None:
        check_mask(mask, n, "mask")
        if may_look(mask):
            result, rows = images.clone(), mask.nonzero()[:, 0]
            if len(rows):
                result[rows] = gaussian_blur(images[rows], sigma[rows], kernel_size)
            return result
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    taps = torch.softmax(-0.5 * (offsets / sigma.to(images.dtype)[:, None]) ** 2, dim=1)
    if mask is not None:
        taps = torch.where(mask[:, None], taps, (offsets == 0).to(taps.dtype))
    across = _banded(taps, width)
    down = across if height == width else _banded(taps, height)
    with torch.autocast(images.device.type, enabled=False):
        planes = images.transpose(0, 1).contiguous()
        blurred = [torch.bmm(torch.bmm(down, plane), across.transpose(1, 2)) for plane in planes]
    return torch.stack(blurred, 1)


def _banded(taps: Tensor, length: int) -> Tensor:
    """Matrices [n, length, length] that correlate an axis with `taps` [n, k], reflecting."""
    n, kernel_size = taps.shape
    places = torch.arange(length, device=taps.device)
    reach = places[:, None] + torch.arange(kernel_size, device=taps.device) - kernel_size // 2
    source = (length - 1) - ((length - 1) - reach.abs()).abs()
    matrices = taps.new_zeros(n, length, length)
    return matrices.scatter_add_(
        2, source.expand(n, length, kernel_size), taps[:, None, :].expand(n, length, kernel_size)
    )
