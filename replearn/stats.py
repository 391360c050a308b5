"""From seeds to intervals to verdicts.

One rule per number of seeds, because three runs do not carry a bootstrap:

* one seed: an interval over test images, which speaks about *this checkpoint* and not about the
  method;
* two to five: a t interval with the within-method standard deviation pooled over all methods of
  the same dataset and metric, degrees of freedom summed (seven methods x three seeds: 14), which
  about halves the plain t interval;
* six or more: the method's own t interval, and Holm's correction over the pairs compared.

Seeds are shared by all methods, so two methods are compared seed by seed. The pooled noise of a
difference is the residual of the additive table method + seed, as in a randomised block design.

From six seeds on a comparison also carries two numbers that need no normal distribution: on how
many seeds a is ahead, and the exact sign-flip p. They are shown and decide nothing: the smallest p
of six sign-flips is 2/64, which no Holm correction over many pairs lets pass.

Sources: Holm (1979); Fisher (1935, section 21) for the sign-flip test; Bouthillier et al. (2021,
MLSys, section 4) for the probability of being ahead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replearn.pooling import Name, Noise, Spread, Values, sample_sd
from replearn.proportions import bonett_price, discordant, mcnemar, wilson

Verdict = Literal["supported", "inconclusive", "contradicted"]
Scope = Literal["seeds", "this checkpoint", "these checkpoints", "deterministic", "unknown"]
LEVEL = 0.95
OWN_SPREAD_FROM = 6
"""Number of seeds from which a method's own standard deviation is used."""
MOST_FLIPPED = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval and in words what it rests on."""

    low: float
    high: float
    basis: str
    level: float = LEVEL


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean, sample standard deviation and interval of one metric over seeds."""

    n: int
    mean: float
    sd: float | None
    interval: Interval | None
    scope: Scope
    values: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The claim "a is better than b by more than the margin", and what the runs say about it."""

    difference: float
    interval: Interval | None
    verdict: Verdict
    scope: Scope
    n: int
    p: float | None = None
    sign_flip: float | None = None
    wins: float | None = None
    """Seeds on which a is ahead of b by more than the margin, a tie counting half."""


def t_quantile(level: float, degrees: int) -> float:
    """Half-width of a two-sided t interval in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))


def summarise(
    values: Values,
    *,
    noise: Noise | None = None,
    uneven: bool = False,
    deterministic: bool = False,
    correct: ArrayLike | None = None,
    level: float = LEVEL,
) -> Summary:
    """Summarise one method's values over seeds by the rule for their number.

    Args:
        values: metric by seed, at least one.
        noise: pooled noise of the same dataset and metric (used with two to five seeds).
        uneven: whether this method is outside the pool, so that its own spread is used.
        deterministic: the method has no seed; one value, no interval.
        correct: per-image 0/1 correctness of the only run (used with one seed).
        level: confidence level.
    """
    if not values:
        raise ValueError("summarise needs at least one value")
    array = np.fromiter(values.values(), dtype=np.float64)
    n, mean = array.size, float(array.mean())
    if deterministic:
        return Summary(n, mean, None, None, "deterministic", values)
    if n == 1:
        hits = None if correct is None else np.asarray(correct, dtype=bool)
        interval = _of_images(hits, level) if hits is not None else None
        return Summary(1, mean, None, interval, "this checkpoint", values)
    sd = sample_sd(array)
    assert sd is not None
    pooled = noise.within if noise else None
    if n >= OWN_SPREAD_FROM or uneven or pooled is None:
        spread, basis = Spread(sd, n - 1), "own sd"
    else:
        spread, basis = pooled, "pooled sd"
    basis = f"t, {basis}, {spread.degrees} degrees of freedom, {n} seeds"
    half = t_quantile(level, spread.degrees) * spread.sd / math.sqrt(n)
    return Summary(n, mean, sd, Interval(mean - half, mean + half, basis, level), "seeds", values)


def compare(
    a: Values,
    b: Values,
    *,
    noise: Noise | None = None,
    uneven: bool = False,
    deterministic: tuple[bool, bool] = (False, False),
    correct: tuple[ArrayLike, ArrayLike] | None = None,
    margin: float = 0.0,
    level: float = LEVEL,
) -> Comparison:
    """Is a better than b by more than `margin`? Paired over seeds; over images with one seed.

    Args:
        a: metric by seed.
        b: metric by seed; only seeds that both have are used, a deterministic side stands for
            each seed.
        noise: pooled noise of the same dataset and metric (used with up to five common seeds).
        uneven: whether a or b is outside the pool, so that the pair's own spread is used.
        deterministic: which of the two have no seed.
        correct: per-image 0/1 correctness of both, over the same images (used with one common
            seed).
        margin: difference that the claim asks for.
        level: confidence level of the interval; the verdict follows from it.
    """
    if not a or not b:
        raise ValueError("compare needs at least one value on either side")
    fixed = deterministic[0] or deterministic[1]
    left, right = _aligned(a, b, deterministic)
    n = left.size
    pooled = (noise.within if fixed else noise.paired) if noise else None
    by_image = n == 1 and (correct is not None or pooled is None or uneven)
    if all(deterministic) or n == 0 or by_image:
        return _compare_images(a, b, correct, margin, level)
    differences = left - right
    difference = float(differences.mean())
    if pooled is None or n >= OWN_SPREAD_FROM or uneven:
        spread = Spread(float(differences.std(ddof=1)), n - 1)
        error, basis = spread.sd / math.sqrt(n), "own sd"
    else:
        spread, basis = pooled, "pooled sd"
        error = spread.sd * math.sqrt((1 if fixed else 2) / n)
    basis = f"paired t, {basis}, {spread.degrees} degrees of freedom, {n} common seed(s)"
    half = t_quantile(level, spread.degrees) * error
    interval = Interval(difference - half, difference + half, basis, level)
    p = _t_probability((difference - margin) / error, spread.degrees) if error > 0 else None
    found = Comparison(difference, interval, _verdict(interval, margin), "seeds", n, p)
    if n < OWN_SPREAD_FROM:
        return found
    beyond = differences - margin
    wins = float((beyond > 0).sum() + 0.5 * (beyond == 0).sum())
    return replace(found, wins=wins, sign_flip=sign_flip(beyond))


