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
        if distributed.size() > 1:
            return self._over_ranks(input)
        normalise = super().forward
        return torch.cat([normalise(view) for view in input.chunk(self.views)])

    def _over_ranks(self, x: Tensor) -> Tensor:
        """Normalise each view by mean and variance over its rows of all ranks; gradients cross ranks too.

        One message has the statistics of all views.
        """
        own = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (self.views, -1))
        over = [1, 3, 4][: x.ndim - 1]
        variance, mean = torch.var_mean(own, over, correction=0)  # [views, c]
        ranks = distributed.gather(torch.stack([mean, variance])[None])
        means, variances = ranks.unbind(1)  # [ranks, views, c]
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        rows = own.numel() // mean.numel() * distributed.size()
        for of_view in zip(mean.detach(), variance.detach() * rows / (rows - 1), strict=True):
            self._remember(*of_view)
        shape = [self.views, 1, -1, *[1] * (x.ndim - 2)]
        scale = torch.rsqrt(variance + self.eps) * self.weight
        shift = self.bias - mean * scale
        normalised = torch.addcmul(shift.view(shape), own, scale.view(shape))
        return normalised.flatten(0, 1).to(x.dtype)

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
