"""BatchNorm that knows views and ranks.

Some methods pass their views one after the other, so that BatchNorm's statistics stay within a view (BYOL,
DINO). `forward_apart` does that in one pass over all views: convolutions and linear layers see the whole
batch, BatchNorm each view by itself. Of a training on several ranks, BatchNorm sees the whole batch too, as
torch's SyncBatchNorm does, which exists for GPUs alone and knows no views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn

from replearn import distributed


class ViewBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over [n, c] or [n, c, h, w], in training with statistics of each view, of all ranks together.

    Attributes:
        views: how many views of equal size the batch holds, one after the other.
    """

    views: int = 1

    @classmethod
    def like(cls, layer: nn.modules.batchnorm._BatchNorm) -> ViewBatchNorm:
        """A layer that shares `layer`'s parameters and buffers."""
        twin = cls(layer.num_features, layer.eps, layer.momentum, layer.affine)
        twin.__dict__.update(layer.__dict__)
        return twin

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"BatchNorm takes [n, c] or [n, c, h, w], not {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or (self.views == 1 and distributed.size() == 1):
            return super().forward(input)
        normalise = super().forward if distributed.size() == 1 else self._over_ranks
        return torch.cat([normalise(view) for view in input.chunk(self.views)])

    def _over_ranks(self, x: Tensor) -> Tensor:
        """Normalise by mean and variance over the rows of all ranks; gradients cross ranks too."""
        over = [0, 2, 3][: x.ndim - 1]
        own = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(own, over, correction=0)
        means, variances = distributed.gather(torch.stack([mean, variance])[None]).unbind(
            1
        )  # [r, c]
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        rows = x.numel() // x.shape[1] * distributed.size()
        self._remember(mean.detach(), variance.detach() * rows / (rows - 1))
        shape = [1, -1, *[1] * (x.ndim - 2)]
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return torch.addcmul((self.bias - mean * scale).view(shape), own, scale.view(shape)).to(
            x.dtype
        )

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


def with_views(module: nn.Module) -> nn.Module:
    """`module` with its BatchNorm layers replaced in place; parameters, buffers and their names stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, ViewBatchNorm.like(child))
        else:
            with_views(child)
    return module


def forward_apart(network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
    """`[network(view) for view in views]` with one pass for all consecutive views of one size.

    Args:
        network: its BatchNorm layers replaced by `with_views`.
        views: [n, c, h, w] or [n, d] each.
    """
    outputs: list[Tensor] = []
    for _, alike in groupby(views, key=lambda view: view.shape):
        group = list(alike)
        with _holding(network, len(group)):
            outputs += network(torch.cat(group)).chunk(len(group))
    return outputs


@contextmanager
def _holding(network: nn.Module, views: int) -> Iterator[None]:
    layers = [layer for layer in network.modules() if isinstance(layer, ViewBatchNorm)]
    for layer in layers:
        layer.views = views
    try:
        yield
    finally:
        for layer in layers:
            layer.views = 1
