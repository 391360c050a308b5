"""Weighted nearest-neighbour classification of frozen features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BUDGET = 2**25
"""Similarities held at once: 128 MB in single precision."""

GROUP = 8
"""Columns of which the largest stands for all, where the k largest are few of the columns."""

ONE_VOTE = 2**40
"""The nearest neighbour's vote as an integer."""


def knn_predict(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Classify by a weighted vote of the k most similar training rows (Wu et al., 2018, eq. 9).

    Args:
        train: the bank [n, d], in any floating type; need not be normalised.
        train_labels: int64 [n], in 0 … classes − 1.
        test: the queries [m, d].
        classes: number of classes, whether or not the labels name them all.
        k: neighbours that vote; all rows of a bank smaller than that.
        temperature: T of the weight exp((s − s_max) / T), s the cosine similarity.

    Returns:
        int64 [m]. Of classes with equal votes, the lowest.

    Raises:
        ValueError: shapes that do not match, an empty bank, no query, labels out of range, k < 1 or
            temperature ≤ 0.

    >>> bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> knn_predict(bank, labels, torch.tensor([[0.1, 5.0]]), classes=2, k=2)
    tensor([1])
    """
    similarity, index = neighbours(train, test, k)
    return vote(similarity, index, train_labels, classes=classes, temperature=temperature)


@torch.no_grad()
def neighbours(train: Tensor, test: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosine similarity and row of the k most similar rows of `train`, exactly, most similar first.

    Args:
        train: [n, d].
        test: [m, d].
        k: at least 1; n if that is fewer.

    Returns:
        similarity [m, min(k, n)] and index int64 [m, min(k, n)]. Of equally similar rows the lower
        index comes first, also where the k-th place is shared. Single precision, unless both inputs
        are double. Memory is bounded by `BUDGET` similarities at a time.

    Raises:
        ValueError: shapes that do not match, an empty bank, no query, or k < 1.
    """
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(
            f"features are [n, d] and [m, d], not {list(train.shape)} and {list(test.shape)}"
        )
    if not len(train) or not len(test):
        raise ValueError(f"{len(train)} rows in the bank and {len(test)} queries: neither may be 0")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    k = min(k, len(train))
    precise = train.dtype == test.dtype == torch.float64
    dtype = torch.float64 if precise else torch.float32
    bank = F.normalize(train.to(dtype), dim=1).T
    rows = max(1, BUDGET // len(train))
    # One buffer for all parts: fresh memory of that size would cost as much as the search in it.
    buffer = bank.new_empty(min(rows, len(test)), len(train))
    found = []
    for part in test.split(rows):
        queries = F.normalize(part.to(dtype), dim=1)
        found.append(most_similar(torch.mm(queries, bank, out=buffer[: len(part)]), k))
    return torch.cat([pair[0] for pair in found]), torch.cat([pair[1] for pair in found])


def vote(
    similarity: Tensor, index: Tensor, train_labels: Tensor, *, classes: int, temperature: float
) -> Tensor:
    """Classes int64 [m] from neighbours, as `neighbours` returns them; k settings share one search.

    Raises:
        ValueError: labels out of range or temperature ≤ 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    if train_labels.ndim != 1 or not len(train_labels):
        raise ValueError(f"labels are [n], not {list(train_labels.shape)}")
    if int(index.max()) >= len(train_labels):
        raise ValueError(f"{len(train_labels)} labels are fewer than the rows of the bank")
    if int(train_labels.min()) < 0 or int(train_labels.max()) >= classes:
        raise ValueError(f"labels must be in 0 … {classes - 1}")
    similarity = similarity.double()
    weight = ((similarity - similarity[:, :1]) / temperature).exp()
    # Sums of integers are the same in every order, and a GPU adds in any order.
    weight = (weight * ONE_VOTE).round().long()
    votes = weight.new_zeros(len(weight), classes)
    votes.scatter_add_(1, train_labels[index], weight)
    return votes.argmax(1)


def most_similar(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of [m, n], ordered by value, then by index."""
    wider = min(k + 1, similarity.shape[1])
    value, index = _largest(similarity, wider)
    if wider > k:
        # topk may keep any of several equal values at the last place.
        shared = (value[:, k - 1] == value[:, k]).nonzero()[:, 0]
        value, index = value[:, :k], index[:, :k]
        if len(shared):
            index[shared] = _lowest_of_equals(similarity[shared], value[shared, -1:], k)
            value[shared] = similarity[shared].gather(1, index[shared])
    index, order = index.sort(dim=1)
    value, order = value.gather(1, order).sort(dim=1, descending=True, stable=True)
    return value, index.gather(1, order)


def _largest(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`similarity.topk(k)`, but by way of the k groups with the largest maxima, which must hold them.

    Column j's group of g is j, j + g, j + 2g, …; the last few columns are in none.
    """
    columns = similarity.shape[1]
    groups = columns // GROUP
    if groups < 4 * k:
        return similarity.topk(k, dim=1)
    grouped = similarity[:, : groups * GROUP].unflatten(1, (GROUP, groups))
    chosen = grouped.amax(1).topk(k, dim=1, sorted=False)[1]
    member = torch.arange(GROUP, device=similarity.device)[:, None] * groups
    rest = torch.arange(groups * GROUP, columns, device=similarity.device)
    candidate = torch.cat(
        [(chosen[:, None] + member).flatten(1), rest.expand(len(chosen), -1)], dim=1
    )
    value, place = similarity.gather(1, candidate).topk(k, dim=1)
    return value, candidate.gather(1, place)


def _lowest_of_equals(similarity: Tensor, last: Tensor, k: int) -> Tensor:
    """Columns [m, k] of all values above `last` [m, 1] and of the first values equal to it."""
    above, equal = similarity > last, similarity == last
    room = k - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1) <= room))
    return chosen.nonzero()[:, 1].reshape(-1, k)
