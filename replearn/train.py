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

from replearn import distributed
from replearn.augment import clean
from replearn.batches import Augmentation, TrainingData, epoch_order, make_batch, own_rows
from replearn.checkpoint import Checkpoint, Position
from replearn.engine import Engine
from replearn.errors import UserError
from replearn.history import History
from replearn.images import chunk_size
from replearn.methods.base import Loss, Method
from replearn.optimizers import learning_rate
from replearn.randomness import generator
from replearn.stopwatch import Stopwatch

LOG_EVERY = 20
"""Steps between two lines of history; the only places where the loop reads a number back from the device."""


class Diverged(UserError):
    """The loss is no longer a finite number."""


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
    on_epoch: Callable[[int], Mapping[str, float]],
    engine: Engine,
) -> None:
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

    Raises:
        UserError: the batch is larger than the data, or cannot be shared by the ranks.
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
    position, complaint = checkpoint.load(method, optimizer)
    history.resume(position.history_bytes, position.step * budget.batch_size, complaint)
    if position.step == 0 and distributed.rank() == 0:
        history.write(step=0, epoch=0.0, **on_epoch(0))

    method.train()
    loss_of = engine.loss_of(method)
    window: list[Loss] = []
    waited = 0.0
    watch = Stopwatch(device)
    with _termination() as terminated:
        for epoch in range(position.step // steps_per_epoch, budget.epochs):
            done = position.step % steps_per_epoch
            if done == 0:
                _recluster(method, data, position, epoch, seed)
            random = generator(seed, "order", epoch)
            order = epoch_order(len(data), budget.batch_size, position.neighbourhoods, random)
            for index, images in data.images.batches(
                own_rows(order, budget.batch_size), own, start=done
            ):
                progress = position.step / steps
                batch = make_batch(
                    data,
                    index,
                    images,
                    augmentation,
                    epoch=epoch,
                    progress=progress,
                    needs=method.needs,
                )

                lr = learning_rate(budget.lr, position.step, steps, warm_up)
                with watch.model():
                    with torch.autocast(
                        device.type, budget.precision, budget.precision != torch.float32
                    ):
                        loss = loss_of(batch)
                    optimizer.zero_grad(set_to_none=True)
                    loss.total.backward()
                    for parameter in method.frozen(progress):
                        parameter.grad = None
                    for group in optimizer.param_groups:
                        group["lr"] = lr
                    optimizer.step()
                    position.step += 1
                    method.after_step(position.step / steps)

                window.append(_kept(loss))
                epoch_ends = position.step % steps_per_epoch == 0
                if not epoch_ends and position.step % LOG_EVERY:
                    continue
                values = averaged(window)
                lap = watch.lap()
                history.advance(len(window) * budget.batch_size, loss=values["loss"])
                if not math.isfinite(values["loss"]):
                    raise Diverged(
                        f"the loss became {values['loss']} at step {position.step} or just before",
                        hint="Lower the learning rate or lengthen the warm-up.",
                    )
                values |= {
                    "seconds": lap.seconds,
                    "images_per_second": len(window) * budget.batch_size / lap.seconds,
                    "outside_model": lap.outside,
                    "waiting_for_images": (data.images.waited - waited) / lap.seconds,
                }
                waited = data.images.waited
                window = []
                stop = distributed.any_rank(terminated(), device)
                if distributed.rank() == 0:
                    if epoch_ends:
                        values |= on_epoch(position.step // steps_per_epoch)
                        method.train()
                    history.write(
                        step=position.step, epoch=position.step / steps_per_epoch, lr=lr, **values
                    )
                    position.history_bytes = history.bytes
                    if epoch_ends or stop:
                        checkpoint.save(method, optimizer, position)
                if stop and position.step < steps:
                    history.note(
                        f"stopped by SIGTERM at step {position.step}; the next start resumes"
                    )
                    raise SystemExit(128 + signal.SIGTERM)
                watch.restart()


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
    names = ["loss", *window[0].scalars]
    stacked = torch.stack(
        [
            torch.stack([entry.total.float(), *map(_as_float, entry.scalars.values())])
            for entry in window
        ]
    )
    means = distributed.mean_over_ranks(stacked.mean(0))
    return dict(zip(names, means.tolist(), strict=True))


def _kept(loss: Loss) -> Loss:
    """Copies for later: a replayed CUDA graph overwrites its outputs."""
    scalars = {name: value.detach().clone() for name, value in loss.scalars.items()}
    return Loss(loss.total.detach().clone(), scalars)


def _as_float(value: Tensor) -> Tensor:
    return value.float()


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
