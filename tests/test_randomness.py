"""Random numbers by counting: the hash against plain integers, and what it promises."""

from __future__ import annotations

import torch

from replearn.randomness import derived_seed, generator, uniforms


def mixed(x: int) -> int:
    """`lowbias32` of an integer of 32 bits."""
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = (x ^ x >> 15) * 0x846CA68B % 2**32
    return x ^ x >> 16


def number(seed: int, epoch: int, sample: int, view: int, column: int) -> float:
    base = derived_seed(seed, "augment", epoch, view)
    low, high = base % 2**32, base >> 32
    of_sample = mixed(sample % 2**32 ^ low)
    of_column = mixed((column + 1) * 0x9E3779B9 % 2**32 ^ high)
    return (mixed((mixed(of_sample ^ of_column) + of_column) % 2**32) >> 8) / 2**24


def test_numbers_are_those_of_plain_integers() -> None:
    index = torch.tensor([0, 1, 49_999, 2**31, 2**40 + 3])
    drawn = uniforms(5, 2, index, 1, 40)
    expected = [[number(5, 2, int(i), 1, column) for column in range(40)] for i in index]
    assert drawn.tolist() == expected


def test_uniforms_depend_on_the_sample_alone_and_are_uniform() -> None:
    index = torch.arange(20_000)
    drawn = uniforms(3, 5, index, 1, 8)
    assert torch.equal(drawn[100:200], uniforms(3, 5, index[100:200], 1, 8))
    assert torch.equal(drawn[:, :4], uniforms(3, 5, index, 1, 4))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert (drawn.mean(0) - 0.5).abs().max() < 0.01
    assert (torch.corrcoef(drawn.T) - torch.eye(8)).abs().max() < 0.03
    for other in (
        uniforms(4, 5, index, 1, 8),
        uniforms(3, 6, index, 1, 8),
        uniforms(3, 5, index, 2, 8),
    ):
        assert torch.corrcoef(torch.stack([drawn[:, 0], other[:, 0]]))[0, 1].abs() < 0.03


def test_generators_are_told_apart_by_name() -> None:
    first, again, other = (
        torch.rand(3, generator=generator(0, "order", epoch)) for epoch in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
