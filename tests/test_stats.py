"""Intervals that cover what they promise, and verdicts that follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from replearn import stats
from replearn.pooling import Noise, Spread, pool


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


class TestPool:
    def test_pools_sums_of_squares_and_degrees(self) -> None:
        groups = {"a": [0.8, 0.82, 0.84], "b": [0.5, 0.7], "c": [0.6]}
        noise = pool({name: seeds(*values) for name, values in groups.items()})
        squares = sum(np.var(v, ddof=1) * (len(v) - 1) for v in groups.values() if len(v) > 1)
        assert noise.within is not None
        assert noise.within.degrees == 3
        assert noise.within.sd == pytest.approx(np.sqrt(squares / 3))

    def test_seven_methods_of_three_seeds_have_fourteen_degrees(self) -> None:
        rng = np.random.default_rng(0)
        noise = pool({name: seeds(*rng.normal(size=3)) for name in "abcdefg"})
        assert noise.within is not None
        assert noise.paired is not None
        assert (noise.within.degrees, noise.paired.degrees) == (14, 12)

    def test_two_methods_pool_to_the_ordinary_paired_t(self) -> None:
        a, b = [0.81, 0.84, 0.80, 0.85], [0.70, 0.75, 0.73, 0.71]
        noise = pool({"a": seeds(*a), "b": seeds(*b)})
        found = stats.compare(seeds(*a), seeds(*b), noise=noise)
        oracle = scipy_stats.ttest_rel(a, b)
        low, high = oracle.confidence_interval()
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
        assert found.p == pytest.approx(oracle.pvalue)

    def test_missing_cells_leave_the_residual_of_the_additive_table(self) -> None:
        effects = {"a": 0.0, "b": 1.0, "c": 2.0}
        shift = {0: 0.1, 1: -0.2, 2: 0.3}
        table = {m: {s: e + shift[s] for s in shift} for m, e in effects.items()}
        del table["b"][2]
        noise = pool(table)
        assert noise.paired is not None
        assert noise.paired.degrees == 3
        assert noise.paired.sd == pytest.approx(0, abs=1e-12)

    def test_one_wild_method_is_left_out_of_the_pool(self) -> None:
        rng = np.random.default_rng(1)
        calm = {name: seeds(*(0.8 + 0.003 * rng.normal(size=3))) for name in "abcdef"}
        noise = pool(calm | {"wild": seeds(0.3, 0.8, 0.9)})
        assert noise.uneven == {"wild"}
        assert noise.within == pool(calm).within

    def test_no_seeds_no_pool(self) -> None:
        assert pool({"a": seeds(0.8), "b": seeds(0.7)}) == Noise()


class TestSummarise:
    def test_deterministic_rows_have_no_interval(self) -> None:
        found = stats.summarise(seeds(0.7), deterministic=True)
        assert (found.mean, found.sd, found.interval, found.scope) == (
            0.7,
            None,
            None,
            "deterministic",
        )

    def test_one_seed_speaks_about_the_checkpoint(self) -> None:
        correct = np.arange(200) < 150
        found = stats.summarise(seeds(0.75), correct=correct)
        oracle = scipy_stats.binomtest(150, 200).proportion_ci(method="wilson")
        assert found.scope == "this checkpoint"
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((oracle.low, oracle.high))

    def test_one_seed_without_predictions_has_no_interval(self) -> None:
        assert stats.summarise(seeds(0.75)).interval is None

    def test_few_seeds_use_the_pool(self) -> None:
        found = stats.summarise(seeds(0.7, 0.8), noise=Noise(Spread(0.02, 14)))
        half = scipy_stats.t.ppf(0.975, 14) * 0.02 / np.sqrt(2)
        assert found.interval is not None
        assert found.interval.low == pytest.approx(0.75 - half)
        assert found.sd == pytest.approx(np.std([0.7, 0.8], ddof=1))

    def test_six_seeds_use_their_own_deviation(self) -> None:
        values = [0.71, 0.74, 0.70, 0.76, 0.72, 0.73]
        found = stats.summarise(seeds(*values), noise=Noise(Spread(9.0, 14)))
        low, high = scipy_stats.t.interval(0.95, 5, np.mean(values), scipy_stats.sem(values))
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((low, high))

    def test_nothing_to_summarise(self) -> None:
        with pytest.raises(ValueError, match="at least one value"):
            stats.summarise({})


class TestCompare:
    def test_verdicts(self) -> None:
        noise = Noise(Spread(0.01, 14), Spread(0.01, 12))
        better, worse = seeds(0.80, 0.81), seeds(0.70, 0.71)
        assert stats.compare(better, worse, noise=noise).verdict == "supported"
        assert stats.compare(worse, better, noise=noise).verdict == "contradicted"
        assert stats.compare(better, seeds(0.795, 0.81), noise=noise).verdict == "inconclusive"

    def test_a_margin_must_be_beaten_too(self) -> None:
        noise = Noise(Spread(0.001, 14), Spread(0.001, 12))
        a, b = seeds(0.80, 0.81), seeds(0.70, 0.71)
        assert stats.compare(a, b, noise=noise, margin=0.05).verdict == "supported"
        assert stats.compare(a, b, noise=noise, margin=0.15).verdict == "contradicted"

    def test_a_shared_seed_effect_cancels(self) -> None:
        shift = np.array([-0.05, 0.0, 0.05])
        table = {n: seeds(*(m + shift)) for n, m in (("a", 0.80), ("b", 0.79), ("c", 0.60))}
        found = stats.compare(table["a"], table["b"], noise=pool(table))
        assert found.verdict == "supported"
        assert found.difference == pytest.approx(0.01)

    def test_against_a_row_without_seeds_only_one_side_varies(self) -> None:
        noise = Noise(Spread(0.02, 14), Spread(0.5, 12))
        found = stats.compare(
            seeds(0.80, 0.82), seeds(0.7), noise=noise, deterministic=(False, True)
        )
        half = scipy_stats.t.ppf(0.975, 14) * 0.02 / np.sqrt(2)
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx(
            (0.11 - half, 0.11 + half)
        )

    def test_only_common_seeds_count(self) -> None:
        noise = Noise(Spread(0.01, 9), Spread(0.01, 9))
        found = stats.compare({0: 0.9, 1: 0.8, 2: 0.8}, {1: 0.7, 2: 0.6}, noise=noise)
        assert (found.n, found.difference) == (2, pytest.approx(0.15))

    def test_one_common_seed_still_has_the_noise_of_the_others(self) -> None:
        noise = Noise(Spread(0.01, 9), Spread(0.01, 9))
        found = stats.compare({0: 0.9, 1: 0.91}, {0: 0.8}, noise=noise)
        half = scipy_stats.t.ppf(0.975, 9) * 0.01 * np.sqrt(2)
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((0.1 - half, 0.1 + half))

    def test_one_seed_is_compared_image_by_image(self) -> None:
        rng = np.random.default_rng(0)
        a, b = rng.random(500) < 0.9, rng.random(500) < 0.6
        found = stats.compare(seeds(a.mean()), seeds(b.mean()), correct=(a, b))
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        assert found.p == pytest.approx(scipy_stats.binomtest(only_a, only_a + only_b).pvalue)
        assert found.verdict == "supported"
        assert found.scope == "these checkpoints"
        assert found.difference == pytest.approx(a.mean() - b.mean())

    def test_one_seed_without_predictions_decides_nothing(self) -> None:
        found = stats.compare(seeds(0.9), seeds(0.1))
        assert (found.verdict, found.interval) == ("inconclusive", None)

    def test_equal_predictions_are_inconclusive(self) -> None:
        same = np.ones(50, dtype=bool)
        assert stats.compare(seeds(1.0), seeds(1.0), correct=(same, same)).verdict == "inconclusive"

    @given(
        st.lists(st.floats(0, 1), min_size=3, max_size=5),
        st.lists(st.floats(0, 1), min_size=3, max_size=5),
    )
    def test_the_other_side_sees_the_mirror_image(self, a: list[float], b: list[float]) -> None:
        noise = Noise(Spread(0.05, 10), Spread(0.05, 8))
        there = stats.compare(seeds(*a), seeds(*b), noise=noise)
        back = stats.mirrored(stats.compare(seeds(*b), seeds(*a), noise=noise))
        assert there.verdict == back.verdict
        assert there.difference == pytest.approx(back.difference, abs=1e-12)


class TestManyComparisons:
    def test_holm_by_hand(self) -> None:
        assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_holm_demotes_only_pairs_with_many_seeds(self) -> None:
        interval = stats.Interval(0.001, 0.02, "")
        many = stats.Comparison(0.01, interval, "supported", "seeds", 6, 0.03)
        few = stats.Comparison(0.01, interval, "supported", "seeds", 3, 0.03)
        found = stats.with_holm({"a": many, "b": many, "c": few})
        assert [found[name].verdict for name in "abc"] == [
            "inconclusive",
            "inconclusive",
            "supported",
        ]

    def test_ties_share_a_rank_even_if_they_form_a_chain(self) -> None:
        # a beats c, but b is tied with both: nobody is above a or b, one method is above c
        assert stats.ranks({"a": [], "b": [], "c": ["a"], "d": ["a", "b", "c"]}) == {
            "a": 1,
            "b": 1,
            "c": 2,
            "d": 4,
        }


class TestScore:
    def test_between_random_and_supervised(self) -> None:
        assert stats.normalised_score(0.7, 0.5, 0.9) == pytest.approx(0.5)

    @pytest.mark.parametrize(("low", "high"), [(None, 0.9), (0.5, None), (0.9, 0.9), (0.9, 0.5)])
    def test_undefined_without_room(self, low: float | None, high: float | None) -> None:
        assert stats.normalised_score(0.7, low, high) is None


class TestSignFlip:
    @pytest.mark.parametrize("n", [2, 6, 9])
    def test_like_scipy(self, n: int) -> None:
        differences = np.random.default_rng(n).normal(0.3, 1, n)
        oracle = scipy_stats.permutation_test(
            (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        assert stats.sign_flip(differences) == pytest.approx(oracle.pvalue)

    def test_six_equal_signs_cannot_do_better_than_two_of_sixty_four(self) -> None:
        assert stats.sign_flip([1, 2, 3, 4, 5, 6]) == 2 / 64

    def test_no_difference_at_all(self) -> None:
        assert stats.sign_flip(np.zeros(6)) == 1.0

    def test_too_many_signs_to_try(self) -> None:
        assert stats.sign_flip(np.ones(21)) is None

    def test_comparisons_carry_it_from_six_seeds_on(self) -> None:
        a, b = seeds(0.8, 0.8, 0.9, 0.7, 0.8, 0.9), seeds(0.7, 0.8, 0.7, 0.8, 0.7, 0.6)
        found = stats.compare(a, b)
        assert (found.wins, found.n) == (4.5, 6)
        assert found.sign_flip == stats.sign_flip([0.1, 0, 0.2, -0.1, 0.1, 0.3])
        assert stats.mirrored(found).wins == 1.5
        few = stats.compare(seeds(0.8, 0.9), seeds(0.7, 0.6))
        assert (few.wins, few.sign_flip) == (None, None)
