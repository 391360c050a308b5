"""How sure the order of the methods is: the chance of every rank, and the verdict on every pair."""

from __future__ import annotations

from collections.abc import Iterable

from replearn.formats import NOTHING, Cell, Column, Group, Table, percent
from replearn.proportions import wilson
from replearn.report.findings import points
from replearn.standings import LINEAR, Entry, Standings
from replearn.stats import LEVEL, OWN_SPREAD_FROM, Comparison

SCOPES = {
    "seeds": "Chance: another set of seeds",
    "these checkpoints": "Chance: other test images. These ranks speak about these checkpoints",
}
PAIR_COLUMNS = (
    Column("claim", "Claim", numeric=False),
    Column("difference", "Difference", "Of the mean linear-probe accuracies over common seeds"),
    Column("interval", "95 % interval", numeric=False),
    Column("verdict", "Verdict", numeric=False),
)
MANY_SEEDS = (
    Column("wins", "Ahead on", "P(A > B): share of the common seeds; a tie counts half"),
    Column("holm", "p", "Paired t, after Holm's correction over all pairs; decides"),
    Column(
        "flips", "Sign-flip p", "Exact, uncorrected, without a normal distribution; for comparison"
    ),
)


def rank_chances(board: Standings) -> Table | None:
    """The share of draws in which each method takes each rank; None if that is not known."""
    stability = board.stability(board.methods, LINEAR)
    if stability is None:
        return None
    entries = _by_mean(entry for entry in board.methods if entry.name in stability.shares)
    shared = board.ranks(board.methods, LINEAR)
    columns = (
        Column("method", "Method", numeric=False),
        Column("rank", "Rank", "Shared where a difference is inconclusive"),
        *(Column(f"p{r}", f"P({r})", f"Chance of rank {r}") for r in range(1, len(entries) + 1)),
    )
    rows = []
    for entry in entries:
        rank = shared[entry.name]
        row = {"method": Cell(entry.label, entry.label), "rank": Cell(str(rank), rank)}
        for position, share in enumerate(stability.shares[entry.name], start=1):
            row[f"p{position}"] = Cell(_chance(share), share, bold=share >= LEVEL)
        rows.append(row)
    title = f"Chance of each rank on {board.dataset} by linear probe, in %"
    return Table(
        title,
        columns,
        (Group("", tuple(rows)),),
        (f"{SCOPES[stability.scope]} ({stability.basis}). Bold: {percent(LEVEL, 0)} % or more.",),
    )


def every_pair(board: Standings) -> Table | None:
    """Difference, interval and verdict of all pairs of methods; None for fewer than two."""
    entries = _by_mean(entry for entry in board.methods if entry.mean(LINEAR) is not None)
    found = board.pairs(entries, LINEAR)
    pairs = [
        (a, b, found[(a.name, b.name)])
        for position, a in enumerate(entries)
        for b in entries[position + 1 :]
    ]
    if not pairs:
        return None
    many = any(comparison.wins is not None for *_, comparison in pairs)
    rows = tuple(_pair(a, b, comparison) for a, b, comparison in pairs)
    return Table(
        f"Every pair of methods on {board.dataset} by linear probe, differences in points",
        PAIR_COLUMNS + (MANY_SEEDS if many else ()),
        (Group("", rows),),
        _notes([comparison for *_, comparison in pairs]),
    )


def _pair(a: Entry, b: Entry, found: Comparison) -> dict[str, Cell]:
    claim = f"{a.label} is better than {b.label}"
    interval = found.interval
    shown, basis = NOTHING, "one run and no stored predictions"
    if interval:
        shown, basis = f"{_signed(interval.low)} to {_signed(interval.high)}", interval.basis
    row = {
        "claim": Cell(claim, claim),
        "difference": Cell(_signed(found.difference), found.difference),
        "interval": Cell(shown, interval.low if interval else None, note=basis),
        "verdict": Cell(found.verdict, found.verdict, badge=found.verdict),
        "holm": Cell(_p(found.p), found.p),
        "flips": Cell(_p(found.sign_flip), found.sign_flip),
        "wins": Cell(NOTHING),
    }
    if found.wins is not None:
        low, high = wilson(found.wins, found.n, LEVEL)
        note = (
            f"P(A > B) {found.wins / found.n:.2f}, 95 % interval {low:.2f} to {high:.2f} (Wilson)"
        )
        row["wins"] = Cell(f"{found.wins:g} of {found.n} seeds", found.wins / found.n, note=note)
    return row


def _notes(comparisons: list[Comparison]) -> tuple[str, ...]:
    notes = [
        (
            "A claim is supported if the 95 % interval of the difference lies above zero,"
            " contradicted if below, inconclusive if it contains zero. Each names the higher mean"
            " first."
        )
    ]
    few = [c for c in comparisons if c.n < OWN_SPREAD_FROM]
    if few:
        notes.append(
            f"With fewer than {OWN_SPREAD_FROM} seeds each verdict stands alone: of twenty pairs of"
            f" equal methods, one would be called supported or contradicted. Here are {len(few)} such pairs."
        )
    if len(few) < len(comparisons):
        notes.append(
            f"From {OWN_SPREAD_FROM} seeds on a pair is also inconclusive if it does not survive"
            " Holm's correction, so that among equal methods 95 % of studies have no false verdict."
        )
    scopes = {c.scope for c in comparisons}
    if "these checkpoints" in scopes:
        notes.append("One seed: intervals over test images, which speak about these checkpoints.")
    return tuple(notes)


def _by_mean(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: -(entry.mean(LINEAR) or 0.0))


def _chance(share: float) -> str:
    if 0 < share < 0.01:
        return "< 1"
    return "> 99" if 0.99 < share < 1 else percent(share, 0)


def _signed(value: float) -> str:
    return points(value).removesuffix(" points")


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
