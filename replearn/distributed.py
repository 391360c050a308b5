"""One training on several ranks: each holds a share of every batch, and the losses see all of it.

Each rank computes a loss whose mean over ranks is the loss of the whole batch: over all samples, which it
gathered, or over its own. DistributedDataParallel averages the ranks' gradients. `gather` adds up what all
ranks want of a row, so that N ranks end in the gradient of one, up to rounding. Without a process group
every function here is the identity.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number among those of its training, 0 alone."""
    return dist.get_rank() if _together() else 0


def size() -> int:
    """How many processes share the training, 1 alone."""
    return dist.get_world_size() if _together() else 1


def gather(rows: Tensor) -> Tensor:
    """The rows of all ranks, rank by rank: [n, ...] → [size · n, ...], with gradient."""
    if size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows.contiguous())
    return gathered


@torch.no_grad()
def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over ranks, without gradient."""
    if size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / size()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any rank; all ranks must ask."""
    if size() == 1:
        return flag
    return bool(mean_over_ranks(torch.tensor(float(flag), device=device)) > 0)


def all_equal(value: int, device: torch.device) -> bool:
    """Whether all ranks ask with the same number."""
    if size() == 1:
        return True
    numbers = torch.tensor([value, -value], device=device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers[0]) == -int(numbers[1])


def from_first(value: Tensor | None) -> Tensor | None:
    """Rank 0's tensor on every rank (all have one of its shape, or all have none)."""
    if size() > 1 and value is not None:
        dist.broadcast(value, 0)
    return value


def share(batch_size: int) -> slice:
    """This rank's rows of a batch that all ranks draw alike; the ranks divide it."""
    own = batch_size // size()
    return slice(rank() * own, (rank() + 1) * own)


class _Gather(torch.autograd.Function):
    """All-gather; its gradient is the sum of the gradients on all ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[rank() * ctx.rows :][: ctx.rows]


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
