"""From a claim's finished study to verdicts: each criterion with its effect and interval, then the claim.

A criterion about several rows or datasets holds if every part does; so does a claim. One part that is
contradicted contradicts the whole, and otherwise one that is inconclusive leaves it open. Nothing has to be
corrected for multiplicity: to support a claim every part must be supported by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from replearn import stats
from replearn.claims.claim import (
    Agreement,
    Claim,
    Comparison,
    Criterion,
    Identity,
    Level,
    split_row,
)
from replearn.collate import read_plan, read_tables
from replearn.standings import Entry, Metric, Standings, is_share, standings
from replearn.stats import LEVEL, Interval, Verdict

ALONE = "one seed, which says nothing about another training"
SEVERITY: Sequence[Verdict] = ("contradicted", "inconclusive", "supported")


@dataclass(frozen=True, slots=True)
class Part:
    """One inequality and what the runs say about it.

    Attributes:
        says: the inequality in words, with the rows.
        wanted: of the effect.
        effect, low, high: estimate and interval; None without a value.
        unit: "points", "%" or "".
        basis: what the interval rests on.
    """

    says: str
    wanted: str
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    basis: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """A criterion, its parts, and the verdict over them."""

    says: str
    parts: tuple[Part, ...]
    verdict: Verdict


def judge(claim: Claim, plan_json: Path, study_dir: Path) -> dict[str, Any]:
    """What claim.json says: the statement, its criteria's findings, and the verdict.

    Args:
        claim: the claim.
        plan_json: plan of its study.
        study_dir: the collated tables.
    """
    plan = read_plan(plan_json)
    results, runs = read_tables(study_dir)
    boards = standings(results, runs, plan)
    findings = [(criterion, _finding(criterion, boards)) for criterion in claim.criteria]
    return {
        "schema": 1,
        "claim": claim.name,
        "study": plan.study,
        "digest": claim.digest,
        "sentence": claim.claim,
        "lecture": claim.lecture,
        "experiment": claim.experiment,
        "published": claim.published.model_dump(),
        "verdict": worst(finding.verdict for _, finding in findings),
        "findings": [
            {
                "says": finding.says,
                "verdict": finding.verdict,
                "criterion": criterion.model_dump(mode="json"),
                "parts": [
                    {name: getattr(part, name) for name in Part.__slots__} for part in finding.parts
                ],
            }
            for criterion, finding in findings
        ],
        "datasets": [board.dataset for board in boards],
        "runs": len(runs),
        "unfinished": int((runs["status"] != "ok").sum()),
        "seeds": sorted({int(seed) for seed in runs["seed"]}),
        "seconds": float(runs["total_seconds"].sum()),
        "devices": sorted({str(name) for name in runs["device_name"].dropna()}),
        "commits": sorted({str(commit) for commit in runs["commit"].dropna()}),
    }


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict over parts that must all hold; inconclusive if there is none."""
    return min(verdicts, key=SEVERITY.index, default="inconclusive")


def _finding(criterion: Criterion, boards: Sequence[Standings]) -> Finding:
    if isinstance(criterion, Identity):
        parts = [_identity(criterion)]
    else:
        parts = [part for board in boards for part in _parts(criterion, board)]
    return Finding(criterion.says, tuple(parts), worst(part.verdict for part in parts))


def _parts(criterion: Level | Comparison | Agreement, board: Standings) -> list[Part]:
    metric = _metric(criterion.metric)
    if isinstance(criterion, Level):
        return [_level(criterion, board, metric, row) for row in criterion.rows]
    if isinstance(criterion, Comparison):
        return [_comparison(criterion, board, metric, row) for row in criterion.than]
    return [_agreement(criterion, board, metric)]


def _level(criterion: Level, board: Standings, metric: Metric, row: str) -> Part:
    entry = _entry(board, row)
    summary = board.summary(entry, metric) if entry else None
    scale, unit = (100.0, "%") if is_share(metric) else (1.0, "")
    limit = criterion.above if criterion.above is not None else criterion.below
    assert limit is not None
    above = criterion.above is not None
    wanted = f"{'>' if above else '<'} {limit * scale:g} {unit}".rstrip()
    says = f"{_label(entry, row)}: {criterion.metric}"
    if summary is None:
        return _absent(says, wanted, unit)
    interval = summary.interval
    if interval is None and entry and entry.deterministic:
        interval = Interval(summary.mean, summary.mean, "no randomness, one value")
    if interval is None:
        return Part(says, wanted, scale * summary.mean, None, None, unit, ALONE, "inconclusive")
    holds = interval.low > limit if above else interval.high < limit
    fails = interval.high < limit if above else interval.low > limit
    verdict: Verdict = "supported" if holds else "contradicted" if fails else "inconclusive"
    return _part(says, wanted, summary.mean, interval, scale, unit, verdict)


