"""Stratified subsets that depend on the data alone: no seed, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from replearn.data.plan import Rows


def quotas(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share `total` out in proportion to `counts` by largest remainders, at most `counts` each.

    Args:
        counts: int64 [c], sizes of the classes.
        total: how many to take, 0 … sum of counts.

    Returns:
        int64 [c] that sums to `total`; ties go to the earlier class.
    """
    everything = int(counts.sum())
    if not 0 <= total <= everything:
        raise ValueError(f"cannot take {total} of {everything}")
    if total == 0:
        return np.zeros_like(counts)
    # Integers throughout: a float product could round differently on another machine.
    scaled = counts * total
    share = scaled // everything
    order = np.argsort(-(scaled % everything), kind="stable")
    share[order[: total - int(share.sum())]] += 1
    return share


def subset(
    labels: Rows | None,
    total: int,
    content: str,
    purpose: str,
    *,
    count: int | None = None,
    groups: Rows | None = None,
    leave: int = 0,
) -> Rows:
    """Choose about `total` rows, in proportion to the classes, in a fixed pseudo-random way.

    A smaller choice for the same purpose is (up to rounding between classes) part of a larger one.

    Args:
        labels: int64 [n] or None for one stratum.
        total: how many rows to take.
        content: digest of the data, the seed of the choice.
        purpose: name of the choice, such as "validation"; each purpose chooses independently.
        count: n, needed without labels.
        groups: int64 [n]; the rows of a group are chosen together, each group counting as one and
            `total` scaled to the number of groups.
        leave: how many rows (groups) of each class must stay unchosen; and where a class is large
            enough, at least one is chosen.

    Returns:
        int64, the chosen rows in ascending order.
    """
    rows = len(labels) if labels is not None else int(count or 0)
    if groups is not None:
        _, first, member = np.unique(groups, return_index=True, return_inverse=True)
        units = len(first)
        unit_labels = labels[first] if labels is not None else None
        wanted = min(units, round(total * units / max(rows, 1)))
        chosen = subset(unit_labels, wanted, content, purpose, count=units, leave=leave)
        return np.flatnonzero(np.isin(member, chosen)).astype(np.int64)
    strata = labels if labels is not None else np.zeros(rows, dtype=np.int64)
    sizes = np.bincount(strata).astype(np.int64)
    share = quotas(sizes, total)
    if leave:
        share = np.clip(share, np.minimum(1, np.maximum(sizes - leave, 0)), sizes - leave)
        share = np.maximum(share, 0)
    keys = _keys(rows, content, purpose)
    order = np.lexsort((keys, strata))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    rank = np.empty(rows, dtype=np.int64)
    rank[order] = np.arange(rows) - starts[strata[order]]
    return np.flatnonzero(rank < share[strata]).astype(np.int64)


def _keys(rows: int, content: str, purpose: str) -> NDArray[np.uint64]:
    """A pseudo-random key for each row, uint64 [rows]: SplitMix64 (Steele et al., 2014).

    NumPy's generators may change their streams between versions; this never does.
    """
    seed = hashlib.sha256(f"{content}/{purpose}".encode()).digest()[:8]
    x = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x ^= np.uint64(int.from_bytes(seed, "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
