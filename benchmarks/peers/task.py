"""What both sides are asked to train, in one place: everything here is equal for the two."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from replearn.views import View

Recipe = Literal["own", "lightly", "kobak", "short"]
"""What replearn trains with when it is about an accuracy."""

TEMPERATURE = 0.5
"""Default of lightly's NTXentLoss, which its CIFAR-10 script keeps."""
LR, MOMENTUM, WEIGHT_DECAY = 0.06, 0.9, 5e-4
"""SGD of lightly's CIFAR-10 script, for a batch of 128."""
LR_BATCH = 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The normalisation that lightly's transforms come with."""
SIZE = 32

VIEW = View(
    size=SIZE,
    crop_scale=(0.08, 1.0),
    flip=0.5,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_probability=0.8,
    grayscale=0.2,
)
"""lightly's `SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0)` as a view of replearn."""

HEADS = {"resnet18": (512, 128), "convnet": (256, 64)}
"""Hidden and output width of the projection head for each encoder."""
CONVNET_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Task:
    """One training to time.

    Attributes:
        images: folder with train/<class>/ and test/<class>/.
        prepared: the same images as replearn's prepared dataset.
        encoder: "resnet18" or "convnet".
        batch_size: images in a step; each has two views.
        warm_up: epochs before the clock starts.
        epochs: all epochs, those of the warm-up among them.
        device: "cpu" or "cuda".
        threads: CPU threads of the main process; 0 leaves the default.
        workers: of lightly's DataLoader.
        compile: of replearn's engine.
    """

    images: str
    prepared: str
    encoder: str
    batch_size: int
    warm_up: int
    epochs: int
    device: str
    threads: int = 0
    workers: int = 0
    compile: str = "off"

    @property
    def lr(self) -> float:
        """Learning rate at this batch size, scaled linearly as in lightly's script."""
        return LR * self.batch_size / LR_BATCH

    def as_dict(self) -> dict[str, Any]:
        """For the way into another process."""
        return asdict(self)


def limit_threads(threads: int) -> None:
    """Hold this process to `threads` CPU threads, if that is not 0."""
    if threads:
        import torch

        torch.set_num_threads(threads)


def training_files(images: str | Path) -> list[str]:
    """Paths of the training images below train/, in the order in which both sides number them."""
    root = Path(images) / "train"
    return sorted(
        (Path(folder) / file).relative_to(root).as_posix()
        for folder, _, files in os.walk(root)
        for file in files
    )
