"""Heads and decoders that methods put on an encoder."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


def mlp(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Module:
    """Projection head: `layers` linear layers with BatchNorm and ReLU between them.

    One layer is a linear head, none the identity (SimCLR's ablation, figure 8).
    """
    if layers == 0:
        return nn.Identity()
    widths = [inputs, *[hidden] * (layers - 1)]
    blocks: list[nn.Module] = []
    for before, after in pairwise(widths):
        blocks += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(widths[-1], outputs))


class Prototypes(nn.Module):
    """Linear layer with unit rows: weight normalisation with its gain fixed at 1 (DINO, appendix C)."""

    def __init__(self, inputs: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.trunc_normal_(nn.Linear(inputs, count).weight.data, std=0.02)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.normalize(self.weight, dim=1))


class PrototypeHead(nn.Module):
    """DINO's head: an MLP with GELU to an L2-normalised bottleneck, then prototypes [n, k]."""

    def __init__(
        self, inputs: int, hidden: int, bottleneck: int, prototypes: int, layers: int
    ) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (layers - 1)]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Linear(before, after), nn.GELU()]
        self.bottleneck = nn.Sequential(*blocks, nn.Linear(widths[-1], bottleneck))
        self.prototypes = Prototypes(bottleneck, prototypes)

    def forward(self, h: Tensor) -> Tensor:
        logits: Tensor = self.prototypes(F.normalize(self.bottleneck(h), dim=1))
        return logits


class ImageDecoder(nn.Module):
    """A latent [n, d] back to an image [n, c, s, s]: one linear layer, then two upsampling stages."""

    def __init__(self, latent: int, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.size, self.start, self.width = size, -(-size // 4), width
        self.expand = nn.Linear(latent, 2 * width * self.start**2)
        self.up = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        grid = self.expand(z).unflatten(1, (2 * self.width, self.start, self.start))
        image: Tensor = self.up(grid)[..., : self.size, : self.size]
        return image


def text_tower(context: int, width: int, layers: int, heads: int, output: int) -> nn.Module:
    """open_clip's text transformer, freshly initialised: tokens [n, context] → [n, output]."""
    from open_clip.transformer import TextTransformer

    tower: nn.Module = TextTransformer(
        context_length=context, width=width, layers=layers, heads=heads, output_dim=output
    )
    return tower


def tokenize(captions: list[str], context: int) -> Tensor:
    """open_clip's byte-pair tokens, int64 [n, context]; longer captions are cut at `context`."""
    from open_clip.tokenizer import SimpleTokenizer

    tokens: Tensor = SimpleTokenizer(context_length=context)(captions)
    return tokens
