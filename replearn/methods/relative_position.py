"""Relative position: where does a tile lie beside another one (context prediction; Doersch et al., 2015)?

Of a 3 × 3 grid the centre and one of its eight neighbours pass the same encoder; a classifier sees both
features and says which neighbour it is (section 3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.heads import mlp
from replearn.methods.base import Batch, Loss, Method, check_embeddings, full_precision
from replearn.methods.options import RelativePositionOptions
from replearn.tiles import cut

GRID, CENTRE, NEIGHBOURS = 3, 4, 8


@full_precision
def position_loss(logits: Tensor, neighbour: Tensor) -> Tensor:
    """Cross-entropy of logits [n, 8] with the neighbours shown, int64 [n] from 0 to 7, row by row; a scalar.

    Raises:
        ValueError: the shapes do not fit or the batch is empty.
    """
    check_embeddings("position_loss", logits)
    if logits.shape[1] != NEIGHBOURS or neighbour.shape != logits.shape[:1]:
        shapes = [tuple(logits.shape), tuple(neighbour.shape)]
        raise ValueError(f"position_loss needs logits [n, 8] and neighbours [n], not {shapes}")
    return F.cross_entropy(logits, neighbour)


class RelativePosition(Method):
    """Both tiles pass the encoder in one batch."""

    def __init__(
        self, encoder: nn.Module, shape: EncoderShape, options: RelativePositionOptions
    ) -> None:
        super().__init__(encoder, shape)
        self.gap = options.gap
        self.classifier = mlp(2 * shape.width, options.hidden, NEIGHBOURS, layers=2)

    def loss(self, batch: Batch) -> Loss:
        (view,) = batch.views
        tiles = cut(view, GRID, self.gap, batch.draws[:, 1])
        neighbour = (batch.draws[:, 0] * NEIGHBOURS).long()
        beside = neighbour + (neighbour >= CENTRE)  # the centre is no neighbour of itself
        shown = tiles[torch.arange(len(tiles), device=tiles.device), beside]
        h = self.encoder(torch.cat([tiles[:, CENTRE], shown]))
        logits = self.classifier(torch.cat(h.chunk(2), dim=1))
        accuracy = (logits.argmax(1) == neighbour).float().mean()
        return Loss(position_loss(logits, neighbour), {"position_accuracy": accuracy.detach()})
