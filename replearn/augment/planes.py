"""Batches stored channel by channel, so that an operation runs over contiguous memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def join_planes(planes: Sequence[Tensor]) -> Tensor:
    """Images [n, c, h, w] of c channels [n, h, w], kept one after the other in memory."""
    if len(planes) == 1:
        return planes[0][:, None]
    return torch.stack(list(planes)).transpose(0, 1)


def may_look(values: Tensor) -> bool:
    """Whether values may decide what is computed: on a CPU, unless a graph is being traced.

    There an operation can leave out the images that it leaves alone. An accelerator would have to
    wait for the answer, and does the work for all of them in less time.
    """
    return values.device.type == "cpu" and not torch.compiler.is_compiling()
