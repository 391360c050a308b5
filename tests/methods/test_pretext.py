"""Inpainting, jigsaw and relative position: what the networks are shown and asked, against loops."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from replearn.methods.base import Method
from replearn.methods.inpainting import inpainting_loss, square_holes
from replearn.methods.jigsaw import distant_permutations, jigsaw_loss
from replearn.methods.relative_position import position_loss
from replearn.tiles import cut
from tests.methods.test_contract import batch_for, run_config, training_method


def shown_to(network: nn.Module, method: Method, name: str) -> Tensor:
    """What a part of a method gets while it computes the loss of the contract's batch."""
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    method.eval().loss(batch_for(run_config(name)))
    return seen[0]


class TestInpainting:
    def test_the_loss_looks_into_the_hole_alone(self) -> None:
        x, x_hat = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
        hole = torch.rand(3, 1, 4, 4) < 0.4
        squares = [
            (x[n, c, i, j] - x_hat[n, c, i, j]).item() ** 2
            for n in range(3)
            for c in range(2)
            for i in range(4)
            for j in range(4)
            if hole[n, 0, i, j]
        ]
        assert inpainting_loss(x, x_hat, hole).item() == pytest.approx(sum(squares) / len(squares))
        known = x_hat + 7 * ~hole
        assert inpainting_loss(x, known, hole).item() == pytest.approx(
            inpainting_loss(x, x_hat, hole).item()
        )

    def test_holes_are_squares_anywhere_in_the_image(self) -> None:
        draws = torch.cat([torch.rand(200, 2), torch.tensor([[0.0, 1 - 2**-24]])])
        holes = square_holes(draws, 7, 3)
        places = set()
        for hole in holes[:, 0]:
            rows, columns = (torch.unique(where).tolist() for where in hole.nonzero(as_tuple=True))
            assert int(hole.sum()) == 9
            assert rows == list(range(rows[0], rows[0] + 3))
            assert columns == list(range(columns[0], columns[0] + 3))
            places.add((rows[0], columns[0]))
        assert places == {(i, j) for i in range(5) for j in range(5)}
        assert holes[-1, 0, :3, 4:].all()

    def test_the_encoder_sees_no_pixel_of_the_hole(self) -> None:
        method = training_method(run_config("inpainting"))
        batch = batch_for(run_config("inpainting"))
        seen = shown_to(method.encoder, method, "inpainting")
        hole = square_holes(batch.draws, 16, 8)
        assert torch.equal(seen, batch.views[0] * ~hole)

    def test_wrong_arguments_are_refused(self) -> None:
        x = torch.rand(2, 3, 4, 4)
        with pytest.raises(ValueError, match="needs images of one shape"):
            inpainting_loss(x, x, torch.ones(2, 3, 4, 4, dtype=torch.bool))
        with pytest.raises(ValueError, match="empty"):
            inpainting_loss(x[:0], x[:0], torch.ones(0, 1, 4, 4, dtype=torch.bool))


class TestJigsaw:
    @pytest.mark.parametrize(("tiles", "count"), [(3, 4), (4, 10), (4, 24)])
    def test_permutations_are_chosen_as_a_loop_would(self, tiles: int, count: int) -> None:
        chosen = [tuple(range(tiles))]
        while len(chosen) < count:

            def nearest(candidate: tuple[int, ...]) -> int:
                return min(
                    sum(a != b for a, b in zip(candidate, other, strict=True)) for other in chosen
                )

            chosen.append(max(permutations(range(tiles)), key=nearest))
        assert distant_permutations(tiles, count).tolist() == [list(one) for one in chosen]

    def test_a_hundred_of_nine_tiles_are_far_from_each_other(self) -> None:
        found = distant_permutations(9, 100)
        assert torch.equal(found.sort(1).values, torch.arange(9).expand(100, 9))
        distance = (found[:, None] != found[None]).sum(2)
        assert distance[~torch.eye(100, dtype=torch.bool)].min() >= 6

    def test_more_than_there_are_is_refused(self) -> None:
        with pytest.raises(ValueError, match="4 tiles have no 25 permutations"):
            distant_permutations(4, 25)

    def test_the_classifier_sees_the_tiles_features_in_the_order_that_it_shall_name(self) -> None:
        method = training_method(run_config("jigsaw"))
        batch = batch_for(run_config("jigsaw"))
        assert isinstance(method.classifier, nn.Module)
        seen = shown_to(method.classifier, method, "jigsaw")
        every = distant_permutations(4, 24)
        assert torch.equal(method.permutations, every)
        tiles = cut(batch.views[0], 2, 2, batch.draws[:, 1])
        for n, draw in enumerate(batch.draws[:, 0].tolist()):
            order = every[int(24 * draw)]
            expected = method.encoder(tiles[n])[order].flatten()
            torch.testing.assert_close(seen[n], expected)

    def test_wrong_arguments_are_refused(self) -> None:
        with pytest.raises(ValueError, match="needs a permutation"):
            jigsaw_loss(torch.rand(3, 24), torch.zeros(2, dtype=torch.int64))


class TestRelativePosition:
    def test_the_classifier_sees_the_centre_and_the_neighbour_that_it_shall_name(self) -> None:
        method = training_method(run_config("relative_position"))
        batch = batch_for(run_config("relative_position"))
        assert isinstance(method.classifier, nn.Module)
        seen = shown_to(method.classifier, method, "relative_position")
        tiles = cut(batch.views[0], 3, 3, batch.draws[:, 1])
        around = [0, 1, 2, 3, 5, 6, 7, 8]
        for n, draw in enumerate(batch.draws[:, 0].tolist()):
            pair = method.encoder(tiles[n][[4, around[int(8 * draw)]]])
            torch.testing.assert_close(seen[n], pair.flatten())

    def test_wrong_arguments_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"needs logits \[n, 8\]"):
            position_loss(torch.rand(3, 9), torch.zeros(3, dtype=torch.int64))
