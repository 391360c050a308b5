"""How alike the representations of a study are: linear CKA between all its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

from replearn.evaluate.cka import overlap, scaled
from replearn.featurerows import read_rows, row_count, sample
from replearn.standings import Standings

IMAGES = 2000
"""At most this many test images, evenly spaced."""


def similarities(
    board: Standings, features: Callable[[Mapping[str, object]], Path]
) -> list[dict[str, object]]:
    """Linear CKA of h on test images between the first finished seeds of all rows of a dataset.

    Args:
        board: the dataset's standings.
        features: the directory of a run's feature files.

    Returns:
        One record for each pair, at full precision; rows without features, and rows whose features
        are constant or not finite, are left out.
    """
    found = {}
    for entry in board.entries:
        run = next(iter(entry.finished), None)
        file = features(run) / "test.safetensors" if run else None
        if file is None or not file.is_file():
            continue
        h = read_rows(file, "h", sample(row_count(file), IMAGES))
        matrix = None if h is None else scaled(h)
        if matrix is not None:
            found[entry.name] = matrix
    return [
        {
            "dataset": board.dataset,
            "method_a": a[0],
            "variant_a": a[1],
            "method_b": b[0],
            "variant_b": b[1],
            "cka": overlap(found[a], found[b]),
        }
        for a, b in combinations(found, 2)
        if len(found[a]) == len(found[b])
    ]
