"""Two-dimensional maps of test features, as compact SVG coloured by class."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from replearn.report.palette import CLASS_COLOURS

POINTS = 800
PERPLEXITY = 30
ITERATIONS = 500
COMPONENTS = 50
SIZE = 1000
"""Width and height of a map in its own units; whole-number coordinates keep the file small."""
TITLE = f"t-SNE (perplexity {PERPLEXITY}, {ITERATIONS} iterations, fixed seed)"


def embedding(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], str]:
    """Map features [n, d] to [n, 2] and say how; PCA where t-SNE has too little to work with.

    t-SNE's threads would wait for each other thousands of times a second, which takes them up to ten times
    as long on cores that have other work too: it gets one, and several maps can be made side by side.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = np.nan_to_num(features.astype(np.float64))
    x = x - x.mean(axis=0)
    n, d = x.shape
    scale = float(np.abs(x).max())
    if scale > 0:
        x = x / scale
    distinct = np.unique(np.round(x, 9), axis=0).shape[0]
    width = min(COMPONENTS, n, d)
    reduced = PCA(width, random_state=0).fit_transform(x) if scale > 0 else np.zeros((n, 2))
    if distinct <= 3 * PERPLEXITY or width < 2:
        flat = np.zeros((n, 2))
        flat[:, : min(2, width)] = reduced[:, :2]
        return flat, "PCA (too few distinct features for t-SNE)"
    mapper = TSNE(init="pca", perplexity=PERPLEXITY, max_iter=ITERATIONS, random_state=0, n_jobs=1)
    with threadpool_limits(1, user_api="openmp"):
        return np.asarray(mapper.fit_transform(reduced), dtype=np.float64), TITLE


def class_groups(
    labels: NDArray[np.int64] | None, classes: int
) -> tuple[list[int], NDArray[np.int64] | None]:
    """The classes that get a colour (the most frequent) and each point's colour, -1 for grey."""
    if labels is None or classes == 0:
        return [], None
    counts = np.bincount(labels, minlength=classes)
    limit = len(CLASS_COLOURS)
    chosen = sorted(np.argsort(-counts, kind="stable")[:limit].tolist())
    slots = np.full(max(classes, int(labels.max()) + 1), -1)
    slots[chosen] = np.arange(len(chosen))
    return chosen, slots[labels]


def drawing(points: NDArray[np.float64], slots: NDArray[np.int64] | None, story: str) -> Markup:
    """Points [n, 2] as one path of round dots per class."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = float(max((high - low).max(), 1e-12))
    margin = 25
    centred = (points - (low + high) / 2) / span * (SIZE - 2 * margin) + SIZE / 2
    place = np.rint(centred).astype(int)
    groups = np.full(len(place), -1) if slots is None else slots
    paths = []
    for slot in np.unique(groups):
        dots = "".join(f"M{x} {y}h0" for x, y in place[groups == slot])
        kind = "k-" if slot < 0 else f"k{slot}"
        paths.append(f'<path class="{kind}" d="{dots}"/>')
    head = f'<svg class="map" viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{escape(story)}">'
    return Markup(f"{head}{''.join(paths)}</svg>")
