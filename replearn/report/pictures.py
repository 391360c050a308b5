"""Images inside the page: what a method is shown, and what it finds alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 64
"""Longest side of an embedded picture in pixels; larger images are reduced to it."""
NEIGHBOURS = 6
QUERIES = 4
BANK_CHUNK = 16_384
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One retrieved training image; `right` tells whether it is of the query's class."""

    picture: str
    caption: str
    right: bool | None


def data_uri(image: Pixels) -> str:
    """An image [c, h, w] with 1, 3 or 4 channels as a data URI, in the smaller of PNG and WebP."""
    from PIL import Image

    channels = image.shape[0]
    array = image[0] if channels not in (3, 4) else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.thumbnail((LARGEST, LARGEST))
    candidates = []
    for kind, options in (("png", {"optimize": True}), ("webp", {"quality": 88, "method": 6})):
        buffer = io.BytesIO()
        picture.save(buffer, kind.upper(), **options)
        candidates.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, content = min(candidates)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def view_rows(
    images: Pixels, index: NDArray[np.int64], views: Sequence[Mapping[str, Any]], seed: int
) -> list[tuple[str, list[str]]]:
    """For each image its own picture and that of each view, as a method sees it in its first epoch.

    Args:
        images: uint8 [n, c, h, w].
        index: int64 [n], places of the images in the training set, as training counts them.
        views: options of the views, as a run's configuration has them.
        seed: of the run.
    """
    import torch

    from replearn.augment import pixels
    from replearn.views import View

    source, rows = torch.from_numpy(images.copy()), torch.from_numpy(index.copy())
    seen = []
    for number, options in enumerate(views):
        drawn = pixels(source, View(**options), seed=seed, epoch=0, index=rows, number=number)
        seen.append((drawn.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return [
        (data_uri(image), [data_uri(view[position]) for view in seen])
        for position, image in enumerate(images)
    ]


def describe_views(views: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each distinct view in words with how many there are of it."""
    words: dict[str, int] = {}
    for options in views:
        text = _view_words(options)
        words[text] = words.get(text, 0) + 1
    return [f"{times} × {text}" if times > 1 else text for text, times in words.items()]


def _view_words(view: Mapping[str, Any]) -> str:
    parts = []
    low, high = view.get("crop_scale", (1, 1))
    if (low, high) != (1, 1):
        parts.append(f"crop {100 * low:.0f}–{100 * high:.0f} % of the area")
    if view.get("size"):
        parts.append(f"{view['size']} px")
    for name, text in (
        ("flip", "flip"),
        ("grayscale", "greyscale"),
        ("blur", "blur"),
        ("solarize", "solarise"),
    ):
        if view.get(name):
            parts.append(f"{text} p = {view[name]:g}")
    jitter = [
        f"{name} {view[name]:g}"
        for name in ("brightness", "contrast", "saturation", "hue")
        if view.get(name)
    ]
    if jitter:
        parts.append(f"jitter p = {view.get('jitter_probability', 1):g} ({', '.join(jitter)})")
    return ", ".join(parts) or "the image as it is"


def choose_queries(labels: NDArray[np.int64] | None, total: int, count: int = QUERIES) -> list[int]:
    """Test rows to query with: the first image of evenly spaced classes; the same for all."""
    if labels is None:
        rows = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
        return [int(row) for row in rows]
    present = np.unique(labels)
    spread = np.linspace(0, len(present) - 1, min(count, len(present))).astype(np.int64)
    chosen = present[np.unique(spread)]
    return [int(np.flatnonzero(labels == wanted)[0]) for wanted in chosen]


def nearest(
    bank: Path, queries: NDArray[np.float32], count: int = NEIGHBOURS
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cosine neighbours of queries [q, d] among the "h" of a features file, read in chunks.

    Returns:
        Positions in the file and rows in the prepared split, both [q, count], most alike first.
    """
    from safetensors import safe_open

    unit = _normalised(queries)
    best = np.full((len(unit), 0), 0.0)
    where = np.full((len(unit), 0), 0, dtype=np.int64)
    with safe_open(str(bank), framework="numpy") as tensors:
        features = tensors.get_slice("h")
        rows = tensors.get_tensor("index")
        for start in range(0, rows.shape[0], BANK_CHUNK):
            stop = min(start + BANK_CHUNK, rows.shape[0])
            part = _normalised(features[start:stop])
            best = np.concatenate([best, unit @ part.T], axis=1)
            new = np.broadcast_to(np.arange(start, stop), (len(unit), len(part)))
            where = np.concatenate([where, new], axis=1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :count]
            best, where = np.take_along_axis(best, order, 1), np.take_along_axis(where, order, 1)
    return where, rows[where]


def _normalised(features: NDArray[np.float32]) -> NDArray[np.float64]:
    x = np.nan_to_num(features.astype(np.float64))
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
