"""Statements about formulas, checked by computing both sides on random inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from replearn.methods.clip import clip_loss
from replearn.methods.simclr import nt_xent
from replearn.methods.supcon import sup_con
from replearn.randomness import generator

DRAWS = 20


def clip_is_nt_xent_across_modalities() -> float:
    """Largest |CLIP − NT-Xent| where NT-Xent may compare an anchor with the other modality alone.

    Both views of NT-Xent are one batch; with the similarities within a modality masked out of its softmax,
    what is left of it are CLIP's two directions.
    """
    return max(_nt_xent_difference(draw) for draw in range(DRAWS))


def clip_is_single_positive_supcon() -> float:
    """Largest |CLIP − SupCon| with the pair as the only positive and the same similarities masked."""
    return max(_supcon_difference(draw) for draw in range(DRAWS))


def nt_xent_is_supcon_of_pairs() -> float:
    """Largest |NT-Xent − SupCon| where each image is a class of its own."""
    return max(_pairs_difference(draw) for draw in range(DRAWS))


def _inputs(draw: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    random = generator(0, "identities", draw)
    n, d = 2 + draw, 16
    a, b = torch.randn(2, n, d, generator=random, dtype=torch.float64).unbind(0)
    return a, b, 0.05 + 0.05 * draw


def _masked(a: torch.Tensor, b: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logits [2n, 2n] of both modalities as one batch, those within a modality at −∞."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    within = torch.block_diag(*[torch.ones(len(a), len(a), dtype=torch.bool)] * 2)
    return (z @ z.T / temperature).masked_fill(within, -torch.inf)


def _nt_xent_difference(draw: int) -> float:
    image, text, temperature = _inputs(draw)
    n = len(image)
    other = torch.arange(2 * n).roll(n)
    masked = F.cross_entropy(_masked(image, text, temperature), other)
    return abs(float(masked - clip_loss(image, text, 1 / temperature)))


def _supcon_difference(draw: int) -> float:
    image, text, temperature = _inputs(draw)
    n = len(image)
    log_probability = F.log_softmax(_masked(image, text, temperature), dim=1)
    positive = torch.arange(n).repeat(2)[:, None] == torch.arange(n).repeat(2)[None, :]
    positive.fill_diagonal_(False)
    per_anchor = -log_probability.masked_fill(~positive, 0).sum(1) / positive.sum(1)
    return abs(float(per_anchor.mean() - clip_loss(image, text, 1 / temperature)))


def _pairs_difference(draw: int) -> float:
    a, b, temperature = _inputs(draw)
    labels = torch.arange(len(a)).repeat(2)
    return abs(float(nt_xent(a, b, temperature) - sup_con(torch.cat([a, b]), labels, temperature)))
