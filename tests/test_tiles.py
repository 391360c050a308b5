"""Tiles: each pixel is the one that lies there, against loops."""

from __future__ import annotations

import pytest
import torch

from replearn.tiles import cut


@pytest.mark.parametrize(
    ("size", "grid", "gap", "tile"), [(28, 2, 2, 12), (28, 3, 2, 7), (32, 3, 50, 7), (8, 3, 5, 2)]
)
def test_tiles_lie_in_their_cells(size: int, grid: int, gap: int, tile: int) -> None:
    images = torch.arange(3 * 2 * size * size).view(3, 2, size, size)
    draws = torch.tensor([0.0, 0.3141, 1 - 2**-24])
    tiles = cut(images, grid, gap, draws)
    assert tiles.shape == (3, grid**2, 2, tile, tile)
    cell = size // grid
    for n, of_image in enumerate(tiles):
        for number, found in enumerate(of_image):
            corner = int(found[0, 0, 0]) - n * 2 * size * size
            top, left = divmod(corner, size)
            assert torch.equal(found, images[n, :, top : top + tile, left : left + tile])
            row, column = divmod(number, grid)
            assert row * cell <= top and top + tile <= (row + 1) * cell
            assert column * cell <= left and left + tile <= (column + 1) * cell


def test_every_place_in_the_cell_is_as_likely() -> None:
    images = torch.arange(28 * 28).view(1, 1, 28, 28).expand(3000, 1, 28, 28)
    draws = torch.rand(3000, generator=torch.Generator().manual_seed(0))
    corners = cut(images, 2, 2, draws)[:, :, 0, 0, 0]
    for number in range(4):
        _, counts = corners[:, number].unique(return_counts=True)
        assert len(counts) == 9 and counts.min() > 250 and counts.max() < 420
