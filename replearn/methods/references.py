"""Rows that give the scale: representations that nobody trained.

Raw pixels and PCA are the shallow baselines; a random encoder is what the architecture alone gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.methods.base import Batch, Loss, Method
from replearn.methods.options import PCAOptions, RandomInitOptions, RawPixelsOptions

EXACT_PCA = 4096
"""Up to this many pixels the covariance matrix is diagonalised; beyond, subspace iteration."""


class Reference(Method):
    """A representation without a training loss."""

    def loss(self, batch: Batch) -> Loss:
        raise TypeError(f"{type(self).__name__} is a reference row and has no training loss")


class RandomInit(Reference):
    """The encoder as it was initialised."""

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: RandomInitOptions) -> None:
        super().__init__(encoder, shape)


class RawPixels(Reference):
    """The pixels themselves."""

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: RawPixelsOptions) -> None:
        super().__init__(nn.Flatten(), shape)


class PCA(Reference):
    """Projection on the principal components, as many as the encoder is wide."""

    encoder: LinearMap

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: PCAOptions) -> None:
        pixels = shape.channels * shape.size**2
        components = min(options.components or shape.width, pixels)
        super().__init__(LinearMap(pixels, components), shape)

    def fit(self, images: Tensor) -> None:
        flat = images.flatten(1)
        mean = flat.mean(0)
        self.encoder.mean.copy_(mean)
        self.encoder.components.copy_(
            principal_components(flat - mean, self.encoder.components.shape[0])
        )

    def reconstruct(self, images: Tensor) -> Tensor:
        flat = self.encoder(images) @ self.encoder.components + self.encoder.mean
        pixels: Tensor = flat.view_as(images)
        return pixels


class LinearMap(nn.Module):
    """x ↦ C (x − mean) on flattened images."""

    mean: Tensor
    components: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("components", torch.zeros(outputs, inputs))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - self.mean) @ self.components.T


def principal_components(centred: Tensor, count: int) -> Tensor:
    """The `count` leading principal directions of centred rows [n, d], as orthonormal rows [count, d].

    Each direction's largest coordinate is positive, so that the result is unique.
    """
    n, d = centred.shape
    if d <= EXACT_PCA:
        covariance = (centred.T @ centred).double() / n
        leading = torch.linalg.eigh(covariance)[1].flip(1)[:, :count]
    else:
        leading = _subspace_iteration(centred, count)
    signs = leading.gather(0, leading.abs().argmax(0, keepdim=True)).sign()
    components: Tensor = (leading * signs).T.to(centred.dtype)
    return components


def _subspace_iteration(centred: Tensor, count: int, rounds: int = 20) -> Tensor:
    """Randomised block power method (Halko, Martinsson & Tropp, 2011, algorithm 4.4) → [d, count]."""
    width = min(count + 16, *centred.shape)
    start = torch.randn(centred.shape[1], width, generator=torch.Generator().manual_seed(0))
    basis: Tensor = torch.linalg.qr(start.to(centred))[0]
    for _ in range(rounds):
        basis = torch.linalg.qr(centred.T @ (centred @ basis))[0]
    rotation: Tensor = torch.linalg.svd(centred @ basis, full_matrices=False)[2].T
    return (basis @ rotation)[:, :count]
