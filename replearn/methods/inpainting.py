"""Inpainting: fill a hole in the image from what surrounds it (context encoders; Pathak et al., 2016).

L = ‖M ⊙ (x − F((1 − M) ⊙ x))‖²   (equation 1 of the paper, as a mean over the hole)

The paper adds an adversarial loss where it wants sharp pictures; the features it evaluates come without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.heads import ImageDecoder
from replearn.methods.base import Batch, Loss, Method, full_precision
from replearn.methods.options import InpaintingOptions


@full_precision
def inpainting_loss(x: Tensor, x_hat: Tensor, hole: Tensor) -> Tensor:
    """Mean squared error inside the holes; a scalar.

    Args:
        x, x_hat: images and what was put in their place, [n, c, h, w].
        hole: bool [n, 1, h, w], true where pixels are missing.

    Raises:
        ValueError: the shapes do not fit, or no pixel is missing.
    """
    if x.shape != x_hat.shape or hole.shape != (len(x), 1, *x.shape[2:]):
        shapes = [tuple(tensor.shape) for tensor in (x, x_hat, hole)]
        raise ValueError(f"inpainting_loss needs images of one shape and their holes, not {shapes}")
    if hole.numel() == 0:
        raise ValueError("inpainting_loss got an empty batch")
    squares = (x - x_hat).square() * hole
    return squares.sum() / (hole.sum() * x.shape[1])


def square_holes(draws: Tensor, size: int, side: int) -> Tensor:
    """One hole of side × side pixels in each image of size × size: bool [n, 1, size, size].

    Args:
        draws: [n, 2] uniform numbers in [0, 1), where the hole begins, down and across.
        size, side: in pixels.
    """
    begin = (draws * (size - side + 1)).long().clamp(max=size - side)[:, :, None]  # [n, 2, 1]
    place = torch.arange(size, device=draws.device)
    inside = (begin <= place) & (place < begin + side)  # [n, 2, size]
    return (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]


class Inpainting(Method):
    """The encoder sees the image with a hole of mean colour; the decoder draws the whole image."""

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: InpaintingOptions) -> None:
        super().__init__(encoder, shape)
        self.decoder = ImageDecoder(shape.width, shape.channels, shape.size, options.decoder_width)
        self.side = max(1, round(options.hole * shape.size))

    def loss(self, batch: Batch) -> Loss:
        (x,) = batch.views
        hole = square_holes(batch.draws, self.shape.size, self.side)
        x_hat = self.decoder(self.encoder(x.masked_fill(hole, 0)))
        return Loss(inpainting_loss(x, x_hat, hole))
