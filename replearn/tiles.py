"""Tiles of an image, cut from the cells of a grid with random gaps between them.

Without gaps a network tells neighbours by the edges that continue from one tile to the next, and learns
nothing of what the image shows (Doersch et al., 2015, section 3.1; Noroozi & Favaro, 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor

from replearn.randomness import uniforms


def cut(images: Tensor, grid: int, gap: int, draws: Tensor) -> Tensor:
    """Tiles [n, grid², c, t, t] of images [n, c, s, s], row by row, all of one size t.

    Args:
        images: each is cut into grid × grid cells of s // grid pixels; what is left over is not used.
        grid: cells in a row.
        gap: pixels by which a tile is smaller than its cell, at most a third of the cell.
        draws: [n] uniform numbers in [0, 1), from which the places of all tiles in their cells derive.
    """
    cell = images.shape[-1] // grid
    gap = min(gap, cell // 3)
    number = torch.arange(grid**2, device=images.device)
    corner = torch.stack([number // grid, number % grid], dim=1) * cell  # [g², 2]
    hashed = uniforms(0, 0, (draws * 2**24).long(), 0, 2 * grid**2).unflatten(1, (-1, 2))
    shift = (hashed * (gap + 1)).long().clamp(max=gap)
    begin = corner + shift  # [n, g², 2]
    span = torch.arange(cell - gap, device=images.device)
    rows, columns = (begin[..., None] + span).unbind(2)  # [n, g², t] each
    sample = torch.arange(len(images), device=images.device)[:, None, None, None]
    tiles = images.permute(0, 2, 3, 1)[sample, rows[..., None], columns[:, :, None]]
    return tiles.movedim(-1, 2)
