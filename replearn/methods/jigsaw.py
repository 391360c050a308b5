"""Jigsaw: say in which order the tiles of an image were shuffled (Noroozi & Favaro, 2016).

One encoder sees each tile by itself; a classifier sees the features of all tiles in their shuffled order
and names the permutation, one of a fixed set whose members are far from each other (section 3).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from math import factorial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.heads import mlp
from replearn.methods.base import Batch, Loss, Method, check_embeddings, full_precision
from replearn.methods.options import JigsawOptions
from replearn.tiles import cut


@lru_cache
def distant_permutations(tiles: int, count: int) -> Tensor:
    """`count` permutations of `tiles` tiles, int64 [count, tiles]; the first one is the identity.

    Each next one is the farthest, in Hamming distance, from the nearest of those before it. (The paper's
    algorithm 1 takes the farthest on average, which after nine of nine tiles tells no two apart.)

    Raises:
        ValueError: there are not so many.
    """
    if count > factorial(tiles):
        raise ValueError(f"{tiles} tiles have no {count} permutations")
    every = torch.tensor(list(permutations(range(tiles))), dtype=torch.uint8)
    nearest = torch.full((len(every),), tiles + 1)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(nearest.argmax()))
        nearest = nearest.minimum((every != every[chosen[-1]]).sum(1))
    return every[chosen].long()


@full_precision
def jigsaw_loss(logits: Tensor, permutation: Tensor) -> Tensor:
    """Cross-entropy of logits [n, permutations] with the permutations used, int64 [n]; a scalar.

    Raises:
        ValueError: the shapes do not fit or the batch is empty.
    """
    check_embeddings("jigsaw_loss", logits)
    if permutation.shape != logits.shape[:1]:
        raise ValueError(
            f"jigsaw_loss needs a permutation for each of {len(logits)} images, "
            f"not {tuple(permutation.shape)}"
        )
    return F.cross_entropy(logits, permutation)


class Jigsaw(Method):
    """The siamese tiles pass the encoder as one batch; the order of their features is what is shuffled."""

    permutations: Tensor

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: JigsawOptions) -> None:
        super().__init__(encoder, shape)
        self.grid, self.gap = options.grid, options.gap
        tiles = options.grid**2
        count = min(options.permutations, factorial(tiles))
        self.register_buffer("permutations", distant_permutations(tiles, count).clone())
        self.classifier = mlp(tiles * shape.width, options.hidden, count, layers=2)

    def loss(self, batch: Batch) -> Loss:
        (view,) = batch.views
        tiles = cut(view, self.grid, self.gap, batch.draws[:, 1])
        h = self.encoder(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])  # [n, g², d]
        count = len(self.permutations)
        used = (batch.draws[:, 0] * count).long().clamp(max=count - 1)
        order = self.permutations[used]  # [n, g²]
        shuffled = h.take_along_dim(order[..., None], dim=1)
        logits = self.classifier(shuffled.flatten(1))
        accuracy = (logits.argmax(1) == used).float().mean()
        return Loss(jigsaw_loss(logits, used), {"jigsaw_accuracy": accuracy.detach()})
