"""Texts as classifiers and as search queries: what a shared space of images and captions can do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024


def prompt_predict(image: Tensor, prompts: Tensor) -> Tensor:
    """The class whose prompt embedding is most similar to the image (Radford et al., 2021, 3.1).

    Args:
        image: [n, k], need not be normalised.
        prompts: [classes, k], the mean over the templates of each class.

    Returns:
        int64 [n].
    """
    _check(image, prompts)
    return (F.normalize(image.float(), dim=1) @ F.normalize(prompts.float(), dim=1).T).argmax(1)


def prompt_classification(image: Tensor, prompts: Tensor, labels: Tensor) -> float:
    """Share of images [n, k] whose most similar prompt [classes, k] is their label's [n]."""
    if len(labels) != len(image):
        raise ValueError(f"{len(labels)} labels for {len(image)} images")
    return (prompt_predict(image, prompts) == labels).double().mean().item()


def recall_at(
    image: Tensor, text: Tensor, groups: Tensor, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Share of queries with a correct answer among the k most similar, in both directions.

    Row i of `text` is the caption of row i of `image`. Images whose captions are equal share a
    group: their caption is one candidate for an image, and each of them a correct answer to it.

    Args:
        image, text: [n, d], need not be normalised.
        groups: int64 [n].
        ks: cut-offs; one beyond n means all n.

    Returns:
        "image_to_text_r<k>" and "text_to_image_r<k>" as fractions. A correct answer that is exactly
        as similar as a wrong one comes after it, so that a constant embedding finds nothing.
    """
    _check(image, text)
    if not len(image) == len(text) == len(groups):
        raise ValueError("image, text and groups must have the same number of rows")
    a, b = F.normalize(image.float(), dim=1), F.normalize(text.float(), dim=1)
    recalls = {}
    distinct = _first_rows(groups)
    ranks = {
        "image_to_text": _ranks(a, b[distinct], groups, groups[distinct]),
        "text_to_image": _ranks(b, a, groups, groups),
    }
    for name, rank in ranks.items():
        for k in ks:
            recalls[f"{name}_r{k}"] = (rank < k).double().mean().item()
    return recalls


def _first_rows(groups: Tensor) -> Tensor:
    """The first row of each group, int64 [number of groups]."""
    inverse = groups.unique(return_inverse=True)[1]
    rows = torch.arange(len(groups), device=groups.device)
    start = torch.full_like(rows, len(rows))[: int(inverse.max()) + 1]
    return start.scatter_reduce(0, inverse, rows, "amin")


def _ranks(queries: Tensor, answers: Tensor, asked: Tensor, offered: Tensor) -> Tensor:
    """How many wrong answers are at least as similar as the best correct one, int64 [n]."""
    ranks = []
    for start in range(0, len(queries), CHUNK):
        similarity = queries[start : start + CHUNK] @ answers.T
        right = asked[start : start + CHUNK, None] == offered[None]
        best = similarity.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        ranks.append(((similarity >= best) & ~right).sum(1))
    return torch.cat(ranks)


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"embeddings are [n, d] and [m, d], not {list(a.shape)} and {list(b.shape)}"
        )
    if not len(a) or not len(b):
        raise ValueError("there are no embeddings")
