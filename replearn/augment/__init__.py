"""Batched augmentation with per-sample parameters, on any device and without a look at the values.

Every operation takes its parameters explicitly; `make_view` and `make_views` draw them.
"""

from __future__ import annotations

from replearn.augment.color import (
    color_jitter,
    grayscale,
    jitter_parameters,
    normalize,
    solarize,
)
from replearn.augment.filters import gaussian_blur
from replearn.augment.geometry import crop_boxes, horizontal_flip, random_resized_crop
from replearn.augment.view import UNIFORMS, clean, draw, make_view, make_views, pixels

__all__ = [
    "UNIFORMS",
    "clean",
    "color_jitter",
    "crop_boxes",
    "draw",
    "gaussian_blur",
    "grayscale",
    "horizontal_flip",
    "jitter_parameters",
    "make_view",
    "make_views",
    "normalize",
    "pixels",
    "random_resized_crop",
    "solarize",
]