def _comparison(criterion: Comparison, board: Standings, metric: Metric, row: str) -> Part:
    first, second = _entry(board, criterion.better), _entry(board, row)
    scale, unit = (100.0, "points") if is_share(metric) else (1.0, "")
    wanted = f"> {criterion.by * scale:g} {unit}".rstrip().replace("-", "−")
    labels = [_label(first, criterion.better), _label(second, row)]
    if criterion.lower_is_better:
        first, second, labels = second, first, labels[::-1]
    says = f"{labels[0]} − {labels[1]}: {criterion.metric}"
    if criterion.than_metric:
        says = f"{labels[0]}: {criterion.metric} − {criterion.than_metric}"
    if first is None or second is None:
        return _absent(says, wanted, unit)
    if criterion.than_metric:
        other = _metric(criterion.than_metric)
        compared = _across(first.values.get(metric), second.values.get(other), criterion.by)
    else:
        compared = board.compare(first, second, metric, margin=criterion.by)
    if compared is None or compared.interval is None:
        return _absent(says, wanted, unit)
    return _part(
        says, wanted, compared.difference, compared.interval, scale, unit, compared.verdict
    )


def _agreement(criterion: Agreement, board: Standings, metric: Metric) -> Part:
    first, second = _entry(board, criterion.row), _entry(board, criterion.equals)
    limit = criterion.within
    says = f"{_label(first, criterion.row)} / {_label(second, criterion.equals)} − 1: {criterion.metric}"
    wanted = f"within ±{100 * limit:g} %"
    values = first.values.get(metric) if first else None
    others = second.values.get(metric) if second else None
    if not values or not others:
        return _absent(says, wanted, "%")
    fixed = float(np.mean(list(others.values())))
    ratios = [value / others.get(seed, fixed) - 1 for seed, value in values.items()]
    mean = float(np.mean(ratios))
    if len(ratios) < 2:
        return Part(says, wanted, 100 * mean, None, None, "%", ALONE, "inconclusive")
    half = stats.t_quantile(LEVEL, len(ratios) - 1) * float(np.std(ratios, ddof=1))
    half /= len(ratios) ** 0.5
    basis = f"t, own sd, {len(ratios) - 1} degrees of freedom, {len(ratios)} seeds"
    interval = Interval(mean - half, mean + half, basis)
    inside = -limit <= interval.low and interval.high <= limit
    outside = interval.low > limit or interval.high < -limit
    verdict: Verdict = "supported" if inside else "contradicted" if outside else "inconclusive"
    return _part(says, wanted, mean, interval, 100.0, "%", verdict)


def _identity(criterion: Identity) -> Part:
    check = getattr(import_module("replearn.claims.identities"), criterion.identity)
    error = float(check())
    verdict: Verdict = "supported" if error <= criterion.at_most else "contradicted"
    wanted = f"≤ {criterion.at_most:g}"
    basis = "largest difference over random inputs, computed, not estimated"
    return Part("largest difference", wanted, error, None, None, "", basis, verdict)


def _part(
    says: str,
    wanted: str,
    effect: float,
    interval: Interval,
    scale: float,
    unit: str,
    verdict: Verdict,
) -> Part:
    low, high = scale * interval.low, scale * interval.high
    return Part(says, wanted, scale * effect, low, high, unit, interval.basis, verdict)


def _absent(says: str, wanted: str, unit: str) -> Part:
    return Part(says, wanted, None, None, None, unit, "no value", "inconclusive")


def _across(
    a: Mapping[int, float] | None, b: Mapping[int, float] | None, margin: float
) -> stats.Comparison | None:
    """Two metrics of the same runs, seed by seed: their noise is not that of either, so their own spread."""
    return stats.compare(a, b, margin=margin) if a and b else None


def _metric(name: str) -> Metric:
    family, _, metric = name.partition("/")
    return family, metric


def _entry(board: Standings, row: str) -> Entry | None:
    wanted = split_row(row)
    return next((entry for entry in board.entries if entry.name == wanted), None)


def _label(entry: Entry | None, row: str) -> str:
    return entry.label if entry else row


def effect_words(part: Mapping[str, Any]) -> str:
    """ "+12.3 points [10.1, 14.5]" of a part of claim.json."""
    if part["effect"] is None:
        return "no value"
    unit = part["unit"]
    signed = unit == "points" or "−" in part["says"]
    shown = [_number(part["effect"], unit, signed=signed)]
    if part["low"] is not None:
        ends = ", ".join(_number(part[end], unit, signed=False) for end in ("low", "high"))
        shown.append(f"[{ends}]")
    if unit:
        shown.insert(1, unit)
    return " ".join(shown)


def _number(value: float, unit: str, *, signed: bool) -> str:
    sign = "+" if signed else ""
    text = f"{value:{sign}.1f}" if unit in ("points",) else f"{value:{sign}.3g}"
    return text.replace("-", "−")
