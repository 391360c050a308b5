"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer


def build_optimizer(
    name: str, module: nn.Module, *, lr: float, weight_decay: float, momentum: float, trust: float
) -> Optimizer:
    """An optimiser over the trainable parameters of `module`.

    Biases and normalisation parameters get no weight decay and, under LARS, no trust ratio.

    Args:
        name: "sgd", "adamw" or "lars".
        lr: peak learning rate.
        weight_decay: of weight matrices and kernels.
        momentum: of SGD and LARS.
        trust: LARS's trust coefficient η.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=momentum, fused=True)
    if name == "adamw":
        return AdamW(groups, lr=lr, fused=True)
    if name == "lars":
        groups[1]["trust"] = None
        return LARS(groups, lr=lr, momentum=momentum, trust=trust)
    raise ValueError(f"unknown optimiser {name!r}")


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman & Ginsburg, 2017), clipped to at most the global rate.

    v ← μ v + local · (g + β w),  w ← w − lr · v,  local = min(η‖w‖ / (‖g‖ + β‖w‖) / lr, 1)
    """

    def __init__(
        self, params: Iterable[dict[str, object]], *, lr: float, momentum: float, trust: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad + group["weight_decay"] * parameter
                if group["trust"] is not None:
                    update = update * self._local_rate(parameter, group)
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                velocity: Tensor = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                parameter.sub_(velocity * group["lr"])

    @staticmethod
    def _local_rate(parameter: Tensor, group: dict[str, float]) -> Tensor:
        weight, gradient = parameter.norm(), parameter.grad.norm()  # type: ignore[union-attr]
        rate = group["trust"] * weight / (gradient + group["weight_decay"] * weight + 1e-12)
        clipped = (rate / max(group["lr"], 1e-12)).clamp(max=1.0)
        return torch.where((weight > 0) & (gradient > 0), clipped, torch.ones_like(clipped))


def learning_rate(peak: float, step: int, steps: int, warm_up: int) -> float:
    """Linear warm-up over `warm_up` steps, then a half cosine to zero at `steps`."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(steps - warm_up, 1)
    return peak * (1 + math.cos(math.pi * progress)) / 2
