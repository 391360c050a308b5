"""What is measured and how: every parameter of an evaluation, named and versioned with each number.

A change of the computation that moves numbers raises the version of its protocol.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from replearn.views import View

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class Protocol(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KnnProtocol(Protocol):
    """Weighted nearest neighbours (Wu et al., 2018, eq. 9; DINO, section 4.2), never tuned."""

    name: Literal["knn"] = "knn"
    version: Literal[1] = 1
    k: Count = 20
    """Neighbours that vote in the main protocol."""
    temperature: Positive = 0.07
    """T of the vote's weight exp((s − s_max) / T), s the cosine similarity."""
    extra: tuple[tuple[Count, Positive], ...] = ((10, 0.07), (100, 0.07), (200, 0.07), (200, 0.1))
    """Further settings (k, temperature), reported as accuracy_k<k> (and _t<temperature>)."""


class LinearProtocol(Protocol):
    """Multinomial logistic regression on frozen features; validation loss chooses the strength."""

    name: Literal["linear"] = "linear"
    version: Literal[4] = 4
    strength_low: Positive = 1e-6
    """Smallest inverse regularisation C, of C · Σ cross-entropy + ½ ‖W‖² (scikit-learn's C)."""
    strength_high: Positive = 1e5
    """Largest C."""
    strength_count: Count = 45
    """How many strengths, evenly spaced in log C."""
    patience: Count = 4
    """The search ends after so many strengths in a row with no validation loss below the lowest."""
    standardise: bool = True
    """Centre and scale each feature by the rows of the fit (low-shot: by all training rows)."""
    max_iterations: Count = 1000
    """Limit on L-BFGS iterations at one strength."""
    tolerance: Positive = 1e-6
    """A probe is fitted until its loss is, by estimate, within this share of the minimum."""
    path_tolerance: Positive = 1e-6
    """The same while validation chooses, and for the canary."""
    shots: tuple[Count, ...] = (1, 10, 100)
    """Labelled images per class of the low-shot probes, which keep the chosen strength."""
    draws: Count = 5
    """Random draws of the labelled images that a low-shot accuracy is the mean of."""
    projector: bool = True
    """Also probe the projector's output z, where there is one."""
    shuffled: bool = True
    """Also probe shuffled training labels: a canary that must stay at chance."""

    @model_validator(mode="after")
    def _ordered(self) -> LinearProtocol:
        if self.strength_low > self.strength_high:
            raise ValueError(
                f"strength_low {self.strength_low:g} is above strength_high {self.strength_high:g}"
            )
        return self

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths C, ascending."""
        if self.strength_count == 1:
            return (self.strength_low,)
        ratio = self.strength_high / self.strength_low
        last = self.strength_count - 1
        return tuple(self.strength_low * ratio ** (i / last) for i in range(self.strength_count))


class CollapseProtocol(Protocol):
    """Diagnostics of the features of held-out images, in double precision."""

    name: Literal["collapse"] = "collapse"
    version: Literal[2] = 2
    images: Annotated[int, Field(ge=2)] = 10_000
    """At most this many test images, evenly spaced."""
    pairs: Count = 2_000
    """Images whose pairs give the uniformity; all pairs among them count."""


class StructureProtocol(Protocol):
    """How test images lie among each other: clusters, neighbours of the same class."""

    name: Literal["structure"] = "structure"
    version: Literal[1] = 1
    images: Annotated[int, Field(ge=2)] = 5_000
    """At most this many test images, evenly spaced."""
    restarts: Count = 5
    """k-means++ starts, of which the best counts."""


class RobustnessProtocol(Protocol):
    """Features of shifted images: corrupted, augmented in one way, or of nothing at all."""

    name: Literal["robustness"] = "robustness"
    version: Literal[1] = 1
    images: Annotated[int, Field(ge=0)] = 1_000
    """At most this many test images, evenly spaced; 0 turns the family off."""
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field((1, 3, 5), min_length=1)
    """Of each corruption (Hendrycks & Dietterich, 2019), 1 … 5."""
    k: Count = 50
    """The neighbour whose distance says how strange an image is (Sun et al., 2022)."""
    bank: Count = 10_000
    """At most this many images of the training bank, evenly spaced, to search that neighbour in."""


CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "gaussian_blur",
    "brightness",
    "contrast",
    "pixelate",
)
"""Those of CIFAR-10-C that need no files and no library (their pixels are in `augment/`)."""
STRANGE = ("shuffled", "noise")
"""Images that no class has: patches of a test image in another order, and noise."""
OPERATIONS = {
    "crop": View(crop_scale=(0.3, 1.0)),
    "flip": View(flip=1.0),
    "brightness": View(brightness=0.4),
    "contrast": View(contrast=0.4),
    "saturation": View(saturation=0.4),
    "hue": View(hue=0.1),
    "grayscale": View(grayscale=1.0),
    "blur": View(blur=1.0),
}
"""Augmentations of one operation each, to which features are more or less invariant."""
OF_COLOUR = ("saturation", "hue", "grayscale")
"""Those that do nothing to an image with one channel."""


class ViewsProtocol(Protocol):
    """Augmented views of held-out images for alignment and LiDAR; the same for every method."""

    count: Annotated[int, Field(ge=2)] = 10
    """Views of each image (LiDAR, section 4, uses 10)."""
    images: Annotated[int, Field(ge=2)] = 500
    """At most this many images, evenly spaced."""
    view: View = View(
        crop_scale=(0.3, 1.0),
        flip=0.5,
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        jitter_probability=0.8,
    )
    """The augmentation, of medium strength, whatever a method was trained with."""


class EvaluationConfig(Protocol):
    """All protocols of a study."""

    knn: KnnProtocol = KnnProtocol()
    linear: LinearProtocol = LinearProtocol()
    collapse: CollapseProtocol = CollapseProtocol()
    structure: StructureProtocol = StructureProtocol()
    robustness: RobustnessProtocol = RobustnessProtocol()
    views: ViewsProtocol = ViewsProtocol()
