"""What a view does to each image of a batch, from uniform numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from replearn.augment.geometry import CROP_UNIFORMS, Taps, crop_boxes, crop_taps
from replearn.augment.jitter import JITTER_UNIFORMS, JitterSteps, jitter_parameters, jitter_steps
from replearn.augment.perimage import PerImage
from replearn.views import View

# Columns of the uniform numbers. They are the same for every view, so switching an operation off
# leaves the parameters of the others alone.
_JITTER = CROP_UNIFORMS
_FLIP, _GRAYSCALE, _BLUR, _SIGMA, _SOLARIZE = range(
    _JITTER + JITTER_UNIFORMS, _JITTER + JITTER_UNIFORMS + 5
)
UNIFORMS = _SOLARIZE + 1
"""Uniform numbers that a view uses per sample."""


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


def jitter_of(view: View, u: Tensor, channels: int) -> JitterSteps | None:
    """The jitter that the uniform numbers `u` [n, UNIFORMS] stand for.

    Raises:
        ValueError: if the view changes colours and there is another number of them than 1 or 3.
    """
    if (view.jitters or view.grayscale) and channels not in (1, 3):
        raise ValueError(f"colour operations take 1 or 3 channels, not {channels}")
    if not view.jitters:
        return None
    brightness, contrast, saturation, hue, order, apply = jitter_parameters(
        u[:, _JITTER : _JITTER + JITTER_UNIFORMS], view
    )
    return jitter_steps(
        brightness if view.brightness else None,
        contrast if view.contrast else None,
        saturation if view.saturation else None,
        hue if view.hue else None,
        order=order,
        apply=apply if view.jitter_probability < 1 else None,
        channels=channels,
    )


def parameters(
    view: View, u: Tensor, shape: Sequence[int], jitter: JitterSteps | None
) -> Parameters:
    """What the uniform numbers `u` [n, UNIFORMS] stand for beside their jitter, images being [c, h, w]."""
    channels, height, width = shape
    flip = u[:, _FLIP] < view.flip if view.flip else None
    crop = None
    if view.crops:
        boxes = crop_boxes(u[:, :CROP_UNIFORMS], height, width, view.crop_scale, view.crop_ratio)
        size = (view.size, view.size) if view.size else (height, width)
        crop, flip = crop_taps(boxes.to(u.dtype), (height, width), size, flip), None
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
