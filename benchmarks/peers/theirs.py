"""lightly's side, from its own parts: dataset, transform, DataLoader, head, loss and loop.

`SimCLR` and `throughput` follow its example `examples/pytorch/simclr.py`, but for a backbone that is given;
`Recipe` and `throughput_as_shipped` its `docs/source/getting_started/benchmarks/cifar10_benchmark.py`,
which reports 84.7 % for SimCLR after 200 epochs in 97.7 minutes on an RTX A6000.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models import ResNetGenerator
from lightly.models.modules.heads import ProjectionHead, SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from lightly.utils.benchmarking import BenchmarkModule
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.peers.task import (
    CONVNET_WIDTH,
    HEADS,
    MOMENTUM,
    SIZE,
    TEMPERATURE,
    WEIGHT_DECAY,
    Task,
    limit_threads,
)
from replearn.encoders import build_encoder

STRENGTH = 0.5
"""lightly's advice for CIFAR: half the colour jitter of ImageNet."""


class SimCLR(nn.Module):
    """A backbone, and lightly's head of replearn's widths: no BatchNorm after the last layer.

    Both views pass together, so that BatchNorm sees what it sees in replearn.
    """

    def __init__(self, backbone: nn.Module, width: int, hidden: int, output: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = ProjectionHead(
            [
                (width, hidden, nn.BatchNorm1d(hidden), nn.ReLU()),
                (hidden, output, None, None),
            ]
        )
        self.criterion = NTXentLoss(temperature=TEMPERATURE)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        z = self.projection_head(self.backbone(torch.cat([a, b])).flatten(start_dim=1))
        loss: Tensor = self.criterion(*z.chunk(2))
        return loss


def dataset(images: str | Path) -> LightlyDataset:
    """The training files behind lightly's transform for CIFAR: small images, no blur."""
    transform = SimCLRTransform(input_size=SIZE, cj_strength=STRENGTH, gaussian_blur=0.0)
    return LightlyDataset(input_dir=str(Path(images) / "train"), transform=transform)


def throughput(task: dict[str, Any]) -> float:
    """Views per second after the warm-up, two for each image."""
    wanted = Task(**task)
    limit_threads(wanted.threads)
    device = wanted.device
    backbone, width = build_encoder(wanted.encoder, 3, SIZE, width=CONVNET_WIDTH, patch=4)
    model = SimCLR(backbone, width, *HEADS[wanted.encoder]).to(device)
    loader = DataLoader(
        dataset(wanted.images),
        batch_size=wanted.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=wanted.workers,
        persistent_workers=wanted.workers > 0,
        pin_memory=device == "cuda",
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=wanted.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, wanted.epochs)
    start = time.perf_counter()
    for epoch in range(wanted.epochs):
        if epoch == wanted.warm_up:
            start = _now(device)
        for (a, b), _, _ in loader:
            a, b = a.to(device, non_blocking=True), b.to(device, non_blocking=True)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = model(a, b)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    steps = len(loader) * (wanted.epochs - wanted.warm_up)
    return 2 * wanted.batch_size * steps / (_now(device) - start)


class Recipe(BenchmarkModule):  # type: ignore[misc]
    """lightly's CIFAR-10 benchmark of SimCLR: views pass one after the other, BatchNorm after the head."""

    def __init__(self, encoder: str, epochs: int, lr: float, loader: DataLoader[Any]) -> None:
        super().__init__(loader, num_classes=10)
        self.backbone, width = _backbone(encoder)
        self.projection_head = SimCLRProjectionHead(width, width, 128)
        self.criterion = NTXentLoss()
        self.epochs, self.lr = epochs, lr

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        (a, b), _, _ = batch
        loss: Tensor = self.criterion(self(a), self(b))
        self.log("train_loss_ssl", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.parameters(), lr=self.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        return [optimizer], [scheduler]


def throughput_as_shipped(task: dict[str, Any]) -> float:
    """Views per second of the recipe after the warm-up, its kNN evaluation switched off."""
    wanted = Task(**task)
    ends: list[float] = []
    fit(wanted, lambda *_: ends.append(_now(wanted.device)))
    steps = len(dataset(wanted.images)) // wanted.batch_size * (wanted.epochs - wanted.warm_up)
    return 2 * wanted.batch_size * steps / (ends[-1] - ends[wanted.warm_up - 1])


def fit(
    task: Task,
    on_epoch: Callable[[nn.Module, int], object],
    on_start: Callable[[], object] = lambda: None,
) -> None:
    """Train the recipe; `on_epoch` gets the backbone and the number of finished epochs after each."""
    limit_threads(task.threads)

    class Watch(pl.Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: pl.Trainer, module: Recipe) -> None:
            on_start()

        def on_train_epoch_end(self, trainer: pl.Trainer, module: Recipe) -> None:
            on_epoch(module.backbone, trainer.current_epoch + 1)

    pl.seed_everything(0)
    loader = DataLoader(
        dataset(task.images),
        batch_size=task.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=task.epochs,
            devices=1,
            accelerator="gpu" if task.device == "cuda" else "cpu",
            default_root_dir=folder,
            logger=CSVLogger(folder),
            callbacks=[Watch(), ModelCheckpoint(dirpath=Path(folder) / "checkpoints")],
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
        trainer.fit(Recipe(task.encoder, task.epochs, task.lr, loader), loader)


def _backbone(encoder: str) -> tuple[nn.Module, int]:
    """The recipe's ResNet-18, which has no ReLU after its stem; or replearn's ConvNet in its place."""
    if encoder == "resnet18":
        layers = list(ResNetGenerator("resnet-18").children())[:-1]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)), 512
    return build_encoder(encoder, 3, SIZE, width=CONVNET_WIDTH, patch=4)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
