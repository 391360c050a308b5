"""CLIP: match images and their captions across two encoders (Radford et al., 2021).

    L = ½ (L_{I→T} + L_{T→I}),   L_{I→T} = −1/N Σ_i log  exp(I_i·T_i / τ) / Σ_j exp(I_i·T_j / τ)

The temperature is learned as the logarithm of a scale s = 1/τ, clamped at 100 (section 2.5 of the paper).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.distributed import gather
from replearn.encoders import EncoderShape
from replearn.heads import text_tower
from replearn.methods.base import Batch, Loss, Method, check_embeddings, full_precision
from replearn.methods.options import CLIPOptions


@full_precision
def clip_loss(
    image: Tensor, text: Tensor, logit_scale: float | Tensor, same: Tensor | None = None
) -> Tensor:
    """Symmetric cross-entropy over image–text similarities, a scalar.

    Args:
        image, text: [n, d] embeddings of pairs, not necessarily normalised.
        logit_scale: 1/τ, multiplies the cosine similarities.
        same: bool [n, n], pairs whose captions are equal: beside the diagonal they are neither positive nor
            negative, but left out of the softmax.

    Raises:
        ValueError: shapes differ, the batch is empty or the scale is not positive.
    """
    check_embeddings("clip_loss", image, text)
    if isinstance(logit_scale, float | int) and not logit_scale > 0:
        raise ValueError(f"clip_loss needs a logit scale above 0, not {logit_scale}")
    logits = logit_scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    if same is not None:
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same & ~itself, -torch.inf)
    pair = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, pair) + F.cross_entropy(logits.T, pair))


def fingerprints(tokens: Tensor) -> Tensor:
    """One number for each caption, int64 [m], equal for equal captions [m, t]; for others, almost never.

    A polynomial modulo 2⁶⁴: comparing n² numbers takes the place of comparing n² captions.
    """
    total = torch.zeros_like(tokens[:, 0])
    for column in tokens.unbind(1):
        total = total * 6364136223846793005 + column
    return total


class CLIP(Method):
    """The study's image encoder beside open_clip's text transformer, joined by linear projections."""

    needs = frozenset({"tokens"})
    projector: nn.Linear

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: CLIPOptions) -> None:
        super().__init__(encoder, shape)
        self.projector = nn.Linear(shape.width, options.output, bias=False)
        self.text = text_tower(
            options.context,
            options.text_width,
            options.text_layers,
            options.text_heads,
            options.output,
        )
        self.learned = options.learn_temperature
        self.log_scale = nn.Parameter(
            torch.tensor(-math.log(options.temperature)), requires_grad=self.learned
        )
        self.largest_log_scale = math.log(options.largest_scale)

    def loss(self, batch: Batch) -> Loss:
        tokens, caption = batch.tokens, batch.caption
        assert tokens is not None
        assert caption is not None
        _, image = self.embed(batch.views[0])
        assert image is not None
        text = self.text(tokens)[caption]  # [n, d]
        said = gather(fingerprints(tokens)[caption])  # [n]
        same = said[:, None] == said[None, :]
        scale = self.log_scale.exp()
        total = clip_loss(gather(image), gather(text), scale, same)
        return Loss(total, {"logit_scale": scale.detach()})

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        self.log_scale.clamp_(max=self.largest_log_scale)
