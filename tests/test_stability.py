"""Ranks with their uncertainty, against closed forms and naive loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from replearn.pooling import Noise, Spread, pool
from replearn.stability import DRAWS, rank_stability

CHANCE = 4 * 0.5 / np.sqrt(DRAWS)
"""Four standard errors of a share of the draws."""


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_two_methods_of_few_seeds_agree_with_the_paired_t_test() -> None:
    a, b = [0.81, 0.84, 0.80, 0.85], [0.80, 0.83, 0.81, 0.79]
    table = {"a": seeds(*a), "b": seeds(*b)}
    found = rank_stability(table, noise=pool(table))
    one_sided = scipy_stats.ttest_rel(a, b, alternative="greater").pvalue
    assert found is not None
    assert found.shares["a"][0] == pytest.approx(1 - one_sided, abs=CHANCE)
    assert found.shares["b"][1] == pytest.approx(1 - one_sided, abs=CHANCE)
    assert "pooled" in found.basis


def test_many_seeds_agree_with_every_bootstrap_sample() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal([[0.80], [0.803], [0.807]], 0.01, (3, 6))
    found = rank_stability({name: seeds(*values[i]) for i, name in enumerate("abc")})
    expected = np.zeros((3, 3))
    for drawn in itertools.product(range(6), repeat=6):
        means = values[:, drawn].mean(axis=1)
        for method in range(3):
            expected[method, int((means > means[method]).sum())] += 1 / 6**6
    assert found is not None
    assert [found.shares[name] for name in "abc"] == pytest.approx(expected, abs=CHANCE)
    assert "bootstrap of 6 common seeds" in found.basis


def test_what_seeds_have_in_common_does_not_blur_the_order() -> None:
    shift = np.random.default_rng(0).normal(0, 0.1, 8)
    table = {m: seeds(*(0.5 + 0.01 * i + shift)) for i, m in enumerate("abc")}
    found = rank_stability(table)
    assert found is not None
    assert found.shares == {"c": (1, 0, 0), "b": (0, 1, 0), "a": (0, 0, 1)}


def test_one_seed_draws_images_and_says_so() -> None:
    rng = np.random.default_rng(1)
    correct = rng.random((2, 400)) < [[0.80], [0.77]]
    table = {"a": seeds(correct[0].mean()), "b": seeds(correct[1].mean())}
    found = rank_stability(table, correct=correct)
    ahead = 0
    for _ in range(DRAWS):
        a, b = correct[:, rng.integers(0, 400, 400)].sum(axis=1)
        ahead += a >= b
    assert found is not None
    assert found.scope == "these checkpoints"
    assert found.shares["a"][0] == pytest.approx(ahead / DRAWS, abs=2 * CHANCE)


def test_a_method_outside_the_pool_keeps_its_own_spread() -> None:
    table = {"a": seeds(0.8, 0.8, 0.8), "b": seeds(0.81, 0.81, 0.81), "wild": seeds(0.6, 0.8, 1.0)}
    noise = Noise(Spread(1e-6, 4), Spread(1e-6, 4), frozenset({"wild"}))
    found = rank_stability(table, noise=noise)
    assert found is not None
    below = scipy_stats.ttest_1samp([0.6, 0.8, 1.0], 0.8, alternative="less").pvalue
    assert found.shares["a"][2] == pytest.approx(1 - below, abs=CHANCE)
    assert found.shares["b"][2] == 0


def test_equal_methods_share_the_best_rank() -> None:
    same = seeds(*np.linspace(0.1, 0.7, 6))
    found = rank_stability({"a": same, "b": same})
    assert found is not None
    assert found.shares == {"a": (1, 0), "b": (1, 0)}


def test_nothing_is_known_without_repetition() -> None:
    assert rank_stability({"a": {0: 0.8}, "b": {0: 0.7}}) is None
    assert rank_stability({"a": {0: 0.8}, "b": {1: 0.7}}) is None
    assert rank_stability({"a": seeds(0.8, 0.9)}) is None
