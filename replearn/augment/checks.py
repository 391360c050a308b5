"""Checks of arguments that look at shapes and types only, never at values: no accelerator waits."""

from __future__ import annotations

import torch
from torch import Tensor


def check_images(images: Tensor, *, integers: bool = False) -> tuple[int, int, int, int]:
    """The shape (n, c, h, w) of images; `integers` says whether uint8 is allowed.

    Raises:
        ValueError: if they are not four-dimensional, without pixels or of another type.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be [n, c, h, w], not {list(images.shape)}")
    if not images.is_floating_point() and not (integers and images.dtype == torch.uint8):
        allowed = "uint8 or floating" if integers else "floating, with values 0–1"
        raise ValueError(f"images must be {allowed}, not {images.dtype}")
    n, channels, height, width = images.shape
    if min(channels, height, width) == 0:
        raise ValueError(f"images must have pixels, not the shape {list(images.shape)}")
    return n, channels, height, width


def check_colours(images: Tensor) -> tuple[int, int, int, int]:
    """The shape of floating images with one channel or three.

    Raises:
        ValueError: if they have another number of channels, or for `check_images`' reasons.
    """
    shape = check_images(images)
    if shape[1] not in (1, 3):
        raise ValueError(f"colour operations take 1 or 3 channels, not {shape[1]}")
    return shape


def check_mask(mask: Tensor, n: int, name: str) -> None:
    """Raise ValueError unless `mask` is bool [n]."""
    if mask.shape != (n,) or mask.dtype != torch.bool:
        raise ValueError(f"{name} must be bool [{n}], not {mask.dtype} {list(mask.shape)}")


def check_parameter(values: Tensor, n: int, name: str) -> None:
    """Raise ValueError unless `values` is [n], one parameter for each image."""
    if values.shape != (n,):
        raise ValueError(f"{name} must be [{n}], one for each image, not {list(values.shape)}")


def may_look(values: Tensor) -> bool:
    """Whether values may decide what is computed: on a CPU, unless a graph is being traced.

    There an operation can leave out the images that it leaves alone. An accelerator would have to
    wait for the answer, and does the work for all of them in less time.
    """
    return values.device.type == "cpu" and not torch.compiler.is_compiling()
