"""The headline of a dataset in plain words, each sentence derived from the statistics."""

from __future__ import annotations

from dataclasses import dataclass

from replearn.formats import join, percent
from replearn.standings import CEILING, LINEAR, PIXELS, RANDOM, Entry, Standings
from replearn.stats import Comparison, Summary
from replearn.tables import verdict

CANARY_POINTS = 0.05
"""How far above chance the shuffled-label probe may be before the report warns."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence; `tone` is a comparison's verdict, "healthy", "attention" or "plain"."""

    text: str
    tone: str = "plain"
    detail: str = ""


def findings(board: Standings, classes: int) -> list[Finding]:
    """What a reader should take away, most important first.

    Args:
        board: the dataset's standings.
        classes: number of classes, for the level of chance.
    """
    found: list[Finding] = []
    if not board.labelled:
        found.append(
            Finding(
                "This dataset has no labels, so nothing here says which method is better. The"
                " report shows how training went, whether features collapsed and what they find"
                " alike."
            )
        )
    else:
        found += _headline(board) + _floors(board) + _others(board)
    found += _collapse(board) + _canary(board, classes) + _unfinished(board)
    return found


def points(value: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{100 * value:+.1f} points".replace("-", "−")


def interval_words(comparison: Comparison) -> str:
    """The interval of a difference, and over what it holds."""
    if comparison.interval is None:
        return "no interval: one run and no stored predictions"
    low, high = comparison.interval.low, comparison.interval.high
    over = (
        "over seeds" if comparison.scope == "seeds" else "for these checkpoints, over test images"
    )
    shown = f"{100 * low:+.1f} to {100 * high:+.1f}".replace("-", "−")
    return f"95 % interval {shown}, {over}"


def _headline(board: Standings) -> list[Finding]:
    unlabelled = [entry for entry in board.methods if entry.supervision == "none"]
    ranked = board.best(unlabelled, LINEAR)
    if not ranked:
        return [Finding("No self-supervised method has a linear-probe accuracy yet.", "attention")]
    top, tied = ranked[0], ranked[1:]
    summary = board.summary(top, LINEAR)
    assert summary is not None
    reached = f"{percent(summary.mean)} % ({_how_sure(summary)})"
    behind = [entry for entry in unlabelled if entry is not top and entry.mean(LINEAR) is not None]
    second = max(behind, key=lambda entry: entry.mean(LINEAR) or 0, default=None)
    compared = board.compare(top, second, LINEAR) if second else None
    margin = ""
    if second and compared:
        shown = f"{points(compared.difference).lstrip('+')} ({interval_words(compared)})"
        margin = f"ahead of {second.label} by {shown}"
    if tied:
        rivals = join(entry.label for entry in tied)
        text = (
            f"{top.label} has the highest mean of the self-supervised methods, a linear probe of"
            f" {reached}, but that it is better than {rivals} is inconclusive."
        )
        found = [Finding(text, "inconclusive", margin)]
    else:
        text = (
            f"The best self-supervised method is {top.label}: its linear probe reaches {reached}."
        )
        found = [Finding(text, "supported" if second else "plain", margin)]
    pixels = board.reference(PIXELS)
    if pixels:
        found += _against(board, top, pixels)
    score, ceiling = board.score(top, LINEAR), board.reference(CEILING)
    if score is not None and ceiling:
        text = (
            f"Of the way from the random encoder to the supervised one, {top.label} covers"
            f" {100 * score:.0f} % without a label."
        )
        beyond = f"random encoder {_mean(board, RANDOM)} %, supervised {_mean(board, CEILING)} %"
        found.append(Finding(text, "plain", beyond))
    return found


def _against(board: Standings, top: Entry, floor: Entry) -> list[Finding]:
    compared = board.compare(top, floor, LINEAR)
    if compared is None:
        return []
    name, other = top.label, floor.label.lower()
    margin = points(compared.difference).lstrip("+−")
    text = {
        "supported": f"{name} beats {other} by {margin}.",
        "contradicted": f"{name} is worse than {other} by {margin}: simply using the pixels wins.",
        "inconclusive": f"Whether {name} beats {other} is inconclusive: the difference is"
        f" {points(compared.difference)}.",
    }[compared.verdict]
    return [Finding(text, compared.verdict, interval_words(compared))]


def _floors(board: Standings) -> list[Finding]:
    """Trained methods that are not shown to be better than an untrained encoder."""
    random = board.reference(RANDOM)
    if random is None or random.mean(LINEAR) is None:
        return []
    rivals = [entry for entry in board.methods if entry.mean(LINEAR) is not None]
    if not rivals:
        return []
    verdicts = {name: c.verdict for name, c in board.against(rivals, random, LINEAR).items()}
    found = []
    for word, text in (
        ("contradicted", "The untrained random encoder ({mean} %) is better than {names}."),
        ("inconclusive", "Inconclusive against the untrained random encoder ({mean} %): {names}."),
    ):
        names = join(
            f"{entry.label} ({percent(entry.mean(LINEAR))} %)"
            for entry in rivals
            if verdicts[entry.name] == word
        )
        if names:
            said = text.format(mean=_mean(board, RANDOM), names=names)
            found.append(Finding(said, word, "linear probe"))
    if found:
        return found
    one = rivals[0].label
    every = f"All {len(rivals)} trained methods beat" if len(rivals) > 1 else f"{one} beats"
    return [Finding(f"{every} the untrained random encoder.", "supported", "linear probe")]


def _others(board: Standings) -> list[Finding]:
    """The best of the methods that were told something about the classes."""
    helped = [entry for entry in board.methods if entry.supervision not in ("none", "–")]
    ranked = board.best(helped, LINEAR)
    if not ranked:
        return []
    top = ranked[0]
    summary = board.summary(top, LINEAR)
    assert summary is not None
    text = (
        f"With supervision, {top.label} ({top.supervision}) reaches {percent(summary.mean)} %"
        f" ({_how_sure(summary)})."
    )
    tied = join(entry.label for entry in ranked[1:])
    return [Finding(text, detail=f"inconclusive against {tied}" if tied else "")]


def _collapse(board: Standings) -> list[Finding]:
    bad = [(entry, *verdict(entry)) for entry in board.methods]
    flagged = [(e, kind, n) for e, kind, n in bad if kind not in (None, "healthy")]
    if not flagged:
        checked = any(kind for _, kind, _ in bad)
        return [Finding("No trained run shows signs of collapse.", "healthy")] if checked else []
    words = join(f"{e.label} ({kind}, {n} of {len(e.runs)} runs)" for e, kind, n in flagged)
    return [Finding(f"Signs of collapse: {words}.", "attention", "see the diagnostics below")]


def _canary(board: Standings, classes: int) -> list[Finding]:
    values = [
        v for e in board.entries if (v := e.mean(("linear", "shuffled_accuracy"))) is not None
    ]
    if not values or classes < 2:
        return []
    chance, highest = 1 / classes, max(values)
    if highest <= chance + CANARY_POINTS:
        return []
    text = (
        f"A probe trained on shuffled labels reaches {percent(highest)} %, well above chance"
        f" ({percent(chance)} %): do not trust these numbers before you know why."
    )
    return [Finding(text, "attention")]


def _unfinished(board: Standings) -> list[Finding]:
    planned = [run for entry in board.entries for run in entry.runs]
    missing = [run for run in planned if run["status"] == "missing"]
    failed = [run for run in planned if run["status"] in ("failed", "diverged")]
    found = []
    if missing:
        text = f"{len(missing)} of {len(planned)} runs are not finished; numbers may still change."
        found.append(Finding(text, "attention"))
    if failed:
        names = join(f"{run['method']} seed {run['seed']} ({run['status']})" for run in failed)
        found.append(Finding(f"Runs without a usable result: {names}.", "attention"))
    return found


def _how_sure(summary: Summary) -> str:
    if summary.interval is None:
        return "one value"
    low, high = percent(summary.interval.low), percent(summary.interval.high)
    whom = (
        f"mean of {summary.n} seeds"
        if summary.scope == "seeds"
        else "this checkpoint, over test images"
    )
    return f"{whom}; 95 % interval {low} to {high}"


def _mean(board: Standings, method: str) -> str:
    entry = board.reference(method)
    return percent(entry.mean(LINEAR) if entry else None)
