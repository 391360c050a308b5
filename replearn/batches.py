"""What a run trains on, in which order, and how rows become a batch of views."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from replearn import distributed
from replearn.augment import DrawnViews, capacity
from replearn.images import TrainingImages, moved
from replearn.methods.base import Batch
from replearn.randomness import uniforms
from replearn.views import View

DRAWS_VIEW = 1_000_000
"""View number under which a batch's own uniform numbers are drawn, apart from those of any real view."""

_DRAWN_LINES = 2**18
"""Rows and columns of the views that a CPU draws at once; for more, an operation's start counts little."""
_MADE_PIXELS = 2**19
"""Pixels of the views that a CPU makes at once, of several batches if they are small."""


@dataclass(frozen=True)
class TrainingData:
    """The training set of a run.

    Attributes:
        images: uint8 [n, c, h, w], on the run's device or streamed to it.
        mean, std: per channel, on the 0–1 scale.
        labels: int64 [n] on the device, or None.
        tokens: on the device, int64 [n, t] for captions of their own, [classes, templates, t] for prompt
            templates, or None.
    """

    images: TrainingImages
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: Tensor | None = None
    tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The views of a run, the seed that their parameters derive from, and whether torch compiles them."""

    views: tuple[View, ...]
    seed: int
    compiled: bool = False


def epoch_batches(
    data: TrainingData,
    order: Tensor,
    batch_size: int,
    augmentation: Augmentation,
    *,
    epoch: int,
    needs: frozenset[str],
    start: int = 0,
) -> Iterator[Batch]:
    """The batches of an epoch: views of the samples, and what else the method needs.

    Args:
        data: the training set.
        order: int64 [m] on the CPU, the samples in the order in which the epoch visits them.
        batch_size: n.
        augmentation: which views.
        epoch: number of the epoch.
        needs: of the method.
        start: number of the first batch; those before it are passed over.
    """
    count = len(order) // batch_size
    prompts = _prompts(data, augmentation.seed, epoch) if "tokens" in needs else None
    pixels = batch_size * len(augmentation.views) * math.prod(data.images.shape[2:])
    # Each size of batch is compiled for itself, and compiled operations are few.
    scale = 1 if augmentation.compiled else capacity(data.images.device)
    most = max(1, scale * _MADE_PIXELS // pixels)
    # They are put together from multiples of `most` on, wherever `start` is: rounding may depend on it.
    first = start // most * most
    last = count - (count - first) % most
    for begin, end, together in ((first, last, most), (last, count, count - last)):
        rows = order[begin * batch_size : end * batch_size]
        made = _made_together(data, rows, together * batch_size, augmentation, epoch)
        for number in range(begin, end):
            place = (number - begin) % together
            if place == 0:
                group = next(made)
            if number < start:
                continue
            own = slice(place * batch_size, (place + 1) * batch_size)
            index = group.index[own]
            labels = data.labels[index] if data.labels is not None else None
            captions = _captions(data, index, labels, prompts) if "tokens" in needs else None
            tokens, caption = captions or (None, None)
            yield Batch(
                views=tuple(view[own] for view in group.views),
                index=index,
                draws=group.draws[own],
                labels=labels if "labels" in needs else None,
                tokens=tokens,
                caption=caption,
            )


def _made_together(
    data: TrainingData, order: Tensor, size: int, augmentation: Augmentation, epoch: int
) -> Iterator[Batch]:
    """Views and draws of so many samples after the other: batches without what methods need besides."""
    if not size:
        return
    seed = augmentation.seed
    lines = size * len(augmentation.views) * sum(data.images.shape[2:])
    ahead = max(1, capacity(data.images.device) * _DRAWN_LINES // lines)
    visited = moved(order, data.images.device)
    for number, (index, images) in enumerate(data.images.batches(order, size)):
        place = number % ahead
        if place == 0:
            stretch = visited[number * size : (number + ahead) * size]
            draws = uniforms(seed, epoch, stretch, DRAWS_VIEW, 2)
            drawn = DrawnViews(
                augmentation.views,
                seed=seed,
                epoch=epoch,
                index=stretch,
                batch_size=size,
                shape=data.images.shape[1:],
                mean=data.mean,
                std=data.std,
                compiled=augmentation.compiled,
            )
        own = slice(place * size, (place + 1) * size)
        yield Batch(views=drawn.make(place, images), index=index, draws=draws[own])


def epoch_order(
    count: int, batch_size: int, neighbourhoods: Tensor | None, random: torch.Generator
) -> Tensor:
    """The order in which an epoch visits its samples, int64 [count].

    With neighbourhoods [count], samples are laid out by neighbourhood, cut into batches from a random
    offset, and the batches shuffled: each batch holds samples that lie close together.
    """
    order = torch.randperm(count, generator=random)
    if neighbourhoods is None:
        return order
    order = order[neighbourhoods.cpu()[order].argsort(stable=True)]
    order = order.roll(int(torch.randint(count, (1,), generator=random)))
    whole = count // batch_size * batch_size
    batches = order[:whole].view(-1, batch_size)
    shuffled = batches[torch.randperm(len(batches), generator=random)]
    return torch.cat([shuffled.flatten(), order[whole:]])


def own_rows(order: Tensor, batch_size: int) -> Tensor:
    """This rank's rows of every whole batch of an epoch's order, one batch after the other."""
    whole = order[: len(order) // batch_size * batch_size]
    return whole.view(-1, batch_size)[:, distributed.share(batch_size)].flatten()


def _prompts(data: TrainingData, seed: int, epoch: int) -> Tensor | None:
    """The prompt template that each class draws for an epoch, [classes, t]; None for captions of their own.

    Captions of a class are then equal within a batch, equal captions are not taken for negatives of each
    other, and each is embedded once.
    """
    assert data.tokens is not None
    if data.tokens.ndim == 2:
        return None
    classes = torch.arange(len(data.tokens), device=data.tokens.device)
    drawn = uniforms(seed, epoch, classes, DRAWS_VIEW + 1, 1)[:, 0] * data.tokens.shape[1]
    return data.tokens[classes, drawn.long()]


def _captions(
    data: TrainingData, index: Tensor, labels: Tensor | None, prompts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Tokens [m, t] of the batch's captions, and each sample's row in them, int64 [n]."""
    each = torch.arange(len(index), device=index.device)
    if prompts is None:
        assert data.tokens is not None
        return data.tokens[index], each
    assert labels is not None
    return (prompts, labels) if len(prompts) <= len(index) else (prompts[labels], each)
