"""Training steps on a device of choice, as the training loop makes them, for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from replearn.augment import DrawnViews
from replearn.batches import Augmentation, TrainingData, epoch_batches
from replearn.config import RunConfig
from replearn.engine import Engine
from replearn.images import ResidentImages
from replearn.methods.base import Method
from replearn.pretrain import training_optimizer
from tests.methods.test_contract import CLASSES, SIZE, training_method, untrained_teacher


def data(device: str) -> TrainingData:
    """Random images of every class, and prompts."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (48, 3, SIZE, SIZE), generator=random, dtype=torch.uint8)
    tokens = torch.randint(1, 400, (CLASSES, 2, 16), generator=random)
    return TrainingData(
        images=ResidentImages(images.to(device)),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        labels=(torch.arange(48) % CLASSES).to(device),
        tokens=tokens.to(device),
    )


def settled(config: RunConfig, engine: Engine, device: str) -> Method:
    method = engine.settle(training_method(config, channels=3), device)
    method.learn_from(engine.settle(untrained_teacher(channels=3), device))
    return method


def losses(
    config: RunConfig, engine: Engine, device: str, precision: torch.dtype = torch.float32
) -> list[float]:
    """Of a few steps, as the training loop makes them."""
    method = settled(config, engine, device)
    return [
        loss.item() for loss in islice(steps(config, engine, method, data(device), precision), 3)
    ]


def gradients(
    config: RunConfig,
    engine: Engine,
    device: str,
    precision: torch.dtype = torch.float32,
    *,
    views_at_once: bool | None = None,
) -> torch.Tensor:
    """Of the first step, all in one row; views at once or not as the engine thinks best, unless told."""
    method = settled(config, engine, device)
    if views_at_once is not None:
        method.views_at_once = views_at_once
    next(steps(config, engine, method, data(device), precision))
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def steps(
    config: RunConfig,
    engine: Engine,
    method: Method,
    training: TrainingData,
    precision: torch.dtype,
) -> Iterator[torch.Tensor]:
    optimizer = training_optimizer(config, method, lr=config.optimizer.lr, fused=engine.fast)
    loss_of = engine.loss_of(method.train())
    for epoch in range(3):
        batches = epoch_batches(
            training,
            torch.arange(48),
            16,
            Augmentation(
                config.views, 0, compiled=engine.compiles_views(training.images.device.type)
            ),
            epoch=epoch,
            needs=method.needs,
        )
        for number, batch in enumerate(batches):
            progress = (3 * epoch + number) / 9
            method.before_step(progress)
            with torch.autocast(training.images.device.type, precision, precision != torch.float32):
                loss = loss_of(batch).total
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for parameter in method.frozen(progress):
                parameter.grad = None
            optimizer.step()
            method.after_step(progress + 0.01)
            yield loss.detach().clone()


def compiled_view_errors(config: RunConfig, device: str) -> Iterator[torch.Tensor]:
    """How far compiled views are from plain ones, a pair at a time, of two epochs.

    What torch.compile took for fixed in the first has to change for the second.
    """
    training = data(device)
    images = torch.cat(list(training.images.chunks(48)))
    for epoch in range(2):
        plain, compiled = (
            DrawnViews(
                config.views,
                seed=1,
                epoch=epoch,
                index=torch.arange(48, device=device),
                batch_size=16,
                shape=images.shape[1:],
                mean=training.mean,
                std=training.std,
                compiled=compiled,
            )
            for compiled in (False, True)
        )
        for batch, own in enumerate(images.split(16)):
            pairs = zip(plain.make(batch, own), compiled.make(batch, own), strict=True)
            yield from ((one - other).abs() for one, other in pairs)
