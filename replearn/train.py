"""The training loop, the only one: views, loss, backward, step, for every method alike."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor
from torch.optim import Optimizer

from replearn.augment import clean, make_view
from replearn.checkpoint import Checkpoint, Position
from replearn.errors import UserError
from replearn.history import History
from replearn.methods.base import Batch, Loss, Method
from replearn.optimizers import learning_rate
from replearn.randomness import generator, uniforms
from replearn.views import View

LOG_EVERY = 20
"""Steps between two lines of history; the only places where the loop reads a number back from the device."""

DRAWS_VIEW = 1_000_000
"""View number under which a batch's own uniform numbers are drawn, apart from those of any real view."""


class Diverged(UserError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on, resident on its device.

    Attributes:
        images: uint8 [n, c, h, w].
        mean, std: per channel, on the 0–1 scale.
        labels: int64 [n], or None.
        tokens: int64 [n, t] for captions of their own, [classes, templates, t] for prompt templates, or None.
    """

    images: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: Tensor | None = None
    tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train, and in which steps."""

    epochs: int
    batch_size: int
    warmup_epochs: float
    lr: float
    precision: torch.dtype = torch.float32


def train(
    method: Method,
    data: TrainingData,
    optimizer: Optimizer,
    *,
    budget: Budget,
    views: tuple[View, ...],
    seed: int,
    checkpoint: Checkpoint,
    history: History,
    on_epoch: Callable[[int], Mapping[str, float]],
) -> None:
    """Train `method` in place, from its checkpoint if there is one.

    Args:
        method: on the device of `data`.
        data: the training set.
        optimizer: over the method's parameters.
        budget: epochs, batch size and learning rate.
        views: augmentations, one per view, global crops first.
        seed: of the run; order, views and draws derive from it.
        checkpoint: where to resume from and to save to.
        history: receives a line every few steps and at the end of each epoch.
        on_epoch: measurements worth a curve, called with the number of finished epochs.

    Raises:
        UserError: the batch is larger than the data.
        Diverged: the loss became NaN or infinite.
        SystemExit: SIGTERM arrived; the state is saved.
    """
    steps_per_epoch = len(data) // budget.batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"a batch of {budget.batch_size} is larger than the {len(data)} training images",
            where="training.batch_size",
            hint="Lower batch_size or raise the dataset's limit.",
        )
    steps = budget.epochs * steps_per_epoch
    warm_up = round(budget.warmup_epochs * steps_per_epoch)
    device = data.images.device
    position, complaint = checkpoint.load(method, optimizer)
    history.resume(position.history_bytes, position.step * budget.batch_size, complaint)
    if position.step == 0:
        history.write(step=0, epoch=0.0, **on_epoch(0))

    method.train()
    window: list[Loss] = []
    order, order_epoch = torch.empty(0), -1
    with _termination() as terminated:
        while position.step < steps:
            epoch, batch_number = divmod(position.step, steps_per_epoch)
            if batch_number == 0:
                _recluster(method, data, position, epoch, seed)
            if epoch != order_epoch:
                random = generator(seed, "order", epoch)
                order = epoch_order(len(data), budget.batch_size, position.neighbourhoods, random)
                order, order_epoch = order.to(device), epoch
            index = order[batch_number * budget.batch_size :][: budget.batch_size]
            progress = position.step / steps
            batch = make_batch(data, index, views, seed, epoch, progress, method.needs)

            with torch.autocast(device.type, budget.precision, budget.precision != torch.float32):
                loss = method.loss(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            for parameter in method.frozen(progress):
                parameter.grad = None
            lr = learning_rate(budget.lr, position.step, steps, warm_up)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            position.step += 1
            method.after_step(position.step / steps)

            window.append(Loss(loss.total.detach(), loss.scalars))
            epoch_ends = position.step % steps_per_epoch == 0
            if not epoch_ends and position.step % LOG_EVERY:
                continue
            values = averaged(window)
            history.advance(len(window) * budget.batch_size, loss=values["loss"])
            if not math.isfinite(values["loss"]):
                raise Diverged(
                    f"the loss became {values['loss']} at step {position.step} or just before",
                    hint="Lower the learning rate or lengthen the warm-up.",
                )
            window = []
            if epoch_ends:
                values |= on_epoch(position.step // steps_per_epoch)
                method.train()
            history.write(
                step=position.step, epoch=position.step / steps_per_epoch, lr=lr, **values
            )
            position.history_bytes = history.bytes
            if epoch_ends or terminated():
                checkpoint.save(method, optimizer, position)
            if terminated() and position.step < steps:
                history.note(f"stopped by SIGTERM at step {position.step}; the next start resumes")
                raise SystemExit(128 + signal.SIGTERM)


def make_batch(
    data: TrainingData,
    index: Tensor,
    views: tuple[View, ...],
    seed: int,
    epoch: int,
    progress: float,
    needs: frozenset[str],
) -> Batch:
    """The views of the samples `index` [n] in this epoch, and what else the method needs."""
    images = data.images[index]
    labels = data.labels[index] if data.labels is not None else None
    tokens, caption = None, None
    if "tokens" in needs:
        tokens, caption = _captions(data, index, labels, seed, epoch)
    return Batch(
        views=tuple(
            make_view(
                images,
                view,
                seed=seed,
                epoch=epoch,
                index=index,
                number=number,
                mean=data.mean,
                std=data.std,
            )
            for number, view in enumerate(views)
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


@torch.no_grad()
def embeddings(method: Method, data: TrainingData, chunk: int = 1024) -> Tensor:
    """Embeddings of all samples without augmentation, evaluation mode: z if the method projects, else h."""
    method.eval()
    parts = []
    for images in data.images.split(chunk):
        h, z = method.embed(clean(images, None, data.mean, data.std))
        parts.append(h if z is None else z)
    method.train()
    return torch.cat(parts)


def averaged(window: list[Loss]) -> dict[str, float]:
    """Means of the loss and the scalars of several steps; the one read from the device."""
    names = ["loss", *window[0].scalars]
    stacked = torch.stack(
        [
            torch.stack([entry.total.float(), *map(_as_float, entry.scalars.values())])
            for entry in window
        ]
    )
    return dict(zip(names, stacked.mean(0).tolist(), strict=True))


def _as_float(value: Tensor) -> Tensor:
    return value.float()


def _recluster(
    method: Method, data: TrainingData, position: Position, epoch: int, seed: int
) -> None:
    interval = method.neighbourhood_interval
    if interval and epoch and epoch % interval == 0:
        random = generator(seed, "neighbourhoods", epoch)
        position.neighbourhoods = method.neighbourhoods(embeddings(method, data), random)


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


@contextmanager
def _termination() -> Iterator[Callable[[], bool]]:
    """Within the context, SIGTERM raises a flag instead of ending the process; yields the flag's reader."""
    received = False

    def receive(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True

    previous = signal.signal(signal.SIGTERM, receive)
    try:
        yield lambda: received
    finally:
        signal.signal(signal.SIGTERM, previous)
