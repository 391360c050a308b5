"""Autoencoder: encode the image into a latent, decode it back (Hinton & Salakhutdinov, 2006).

z = f_encoder(x),  x̂ = f_decoder(z),  L = ‖x − x̂‖²   (as a mean over pixels)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.heads import ImageDecoder
from replearn.methods.base import Batch, Loss, Method, full_precision
from replearn.methods.options import AutoencoderOptions


@full_precision
def reconstruction_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared error between images and their reconstructions, both [n, ...]; a scalar.

    Raises:
        ValueError: the shapes differ or the batch is empty.
    """
    if x.shape != x_hat.shape:
        raise ValueError(
            f"reconstruction_loss needs one shape, not {tuple(x.shape)} and {tuple(x_hat.shape)}"
        )
    if x.numel() == 0:
        raise ValueError("reconstruction_loss got an empty batch")
    return F.mse_loss(x_hat, x)


class Autoencoder(Method):
    """The encoder, a linear bottleneck and a convolutional decoder; or, `linear`, two matrices."""

    projector: nn.Module

    def __init__(
        self, encoder: nn.Module, shape: EncoderShape, options: AutoencoderOptions
    ) -> None:
        pixels = shape.channels * shape.size**2
        if options.linear:
            encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, options.latent))
        super().__init__(encoder, shape)
        self.decoder: nn.Module
        if options.linear:
            self.projector = nn.Identity()
            image = (shape.channels, shape.size, shape.size)
            self.decoder = nn.Sequential(nn.Linear(options.latent, pixels), nn.Unflatten(1, image))
        else:
            self.projector = nn.Linear(shape.width, options.latent)
            self.decoder = ImageDecoder(
                options.latent, shape.channels, shape.size, options.decoder_width
            )

    def loss(self, batch: Batch) -> Loss:
        (x,) = batch.views
        return Loss(reconstruction_loss(x, self.reconstruct(x)))

    def reconstruct(self, images: Tensor) -> Tensor:
        x_hat: Tensor = self.decoder(self.projector(self.encoder(images)))
        return x_hat
