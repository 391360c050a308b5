"""What the intervals and verdicts promise, counted over simulated studies.

A share counted over S studies is off by up to 3 √(p (1 − p) / S) by chance: 1.5 points for 95 % and
2,000 studies.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from replearn import stats
from replearn.pooling import Noise, pool

STUDIES = 2000
METHODS = 7
TRUTH = np.linspace(0.6, 0.9, METHODS)
NOISE, SEED_EFFECT = 0.01, 0.03
Study = dict[int, dict[int, float]]


def band(share: float, studies: int = STUDIES) -> float:
    return float(3 * np.sqrt(share * (1 - share) / studies))


def studies(seeds: int, truth: NDArray[np.float64], stream: int) -> Iterator[tuple[Study, Noise]]:
    """Studies whose values are method + seed + normal noise, and their pooled noise."""
    rng = np.random.default_rng(stream)
    for _ in range(STUDIES):
        shift = rng.normal(0, SEED_EFFECT, seeds)
        values = truth[:, None] + shift + rng.normal(0, NOISE, (METHODS, seeds))
        table = {m: dict(enumerate(row.tolist())) for m, row in enumerate(values)}
        yield table, pool(table)


def contains(interval: stats.Interval | None, truth: float) -> bool:
    assert interval is not None
    return interval.low <= truth <= interval.high


class TestIntervals:
    @pytest.mark.parametrize("seeds", [2, 3, 6, 8])
    def test_of_a_mean(self, seeds: int) -> None:
        rng = np.random.default_rng(seeds)
        hits = 0
        for values in rng.normal(TRUTH[:, None], NOISE, (STUDIES, METHODS, seeds)):
            table = {m: dict(enumerate(row.tolist())) for m, row in enumerate(values)}
            noise = pool(table)
            found = stats.summarise(table[3], noise=noise, uneven=3 in noise.uneven)
            hits += contains(found.interval, TRUTH[3])
        assert hits / STUDIES == pytest.approx(0.95, abs=band(0.95))

    @pytest.mark.parametrize("seeds", [2, 3, 6])
    def test_of_a_difference_with_seed_effects(self, seeds: int) -> None:
        hits = 0
        for table, noise in studies(seeds, TRUTH, 10 + seeds):
            found = stats.compare(
                table[2], table[3], noise=noise, uneven=bool({2, 3} & noise.uneven)
            )
            hits += contains(found.interval, TRUTH[2] - TRUTH[3])
        assert hits / STUDIES == pytest.approx(0.95, abs=band(0.95))

    @pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.98])
    def test_of_one_accuracy_over_images(self, accuracy: float) -> None:
        rng = np.random.default_rng(20)
        hits = 0
        for correct in rng.random((STUDIES, 500)) < accuracy:
            found = stats.summarise({0: float(correct.mean())}, correct=correct)
            hits += contains(found.interval, accuracy)
        # counts are whole, so no interval of a share covers 95 % exactly: two points more
        assert hits / STUDIES == pytest.approx(0.95, abs=band(0.95) + 0.02)

    @pytest.mark.parametrize("thresholds", [(0.8, 0.8), (0.8, 0.7), (0.97, 0.95)])
    def test_of_a_difference_over_images(self, thresholds: tuple[float, float]) -> None:
        rng = np.random.default_rng(21)
        many = rng.random(400_000)
        noisy = many + rng.normal(0, 0.2, (2, many.size))
        truth = float((noisy[0] < thresholds[0]).mean() - (noisy[1] < thresholds[1]).mean())
        hits = 0
        for _ in range(STUDIES):
            hard = rng.random(300)
            a, b = (hard + rng.normal(0, 0.2, 300) < level for level in thresholds)
            found = stats.compare({0: float(a.mean())}, {0: float(b.mean())}, correct=(a, b))
            hits += contains(found.interval, truth)
        assert hits / STUDIES == pytest.approx(0.95, abs=band(0.95) + 0.01)

    def test_a_percentile_bootstrap_of_three_seeds_does_not_cover(self) -> None:
        rng = np.random.default_rng(30)
        values = rng.normal(0, 1, (STUDIES, 3))
        every = np.stack(np.meshgrid(*[range(3)] * 3), axis=-1).reshape(-1, 3)
        low, high = np.quantile(values[:, every].mean(axis=2), [0.025, 0.975], axis=1)
        assert ((low <= 0) & (high >= 0)).mean() < 0.8


class TestVerdicts:
    """Methods with equal means, so that every verdict but "inconclusive" is false."""

    EQUAL = np.full(METHODS, 0.8)

    @pytest.mark.parametrize("seeds", [2, 3, 5])
    def test_each_pair_is_falsely_decided_in_one_of_twenty(self, seeds: int) -> None:
        supported = contradicted = 0
        for table, noise in studies(seeds, self.EQUAL, 40 + seeds):
            found = stats.compare(
                table[0], table[1], noise=noise, uneven=bool({0, 1} & noise.uneven)
            )
            supported += found.verdict == "supported"
            contradicted += found.verdict == "contradicted"
        assert supported / STUDIES == pytest.approx(0.025, abs=band(0.025))
        assert contradicted / STUDIES == pytest.approx(0.025, abs=band(0.025))

    def test_over_images_hardly_ever_more(self) -> None:
        rng = np.random.default_rng(50)
        false = 0
        for _ in range(STUDIES):
            hard = rng.random(300)
            a, b = hard + rng.normal(0, 0.2, (2, 300)) < 0.8
            found = stats.compare({0: float(a.mean())}, {0: float(b.mean())}, correct=(a, b))
            false += found.verdict != "inconclusive"
        assert false / STUDIES < 0.05 + band(0.05)

    def test_from_six_seeds_a_whole_study_is_without_a_false_verdict(self) -> None:
        false = 0
        for table, _ in studies(6, self.EQUAL, 60):
            pairs = {
                (a, b): stats.compare(table[a], table[b]) for a in range(METHODS) for b in range(a)
            }
            false += any(c.verdict != "inconclusive" for c in stats.with_holm(pairs).values())
        assert false / STUDIES < 0.05 + band(0.05)

    def test_a_sign_flip_is_as_rare_as_its_p_says(self) -> None:
        differences = np.random.default_rng(70).normal(0, 1, (STUDIES, 8))
        p = np.array([stats.sign_flip(row) for row in differences])
        for level in (0.05, 0.25):
            assert (p <= level).mean() < level + band(level)
