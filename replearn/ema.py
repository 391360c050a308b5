"""Exponential moving averages of networks: BYOL's target, DINO's teacher."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy of `module` that never receives a gradient."""
    twin = copy.deepcopy(module)
    return twin.requires_grad_(False)


@torch.no_grad()
def update_ema(average: nn.Module, online: nn.Module, momentum: float) -> None:
    """average ← momentum · average + (1 − momentum) · online; buffers, such as BatchNorm's, are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(online.parameters()), 1 - momentum)
    pairs = list(zip(average.buffers(), online.buffers(), strict=True))
    for dtype in {mean.dtype for mean, _ in pairs}:
        alike = [pair for pair in pairs if pair[0].dtype == dtype]
        torch._foreach_copy_([mean for mean, _ in alike], [current for _, current in alike])


def cosine_momentum(base: float, progress: float) -> float:
    """Momentum that rises from `base` to 1: 1 − (1 − base)(cos πp + 1)/2 (BYOL, section 3.3)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
