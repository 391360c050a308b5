"""The training loop, the only one: views, loss, backward, step, for every method alike."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer

from replearn import distributed
from replearn.augment import clean
from replearn.batches import Augmentation, TrainingData, epoch_batches, epoch_order, own_rows
from replearn.checkpoint import Checkpoint, Position
from replearn.engine import Engine
from replearn.errors import Diverged, MachineFault, UserError
from replearn.history import History
from replearn.images import TrainingImages, chunk_size
from replearn.methods.base import Loss, Method
from replearn.optimizers import learning_rate
from replearn.provenance import Spent, spent
from replearn.randomness import generator
from replearn.stopwatch import Stopwatch

LOG_EVERY = 20
"""Steps between two lines of history; the only places where the loop reads a number back from the device."""

SAVE_SECONDS = 600.0
"""A checkpoint is also written when the last one is older, for epochs that take hours."""
SAVE_SHARE = 0.01
"""Part of the time that checkpoints may take: an epoch that is over too soon for that ends without one."""

REPEAT_SECONDS = 5.0
"""Within these a second signal is the first one again: who signals all processes of a job signals ranks and
their launcher, which passes it on."""

_TOTAL = "loss"


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train, and in which steps.

    Attributes:
        epochs: passes over the data.
        batch_size: images of a step, of all ranks together.
        warmup_epochs: epochs until the learning rate reaches its peak.
        lr: the peak.
        precision: of autocast; float32 for none.
    """

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
    augmentation: Augmentation,
    checkpoint: Checkpoint,
    history: History,
    on_epoch: Callable[[int], Mapping[str, float | str | None]],
    engine: Engine,
    hopeless: Callable[[], bool] = lambda: False,
) -> Spent:
    """Train `method` in place, from its checkpoint if there is one.

    Args:
        method: on the device of `data`, settled by the engine.
        data: the training set, whole on every rank.
        optimizer: over the method's parameters.
        budget: epochs, batch size and learning rate.
        augmentation: views, global crops first, and the run's seed: order, views and draws derive from it.
        checkpoint: where to resume from and to save to.
        history: receives a line every few steps and at the end of each epoch.
        on_epoch: measurements worth a curve, called with the number of finished epochs (on rank 0).
        engine: how a step is computed.
        hopeless: whether to end before the budget does, asked after each epoch (on rank 0).

    Returns:
        What earlier processes had spent on this training.

    Raises:
        UserError: the batch is larger than the data, or cannot be shared by the ranks.
        Diverged: the loss became NaN or infinite.
        SystemExit: SIGTERM or SIGINT arrived; the state is saved.
    """
    steps_per_epoch = len(data) // budget.batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"a batch of {budget.batch_size} is larger than the {len(data)} training images",
            where="training.batch_size",
            hint="Lower batch_size or raise the dataset's limit.",
        )
    if budget.batch_size % distributed.size():
        raise UserError(
            f"{distributed.size()} ranks cannot share a batch of {budget.batch_size} images evenly",
            where="training.batch_size",
            hint="Make the batch a multiple of the ranks.",
        )
    steps = budget.epochs * steps_per_epoch
    warm_up = round(budget.warmup_epochs * steps_per_epoch)
    own = budget.batch_size // distributed.size()
    device, seed = data.images.device, augmentation.seed
    leads, alone = distributed.rank() == 0, distributed.size() == 1
    started = time.time()
    position, complaints = checkpoint.load(method, optimizer, history)
    if not distributed.all_equal(position.step, device):
        raise MachineFault(
            "the ranks do not see the same checkpoint",
            where=str(checkpoint.path.parent),
            hint="Start again once all nodes see the same files.",
        )
    earlier = position.spent
    for complaint in complaints:
        history.note(complaint)
    history.start(position.step * budget.batch_size)
    if position.step == 0 and leads:
        history.write(step=0, epoch=0.0, **on_epoch(0))

    method.train()
    loss_of = engine.loss_of(method)
    window = _Window(data.images, budget.batch_size, position.pending)
    pace = _Pace()

    def save() -> None:
        position.pending = window.pending()
        position.spent = earlier + spent(started, device.type)
        with pace.saving():
            checkpoint.save(method, optimizer, position, history)

    with _termination() as terminated:
        for epoch in range(position.step // steps_per_epoch, budget.epochs):
            done = position.step % steps_per_epoch
            if done == 0 and distributed.any_rank(leads and hopeless(), device):
                if leads:
                    save()
                history.note(
                    f"ended after {epoch} of {budget.epochs} epochs: the features collapsed"
                )
                break
            if done == 0:
                _recluster(method, data, position, epoch, seed)
            random = generator(seed, "order", epoch)
            order = epoch_order(len(data), budget.batch_size, position.neighbourhoods, random)
            for batch in epoch_batches(
                data,
                own_rows(order, budget.batch_size),
                own,
                augmentation,
                epoch=epoch,
                needs=method.needs,
                start=done,
            ):
                lr = learning_rate(budget.lr, position.step, steps, warm_up)
                progress = position.step / steps
                position.step += 1
                with window.watch.model():
                    method.before_step(progress)
                    with torch.autocast(
                        device.type, budget.precision, budget.precision != torch.float32
                    ):
                        loss = loss_of(batch)
                    _descend(method, optimizer, loss, lr=lr, progress=progress)
                    method.after_step(position.step / steps)

                window.add(loss)
                epoch_ends = position.step % steps_per_epoch == 0
                line_ends = epoch_ends or position.step % LOG_EVERY == 0
                # Ranks have to agree, which costs them a message: they ask at the end of a line.
                stop = alone and terminated() is not None
                if not line_ends and not stop:
                    continue
                stop = stop or distributed.any_rank(terminated() is not None, device)
                if line_ends:
                    images_seen = window.images_seen
                    values: dict[str, Any] = dict(window.line())
                    history.advance(images_seen, loss=values["loss"])
                    _require_finite(values["loss"], position.step)
                    if leads and epoch_ends:
                        values |= on_epoch(position.step // steps_per_epoch)
                        method.train()
                    if leads:
                        epochs = position.step / steps_per_epoch
                        history.write(step=position.step, epoch=epochs, lr=lr, **values)
                due = stop or position.step == steps or pace.due(epoch_ends=epoch_ends)
                if leads and due:
                    save()
                if stop and position.step < steps:
                    _leave(history, position.step, terminated())
                window.watch.restart()
    return earlier


class _Pace:
    """When the next checkpoint is due, such that all of them take a small part of the time."""

    def __init__(self) -> None:
        self._last, self._took = time.monotonic(), 0.0

    def due(self, *, epoch_ends: bool) -> bool:
        """Whether the last one is long enough ago; between the ends of epochs that takes long."""
        rest = min(self._took / SAVE_SHARE, SAVE_SECONDS) if epoch_ends else SAVE_SECONDS
        return time.monotonic() - self._last > rest

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Within the context, a checkpoint is written."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._took = self._last - begun


class _Window:
    """The steps since the last line of history: what they lost, and how long they took.

    Args:
        images: of the training, which know how long steps waited for them.
        batch_size: images of a step, of all ranks together.
        pending: steps of the window that an earlier process made.
    """

    def __init__(
        self, images: TrainingImages, batch_size: int, pending: Mapping[str, Tensor]
    ) -> None:
        self.watch = Stopwatch(images.device)
        self._images, self._batch_size = images, batch_size
        earlier = {name: values.to(images.device).unbind() for name, values in pending.items()}
        self._losses = [
            Loss(total, {name: values[step] for name, values in earlier.items() if name != _TOTAL})
            for step, total in enumerate(earlier.get(_TOTAL, ()))
        ]
        self._earlier = len(self._losses)
        self._waited = 0.0

    @property
    def images_seen(self) -> int:
        """In the steps that this process made, by all ranks."""
        return (len(self._losses) - self._earlier) * self._batch_size

    def pending(self) -> dict[str, Tensor]:
        """The losses and scalars of the window so far, one entry for each step."""
        if not self._losses:
            return {}
        scalars = {
            name: torch.stack([loss.scalars[name] for loss in self._losses])
            for name in self._losses[0].scalars
        }
        return {_TOTAL: torch.stack([loss.total for loss in self._losses]), **scalars}

    def add(self, loss: Loss) -> None:
        """Keep a step's loss: copies, because a replayed CUDA graph overwrites its outputs."""
        scalars = {name: value.detach().clone() for name, value in loss.scalars.items()}
        self._losses.append(Loss(loss.total.detach().clone(), scalars))

    def line(self) -> dict[str, float]:
        """What history says of these steps; begins the next window. Waits for the device."""
        values = averaged(self._losses)
        lap = self.watch.lap()
        waited = (self._images.waited - self._waited) / lap.seconds
        values |= {
            "seconds": lap.seconds,
            "images_per_second": self.images_seen / lap.seconds,
            "outside_model": lap.outside,
            # A GPU works on while the host waits; only what it waits itself counts.
            "waiting_for_images": min(waited, lap.outside),
        }
        self._losses, self._earlier, self._waited = [], 0, self._images.waited
        return values


def _descend(
    method: Method, optimizer: Optimizer, loss: Loss, *, lr: float, progress: float
) -> None:
    """One step of the optimiser down the gradient of `loss`."""
    optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    for parameter in method.frozen(progress):
        parameter.grad = None
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


def _leave(history: History, step: int, received: int | None) -> NoReturn:
    number = signal.SIGTERM if received is None else received  # None if another rank received it
    history.note(f"stopped by {signal.Signals(number).name} at step {step}; the next start resumes")
    raise SystemExit(128 + number)


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss became {loss} at step {step} or just before",
            hint="Lower the learning rate or lengthen the warm-up.",
        )


@torch.no_grad()
def embeddings(method: Method, data: TrainingData) -> Tensor:
    """Embeddings of all samples without augmentation, evaluation mode: z if the method projects, else h."""
    method.eval()
    parts = []
    for images in data.images.chunks(chunk_size(data.images.shape)):
        h, z = method.embed(clean(images, None, data.mean, data.std))
        parts.append(h if z is None else z)
    method.train()
    return torch.cat(parts)


def averaged(window: list[Loss]) -> dict[str, float]:
    """Means of the loss and the scalars of several steps, over all ranks; the one read from the device."""
    scalars = list(window[0].scalars)
    stacked = torch.stack(
        [
            torch.stack([entry.total.float(), *(entry.scalars[n].float() for n in scalars)])
            for entry in window
        ]
    )
    means = distributed.mean_over_ranks(stacked.mean(0))
    return dict(zip([_TOTAL, *scalars], means.tolist(), strict=True))


def _recluster(
    method: Method, data: TrainingData, position: Position, epoch: int, seed: int
) -> None:
    interval = method.neighbourhood_interval
    if interval and epoch and epoch % interval == 0:
        random = generator(seed, "neighbourhoods", epoch)
        # Ranks that differed in a last bit would go on with different batches.
        position.neighbourhoods = distributed.from_first(
            method.neighbourhoods(embeddings(method, data), random)
        )


@contextmanager
def _termination() -> Iterator[Callable[[], int | None]]:
    """Within the context, SIGTERM and SIGINT are noted instead of ending the process.

    One that comes later than `REPEAT_SECONDS` after the first ends it at once. Yields a function that says
    which one came first, None if none did.
    """
    received: int | None = None
    arrived = 0.0
    previous: dict[signal.Signals, Any] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received, arrived
        if received is None:
            received, arrived = number, time.monotonic()
        elif time.monotonic() - arrived > REPEAT_SECONDS:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, receive)
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
