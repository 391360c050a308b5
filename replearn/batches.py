"""What a run trains on, in which order, and how rows become a batch of views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replearn import distributed
from replearn.augment import make_views
from replearn.images import TrainingImages
from replearn.methods.base import Batch
from replearn.randomness import uniforms
from replearn.views import View

DRAWS_VIEW = 1_000_000
"""View number under which a batch's own uniform numbers are drawn, apart from those of any real view."""


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
    """The views of a run and the seed that their parameters derive from."""

    views: tuple[View, ...]
    seed: int


def make_batch(
    data: TrainingData,
    index: Tensor,
    images: Tensor,
    augmentation: Augmentation,
    *,
    epoch: int,
    progress: float,
    needs: frozenset[str],
) -> Batch:
    """The views in this epoch of the samples `index` [n], and what else the method needs.

    Args:
        data: the training set.
        index: int64 [n], rows of the samples.
        images: uint8 [n, c, h, w], the samples' images.
        augmentation: which views.
        epoch: number of the epoch.
        progress: share of the training that is done.
        needs: of the method.
    """
    seed = augmentation.seed
    labels = data.labels[index] if data.labels is not None else None
    tokens, caption = None, None
    if "tokens" in needs:
        tokens, caption = _captions(data, index, labels, seed, epoch)
    return Batch(
        views=make_views(
            images,
            augmentation.views,
            seed=seed,
            epoch=epoch,
            index=index,
            mean=data.mean,
            std=data.std,
        ),
        index=index,
        draws=uniforms(seed, epoch, index, DRAWS_VIEW, 2),
        labels=labels if "labels" in needs else None,
        tokens=tokens,
        caption=caption,
        progress=progress,
    )


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


def _captions(
    data: TrainingData, index: Tensor, labels: Tensor | None, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Tokens [m, t] of the batch's captions, and each sample's row in them, int64 [n].

    Of templates, a class draws one for each epoch: captions of a class are then equal within a batch, equal
    captions are not taken for negatives of each other, and each is embedded once.
    """
    assert data.tokens is not None
    each = torch.arange(len(index), device=index.device)
    if data.tokens.ndim == 2:
        return data.tokens[index], each
    assert labels is not None
    classes = torch.arange(len(data.tokens), device=index.device)
    drawn = uniforms(seed, epoch, classes, DRAWS_VIEW + 1, 1)[:, 0] * data.tokens.shape[1]
    prompts = data.tokens[classes, drawn.long()]  # [classes, t]
    return (prompts, labels) if len(classes) <= len(index) else (prompts[labels], each)
