"""Batched augmentation with per-sample parameters, on any device and without a look at the values.

Every operation takes its parameters explicitly; `make_view` and `DrawnViews` draw them.
"""

from __future__ import annotations

from replearn.augment.color import grayscale, normalize, solarize
from replearn.augment.drawn import DrawnViews, capacity
from replearn.augment.filters import gaussian_blur
from replearn.augment.geometry import crop_boxes, horizontal_flip, random_resized_crop
from replearn.augment.jitter import color_jitter, jitter_parameters
from replearn.augment.parameters import UNIFORMS
from replearn.augment.view import clean, draw, make_view, pixels

__all__ = [
    "UNIFORMS",
    "DrawnViews",
    "capacity",
    "clean",
    "color_jitter",
    "crop_boxes",
    "draw",
    "gaussian_blur",
    "grayscale",
    "horizontal_flip",
    "jitter_parameters",
    "make_view",
    "normalize",
    "pixels",
    "random_resized_crop",
    "solarize",
]
