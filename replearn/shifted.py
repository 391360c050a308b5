"""Features of test images that are not as they were: corrupted, augmented, or of no class at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from torch import Tensor

from replearn.augment import clean, make_view
from replearn.augment.corruptions import corrupt, noise_like, shuffled_patches
from replearn.data.prepared import Manifest, Part
from replearn.evaluate.features import evenly_spaced
from replearn.evaluate.protocol import CORRUPTIONS, OF_COLOUR, OPERATIONS, RobustnessProtocol
from replearn.images import StreamedImages
from replearn.methods.base import Method

CHUNK_IMAGES = 128
CHUNK_PIXELS = 2**21
"""At most so many images and so many of their values at a time: noise takes 8 bytes for each."""


def shifted_features(
    method: Method, manifest: Manifest, test: Part, protocol: RobustnessProtocol, device: str
) -> dict[str, Tensor]:
    """Features h of every shift of the same test images.

    Args:
        method: in evaluation mode.
        manifest: of the dataset.
        test: its test images, of which evenly spaced ones are taken.
        protocol: how many, and how severe.
        device: "cpu" or "cuda".

    Returns:
        rows int64 [n] of the test images, and corruption_<name>_<severity>, view_<operation> and
        ood_<kind>, each [n, d]; nothing if the protocol asks for no image.
    """
    if not protocol.images:
        return {}
    rows = evenly_spaced(len(test), protocol.images)
    chosen = test.take(rows.numpy())
    index = torch.from_numpy(np.ascontiguousarray(chosen.index)).to(device)
    size = max(1, min(CHUNK_IMAGES, CHUNK_PIXELS // math.prod(chosen.images.shape[1:])))
    collected: dict[str, list[Tensor]] = {}
    chunks = StreamedImages(chosen.images, device).chunks(size)
    for images, part in zip(chunks, index.split(size), strict=True):
        for name, shift in _shifts(images, part, manifest, protocol.severities):
            collected.setdefault(name, []).append(method.embed(shift)[0].float().cpu())
    return {"rows": rows} | {name: torch.cat(parts) for name, parts in collected.items()}


def _shifts(
    images: Tensor, index: Tensor, manifest: Manifest, severities: tuple[int, ...]
) -> Iterator[tuple[str, Tensor]]:
    """Normalised images by name, one shift after the other."""
    mean, std = tuple(manifest.mean), tuple(manifest.std)
    for name, severity in product(CORRUPTIONS, severities):
        corrupted = corrupt(images, name, severity, index)
        yield f"corruption_{name}_{severity}", clean(corrupted, None, mean, std)
    for name, view in OPERATIONS.items():
        if manifest.channels == 3 or name not in OF_COLOUR:
            yield (
                f"view_{name}",
                make_view(images, view, seed=0, epoch=0, index=index, number=0, mean=mean, std=std),
            )
    yield "ood_shuffled", clean(shuffled_patches(images, index), None, mean, std)
    yield "ood_noise", clean(noise_like(images, mean, std, index), None, mean, std)
