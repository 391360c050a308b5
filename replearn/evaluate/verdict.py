"""One word on whether a run's features collapsed, with the rule that says so.

The thresholds are set so that untrained and briefly trained networks pass: average-pooled ReLU
features share a large common mean and have steep spectra without being collapsed. Each rule asks
two numbers that fail in different ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Word = Literal["healthy", "dimensional", "cluster", "complete", "diverged"]
Metrics = Mapping[str, float | None]

CONSTANT_STD = 0.1
CONSTANT_VARIANCE = 0.05
CONSTANT_RANK = 2.0
ONE_DIRECTION = 0.05
ONE_DIRECTION_RANK = 2.5
FEW_DIRECTIONS = 0.1
FEWEST_DIRECTIONS = 2.5
CLUSTER_RESIDUAL = 0.01
CLUSTER_RANK = 1.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word, and the rule that fired as a sentence with its numbers."""

    status: Word
    rule: str


def verdict(
    h_metrics: Metrics,
    z_metrics: Metrics | None = None,
    *,
    supervision: str = "none",
) -> Verdict:
    """Judge a run; the first rule that fires decides.

    1. diverged: a feature is not a finite number.
    2. complete collapse, of encoder or projector: feature_std < 0.1, and the variance is below 5 %
       of the squared mean or rank_me below 2. (feature_std alone would flag random ResNets, whose
       common mean is large.) Losses of cosine similarities leave the length of a projector's output
       free, so it has also collapsed if its directions are one: direction_variance < 0.05, and
       effective_rank < 2.5, the variation being along that direction.
    3. cluster collapse, of an encoder trained without labels or captions: 20 centres explain 99 %
       of the variance, which is not just a line (effective rank ≥ 1.5).
    4. dimensional collapse, of such an encoder: both effective_rank and rank_me are below a tenth
       of min(n, d), or below 2.5 (min(n, d) / 2 if that is less) where a tenth is less. Natural
       features have steep spectra, so effective_rank alone would flag healthy encoders.

    For supervised encoders few directions, one point per class, are the aim (neural collapse), and
    reference rows are not trained: rules 3 and 4 do not apply to them.

    Args:
        h_metrics: `diagnose` of the encoder's features.
        z_metrics: of the projector's, if there is one.
        supervision: "none", "labels", "captions", "template captions", or "-" for a reference row.
    """
    named = [("encoder", h_metrics)] + ([("projector", z_metrics)] if z_metrics else [])
    for name, metrics in named:
        if metrics.get("finite") == 0:
            return Verdict("diverged", f"features of the {name} are not finite numbers")
    for name, metrics in named:
        rule = _constant(metrics) or (_one_direction(metrics) if name == "projector" else None)
        if rule:
            return Verdict("complete", f"the {name} maps all images to about one point: {rule}")
    if supervision == "none":
        rule = _clustered(h_metrics)
        if rule:
            return Verdict("cluster", f"the encoder maps images to a few points: {rule}")
        rule = _flat(h_metrics)
        if rule:
            return Verdict("dimensional", f"the encoder uses few dimensions: {rule}")
        return Verdict("healthy", "not constant, not a few points, not a few dimensions")
    return Verdict(
        "healthy",
        "not constant; few points or dimensions are no fault of"
        + (" an untrained reference" if supervision == "-" else " supervised features"),
    )


def _constant(metrics: Metrics) -> str | None:
    spread, relative, rank = (
        metrics.get(name) for name in ("feature_std", "relative_variance", "rank_me")
    )
    if spread is None or spread >= CONSTANT_STD:
        return None
    if relative is not None and relative < CONSTANT_VARIANCE:
        return (
            f"feature_std {spread:.2g} < {CONSTANT_STD} and variance {relative:.2g} of the squared"
            f" mean < {CONSTANT_VARIANCE}"
        )
    if rank is not None and rank < CONSTANT_RANK:
        return f"feature_std {spread:.2g} < {CONSTANT_STD} and rank_me {rank:.3g} < {CONSTANT_RANK}"
    return None


def _one_direction(metrics: Metrics) -> str | None:
    spread, rank = metrics.get("direction_variance"), metrics.get("effective_rank")
    if spread is None or rank is None or spread >= ONE_DIRECTION or rank >= ONE_DIRECTION_RANK:
        return None
    return (
        f"direction_variance {spread:.2g} < {ONE_DIRECTION}"
        f" and effective_rank {rank:.3g} < {ONE_DIRECTION_RANK}"
    )


def _clustered(metrics: Metrics) -> str | None:
    residual, rank = metrics.get("cluster_residual"), metrics.get("effective_rank")
    if residual is None or rank is None or rank < CLUSTER_RANK or residual >= CLUSTER_RESIDUAL:
        return None
    return f"20 centres leave {residual:.2g} of the variance < {CLUSTER_RESIDUAL}"


def _flat(metrics: Metrics) -> str | None:
    n, d = metrics.get("n"), metrics.get("d")
    rank, amplitude = metrics.get("effective_rank"), metrics.get("rank_me")
    if n is None or d is None or rank is None or amplitude is None:
        return None
    most = min(n, d)
    limit = max(FEW_DIRECTIONS * most, min(FEWEST_DIRECTIONS, most / 2))
    if rank >= limit or amplitude >= limit:
        return None
    return (
        f"effective_rank {rank:.3g} and rank_me {amplitude:.3g} < {limit:.3g},"
        f" the limit for min(n, d) = {most:.0f}"
    )
