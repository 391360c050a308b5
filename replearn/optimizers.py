"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


def build_optimizer(
    name: str,
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    trust: float,
    fused: bool = True,
) -> Optimizer:
    """An optimiser over the trainable parameters of `module`.

    Biases and normalisation parameters get no weight decay and, under LARS, no trust ratio.

    Args:
        name: "sgd", "adamw" or "lars".
        lr: peak learning rate.
        weight_decay: of weight matrices and kernels.
        momentum: of SGD and LARS.
        trust: LARS's trust coefficient η.
        fused: a few kernels for all tensors instead of several for each; the same up to rounding.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=momentum, fused=fused, foreach=False)
    if name == "adamw":
        return AdamW(groups, lr=lr, fused=fused, foreach=False)
    if name == "lars":
        groups[1]["trust"] = None
        return LARS(groups, lr=lr, momentum=momentum, trust=trust, fused=fused)
    raise ValueError(f"unknown optimiser {name!r}")


class SGD(torch.optim.SGD):
    """SGD with momentum that starts at zero, so that a tensor's first gradient may come late.

    Those of DINO's prototypes do. torch's fused step takes velocities of all tensors of a group or of none.
    """

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            if group["momentum"]:
                _start_velocities(self, group["params"])
        super().step(closure)


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman & Ginsburg, 2017), clipped to at most the global rate.

    v ← μ v + local · (g + β w),  w ← w − lr · v,  local = min(η‖w‖ / (‖g‖ + β‖w‖) / lr, 1)

    Fused, each operation takes all tensors of a group at once. Neither way waits for the device.
    """

    def __init__(
        self,
        params: Iterable[dict[str, object]],
        *,
        lr: float,
        momentum: float,
        trust: float,
        fused: bool = True,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0}
        super().__init__(params, defaults)
        self._step = _lars_at_once if fused else _lars_one_by_one

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = _start_velocities(self, group["params"])
            if weights:
                velocities = [self.state[weight]["momentum_buffer"] for weight in weights]
                gradients = [cast(Tensor, weight.grad) for weight in weights]
                self._step(weights, gradients, velocities, group)


def _start_velocities(optimizer: Optimizer, parameters: Iterable[Tensor]) -> list[Tensor]:
    """Those of the parameters that have a gradient, each with a velocity from now on."""
    moving = [parameter for parameter in parameters if parameter.grad is not None]
    for parameter in moving:
        if "momentum_buffer" not in optimizer.state[parameter]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return moving


def _lars_at_once(
    weights: list[Tensor],
    gradients: list[Tensor],
    velocities: list[Tensor],
    group: dict[str, float],
) -> None:
    updates = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
    if group["trust"] is not None:
        norms = (
            torch.stack(torch._foreach_norm(weights)),
            torch.stack(torch._foreach_norm(gradients)),
        )
        torch._foreach_mul_(updates, list(_local_rates(*norms, group).unbind()))
    torch._foreach_mul_(velocities, group["momentum"])
    torch._foreach_add_(velocities, updates)
    torch._foreach_add_(weights, velocities, alpha=-group["lr"])


def _lars_one_by_one(
    weights: list[Tensor],
    gradients: list[Tensor],
    velocities: list[Tensor],
    group: dict[str, float],
) -> None:
    for weight, gradient, velocity in zip(weights, gradients, velocities, strict=True):
        update = gradient + group["weight_decay"] * weight
        if group["trust"] is not None:
            update = update * _local_rates(weight.norm(), gradient.norm(), group)
        velocity.mul_(group["momentum"]).add_(update)
        weight.sub_(velocity * group["lr"])


def _local_rates(weight: Tensor, gradient: Tensor, group: dict[str, float]) -> Tensor:
    """Local rates of tensors from the norms of their weights and gradients, of one shape."""
    rate = group["trust"] * weight / (gradient + group["weight_decay"] * weight + 1e-12)
    clipped = (rate / max(group["lr"], 1e-12)).clamp(max=1.0)
    return torch.where((weight > 0) & (gradient > 0), clipped, torch.ones_like(clipped))


def learning_rate(peak: float, step: int, steps: int, warm_up: int) -> float:
    """Linear warm-up over `warm_up` steps, then a half cosine to zero at `steps`."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(steps - warm_up, 1)
    return peak * (1 + math.cos(math.pi * progress)) / 2
