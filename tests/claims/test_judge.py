"""Verdicts follow from the intervals, in every kind of criterion."""

from __future__ import annotations

from typing import Any

import pytest

from replearn.claims import judge
from replearn.claims.claim import Agreement, Comparison, Criterion, Identity, Level
from replearn.claims.judge import effect_words, worst
from replearn.standings import Standings
from tests.boards import board, entry

GOOD = [0.90, 0.91, 0.92]
BAD = [0.70, 0.71, 0.72]
NOISY = [0.70, 0.90, 0.80]


def standing() -> Standings:
    return board(entry("simclr", GOOD), entry("byol", BAD), entry("dino", [0.899, 0.912, 0.922]))


def judged(criterion: Criterion, where: Standings | None = None) -> judge.Finding:
    return judge._finding(criterion, [where or standing()])


def comparison(**change: Any) -> Comparison:
    content = {"says": "?", "metric": "linear/accuracy", "better": "simclr", "than": ["byol"]}
    return Comparison.model_validate({**content, **change})


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "supported"),
        ({"by": 0.19}, "supported"),
        ({"by": 0.21}, "contradicted"),
        ({"by": 0.2}, "inconclusive"),
        ({"better": "byol", "than": ["simclr"]}, "contradicted"),
        ({"better": "byol", "than": ["simclr"], "by": -0.3}, "supported"),
        ({"better": "byol", "than": ["simclr"], "lower_is_better": True}, "supported"),
        ({"than": ["dino"]}, "inconclusive"),
        ({"than": ["byol", "dino"]}, "inconclusive"),
        ({"than": ["clip"]}, "inconclusive"),
    ],
)
def test_comparisons(change: dict[str, Any], verdict: str) -> None:
    assert judged(comparison(**change)).verdict == verdict


def test_lower_is_better_shows_the_difference_that_is_wanted_positive() -> None:
    (part,) = judged(comparison(better="byol", than=["simclr"], lower_is_better=True)).parts
    assert part.says == "SimCLR − BYOL: linear/accuracy"
    assert part.effect == pytest.approx(20)


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ({"above": 0.85}, "supported"),
        ({"below": 0.85}, "contradicted"),
        ({"above": 0.91}, "inconclusive"),
        ({"below": 0.95}, "supported"),
    ],
)
def test_levels(limits: dict[str, float], verdict: str) -> None:
    level = Level.model_validate(
        {"says": "?", "metric": "linear/accuracy", "rows": ["simclr"], **limits}
    )
    assert judged(level).verdict == verdict


@pytest.mark.parametrize(
    ("row", "within", "verdict"),
    [("dino", 0.06, "supported"), ("byol", 0.05, "contradicted"), ("noisy", 0.1, "inconclusive")],
)
def test_agreements(row: str, within: float, verdict: str) -> None:
    where = board(entry("simclr", GOOD), entry("byol", BAD), entry("dino", GOOD[::-1]))
    if row == "noisy":
        where, row = board(entry("simclr", GOOD), entry("triplet", NOISY)), "triplet"
    agreement = Agreement(
        says="?", metric="linear/accuracy", row=row, equals="simclr", within=within
    )
    assert judged(agreement, where).verdict == verdict


def test_the_metric_of_the_other_side_may_be_another_one() -> None:
    one = entry("simclr", GOOD)
    one.values[("linear", "accuracy_z")] = {0: 0.8, 1: 0.81, 2: 0.83}  # type: ignore[index]
    criterion = comparison(than=["simclr"], than_metric="linear/accuracy_z")
    (part,) = judged(criterion, board(one)).parts
    assert part.verdict == "supported"
    assert part.effect == pytest.approx(100 * (0.91 - 0.8133333))
    assert part.says == "SimCLR: linear/accuracy − linear/accuracy_z"


def test_an_identity_is_computed() -> None:
    identity = Identity(says="?", identity="nt_xent_is_supcon_of_pairs", at_most=1e-6)
    assert judged(identity).verdict == "supported"
    assert (judged(identity.model_copy(update={"at_most": 1e-30})).parts[0].effect or 0) <= 1e-6


def test_a_level_of_one_seed_is_inconclusive_unless_nothing_is_random() -> None:
    level = Level(says="?", metric="linear/accuracy", rows=["simclr"], above=0.5)
    assert judged(level, board(entry("simclr", [0.9]))).verdict == "inconclusive"
    fixed = board(entry("simclr", [0.9], deterministic=True))
    assert judged(level, fixed).verdict == "supported"


def test_a_collapsed_row_does_not_narrow_the_intervals_of_the_others() -> None:
    """Its spread is next to nothing, and says nothing of a healthy row's."""
    dead = [
        entry(name, [0.5, 0.5001, 0.5], verdicts=["complete"] * 3) for name in ("dino", "triplet")
    ]
    alone, beside = board(entry("simclr", NOISY)), board(entry("simclr", NOISY), *dead)
    level = Level(says="?", metric="linear/accuracy", rows=["simclr"], above=0.6)
    (own,), (pooled,) = judged(level, alone).parts, judged(level, beside).parts
    assert (own.low, own.high) == (pooled.low, pooled.high)
    assert judged(level, beside).verdict == "inconclusive"


def test_the_weakest_part_decides() -> None:
    assert worst(["supported", "inconclusive"]) == "inconclusive"
    assert worst(["inconclusive", "contradicted", "supported"]) == "contradicted"
    assert worst([]) == "inconclusive"


def test_one_seed_without_predictions_supports_nothing() -> None:
    where = board(entry("simclr", [0.9]), entry("byol", [0.1]))
    assert judged(comparison(), where).verdict == "inconclusive"


def test_an_effect_in_words() -> None:
    (part,) = judged(comparison()).parts
    words = effect_words({name: getattr(part, name) for name in judge.Part.__slots__})
    assert words.startswith("+20.0 points [")
