"""What a view of an image is: the options of its augmentation (the pixels are in `augment/`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]
Range = tuple[float, float]


class View(BaseModel):
    """One random view; the operations come in torchvision's order and with its meanings.

    Random resized crop, horizontal flip, colour jitter (in random order), greyscale, Gaussian blur, solarise.
    An image with one channel keeps it: saturation, hue and greyscale do nothing there, as in torchvision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=4)] | None = None
    """Height and width of the view in pixels; the image's own if absent."""
    crop_scale: Range = (1.0, 1.0)
    """Share of the image's area that a crop covers, smallest and largest."""
    crop_ratio: Range = (3 / 4, 4 / 3)
    """Aspect ratio of a crop before it is resized."""
    flip: Probability = 0.0
    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    jitter_probability: Probability = 1.0
    grayscale: Probability = 0.0
    blur: Probability = 0.0
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur in pixels of the view."""
    blur_kernel: Annotated[int, Field(ge=3)] | None = None
    """Odd width of the blur kernel; about a tenth of the view's size if absent (SimCLR, appendix A)."""
    solarize: Probability = 0.0
    solarize_threshold: Probability = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> View:
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} needs 0 < smallest <= largest, not [{low}, {high}]")
        if self.crop_scale[1] > 1:
            raise ValueError(
                f"crop_scale is a share of the image, at most 1, not {self.crop_scale[1]}"
            )
        if self.blur_kernel is not None and self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel must be odd, not {self.blur_kernel}")
        return self

    @property
    def crops(self) -> bool:
        """Whether the view crops at all (a full crop of the full size is the image itself)."""
        return self.crop_scale != (1.0, 1.0)

    @property
    def jitters(self) -> bool:
        """Whether any colour is jittered."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))
