"""Statements about formulas, checked by computing both sides on random inputs.

The left side is the library's loss; the right side is the other loss's formula as the lecture writes it, in
plain loops, with the pairs that it may compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.methods.clip import clip_loss
from replearn.methods.simclr import nt_xent
from replearn.methods.supcon import sup_con
from replearn.randomness import generator

DRAWS = 8


def clip_is_nt_xent_across_modalities() -> float:
    """Largest |CLIP − NT-Xent| where an anchor of NT-Xent may be compared with the other modality alone."""
    return max(_nt_xent_difference(draw) for draw in range(DRAWS))


def clip_is_single_positive_supcon() -> float:
    """Largest |CLIP − SupCon| with the pair as the only positive, compared with the other modality alone."""
    return max(_supcon_difference(draw) for draw in range(DRAWS))


def nt_xent_is_supcon_of_pairs() -> float:
    """Largest |NT-Xent − SupCon| where each image is a class of its own; both are the library's."""
    return max(_pairs_difference(draw) for draw in range(DRAWS))


def _nt_xent_difference(draw: int) -> float:
    image, text, temperature = _inputs(draw)
    z, n = _normalised(image, text), len(image)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        across = range(n, 2 * n) if i < n else range(n)
        denominator = sum(math.exp(_dot(z[i], z[k]) / temperature) for k in across)
        total -= math.log(math.exp(_dot(z[i], z[j]) / temperature) / denominator)
    return abs(total / (2 * n) - float(clip_loss(image, text, 1 / temperature)))


def _supcon_difference(draw: int) -> float:
    image, text, temperature = _inputs(draw)
    z, n = _normalised(image, text), len(image)
    labels = [*range(n), *range(n)]
    total = 0.0
    for i in range(2 * n):
        others = [k for k in range(2 * n) if (k < n) != (i < n)]
        positives = [p for p in others if labels[p] == labels[i]]
        denominator = sum(math.exp(_dot(z[i], z[k]) / temperature) for k in others)
        shares = [math.exp(_dot(z[i], z[p]) / temperature) / denominator for p in positives]
        total -= sum(map(math.log, shares)) / len(positives)
    return abs(total / (2 * n) - float(clip_loss(image, text, 1 / temperature)))


def _pairs_difference(draw: int) -> float:
    a, b, temperature = _inputs(draw)
    labels = torch.arange(len(a)).repeat(2)
    return abs(float(nt_xent(a, b, temperature) - sup_con(torch.cat([a, b]), labels, temperature)))


def _inputs(draw: int) -> tuple[Tensor, Tensor, float]:
    """Embeddings of 2 and more pairs, and temperatures from 0.05 up."""
    random = generator(0, "identities", draw)
    a, b = torch.randn(2, 2 + draw, 16, generator=random, dtype=torch.float64).unbind(0)
    return a, b, 0.05 + 0.1 * draw


def _normalised(a: Tensor, b: Tensor) -> list[list[float]]:
    rows: list[list[float]] = F.normalize(torch.cat([a, b]), dim=1).tolist()
    return rows


def _dot(x: Sequence[float], y: Sequence[float]) -> float:
    return sum(left * right for left, right in zip(x, y, strict=True))
