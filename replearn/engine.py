"""How a training step is computed: the fast ways, and the plain ones they must agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from replearn import distributed
from replearn.methods.base import Batch, Loss, Method

Compile = Literal["off", "kernels", "graphs"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The choices that move a step's speed, and its numbers by rounding only.

    Attributes:
        fast: channels-last convolutions, fused optimisers, one pass for views that keep BatchNorm apart
            where passes are what costs (a GPU, several ranks); otherwise none of these.
        compile: "kernels" fuses operations by torch.compile, "graphs" replays them as CUDA graphs as well.
    """

    fast: bool = True
    compile: Compile = "off"

    def settle(self, method: Method, device: str) -> Method:
        """The method on "cpu" or "cuda", laid out in memory for this engine."""
        method.views_at_once = self.fast and (device == "cuda" or distributed.size() > 1)
        layout = torch.channels_last if self.fast else torch.contiguous_format
        return method.to(device=device, memory_format=layout)  # type: ignore[call-overload,no-any-return]

    def compiles_views(self, device: str) -> bool:
        """Whether the views are compiled too: on a GPU, which has no cheaper way to leave operations out."""
        return self.compile != "off" and device == "cuda"

    def loss_of(self, method: Method) -> Callable[[Batch], Loss]:
        """The method's loss as this engine computes it; its backward averages the gradients of all ranks.

        cuDNN's choice of algorithms, which is the process's, becomes this engine's.
        """
        torch.backends.cudnn.benchmark = self.fast
        module: nn.Module = _LossModule(method)
        if distributed.size() > 1:
            module = DistributedDataParallel(
                module, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
        if self.compile == "off":
            return module
        mode = "reduce-overhead" if self.compile == "graphs" else "default"
        compiled: Callable[[Batch], Loss] = torch.compile(module, mode=mode)
        return compiled


class _LossModule(nn.Module):
    """A method's loss as a forward pass, which is what the wrappers of torch take."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> Loss:
        return self.method.loss(batch)