def mirrored(comparison: Comparison) -> Comparison:
    """The same comparison read from the other side."""
    opposite: dict[Verdict, Verdict] = {"supported": "contradicted", "contradicted": "supported"}
    interval = comparison.interval
    return replace(
        comparison,
        difference=-comparison.difference,
        interval=interval and replace(interval, low=-interval.high, high=-interval.low),
        verdict=opposite.get(comparison.verdict, comparison.verdict),
        wins=None if comparison.wins is None else comparison.n - comparison.wins,
    )


def sign_flip(differences: ArrayLike) -> float | None:
    """Exact two-sided p that paired differences are symmetric around zero.

    The share of all 2ⁿ choices of signs whose sum is at least as far from zero as the observed one;
    None for more than 20 differences.
    """
    array = np.asarray(differences, dtype=np.float64)
    if array.size > MOST_FLIPPED:
        return None
    sums = np.zeros(1)
    for size in np.abs(array):
        sums = np.concatenate([sums + size, sums - size])
    rounding = 1e-12 * float(np.abs(array).sum())
    return float((np.abs(sums) >= abs(float(array.sum())) - rounding).mean())


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    adjusted = [0.0] * len(p)
    running = 0.0
    for rank, position in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[position]))
        adjusted[position] = running
    return adjusted


def with_holm(
    comparisons: Mapping[Name, Comparison], level: float = LEVEL
) -> dict[Name, Comparison]:
    """Demote to inconclusive what does not survive Holm's correction over a family of pairs.

    Only pairs with six or more seeds enter: with fewer the intervals are wide and stay per pair.
    """
    family = [
        name
        for name, item in comparisons.items()
        if item.n >= OWN_SPREAD_FROM and item.p is not None
    ]
    adjusted = holm([comparisons[name].p or 0.0 for name in family])
    result = dict(comparisons)
    for name, p in zip(family, adjusted, strict=True):
        kept = comparisons[name].verdict if p < 1 - level else "inconclusive"
        result[name] = replace(comparisons[name], p=p, verdict=kept)
    return result


def ranks(better: Mapping[Name, Iterable[Name]]) -> dict[Name, int]:
    """Rank of each method: one more than the number of methods supported as better than it.

    Methods whose comparison is inconclusive thus share a rank, even where "inconclusive" is not
    transitive.
    """
    return {name: 1 + len(set(above)) for name, above in better.items()}


def normalised_score(
    accuracy: float, random: float | None, supervised: float | None
) -> float | None:
    """(accuracy - random) / (supervised - random); None unless both are known and differ so."""
    if random is None or supervised is None or supervised <= random:
        return None
    return (accuracy - random) / (supervised - random)


def _of_images(correct: NDArray[np.bool_], level: float) -> Interval:
    low, high = wilson(int(correct.sum()), correct.size, level)
    return Interval(low, high, f"Wilson, {correct.size:,} images", level)


def _compare_images(
    a: Values, b: Values, correct: tuple[ArrayLike, ArrayLike] | None, margin: float, level: float
) -> Comparison:
    difference = float(np.mean(list(a.values())) - np.mean(list(b.values())))
    if correct is None:
        return Comparison(difference, None, "inconclusive", "unknown", 1)
    only_a, only_b, n = discordant(*correct)
    basis = f"Bonett-Price over {n:,} paired images"
    interval = Interval(*bonett_price(only_a, only_b, n, level), basis, level)
    p = mcnemar(only_a, only_b)
    verdict = _verdict(interval, margin)
    if margin == 0 and p >= 1 - level:
        verdict = "inconclusive"
    return Comparison((only_a - only_b) / n, interval, verdict, "these checkpoints", 1, p)


def _aligned(
    a: Values, b: Values, deterministic: tuple[bool, bool]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    seeds = set(a) & set(b)
    if deterministic[0]:
        seeds = set(b)
    elif deterministic[1]:
        seeds = set(a)
    order = sorted(seeds)
    mean_a, mean_b = float(np.mean(list(a.values()))), float(np.mean(list(b.values())))
    left = [mean_a if deterministic[0] else a[seed] for seed in order]
    right = [mean_b if deterministic[1] else b[seed] for seed in order]
    return np.array(left, dtype=np.float64), np.array(right, dtype=np.float64)


def _verdict(interval: Interval, margin: float) -> Verdict:
    if interval.low > margin:
        return "supported"
    return "contradicted" if interval.high < margin else "inconclusive"


def _t_probability(t: float, degrees: int) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(t)))
