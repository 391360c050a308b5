"""One run from its configuration to a trained encoder on disk."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from replearn import distributed
from replearn.augment import clean
from replearn.batches import Augmentation, TrainingData
from replearn.build import build_method, method_tensors
from replearn.checkpoint import Checkpoint
from replearn.config import MonitorConfig, RunConfig
from replearn.data.captions import prompts
from replearn.data.prepared import Part, PreparedDataset
from replearn.data.stored import StoredImages
from replearn.engine import Engine
from replearn.heads import tokenize
from replearn.history import History, speed
from replearn.images import chunk_size, place_images
from replearn.jsonfile import write_json
from replearn.layout import RunLayout
from replearn.methods.base import Method
from replearn.methods.options import CLIPOptions
from replearn.monitor import Monitor, collapsed
from replearn.optimizers import build_optimizer
from replearn.progress import Progress
from replearn.provenance import Spent, provenance
from replearn.teacher import trained_teacher
from replearn.train import Budget, train
from replearn.wholefile import write_bytes

LR_BATCH = 256
"""Batch size for which a recipe's learning rate is stated; it scales linearly (Goyal et al., 2017)."""

FIT_IMAGES, FIT_VALUES = 50_000, 2**30
"""At most this many training images, and values of theirs, determine a fitted representation such as PCA."""


def pretrain(
    config: RunConfig,
    dataset: PreparedDataset,
    layout: RunLayout,
    device: str,
    teacher: Path | None = None,
) -> None:
    """Train (or fit) a run's method and write encoder.safetensors, history.jsonl and pretrain.json.

    Of several ranks, all train and the first writes.

    Args:
        config: the run.
        dataset: prepared data of the digest that the configuration names.
        layout: where the run's files go.
        device: "cpu" or "cuda".
        teacher: encoder.safetensors of the run that the configuration names as its teacher.
    """
    started, earlier = time.time(), Spent()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    part = dataset.part("train")
    data = training_data(config, dataset, part, device)
    engine = Engine(config.training.engine == "fast", config.training.compile)
    method = engine.settle(build_method(config, dataset.manifest), device)
    if config.teacher is not None:
        trained = trained_teacher(config, teacher, dataset.manifest)
        method.learn_from(engine.settle(trained, device))
    budget = training_budget(config, device)
    epochs = budget.epochs if config.options.trained else 0
    steps = epochs * (len(data) // budget.batch_size)
    leads = distributed.rank() == 0
    with Progress(steps * budget.batch_size, config.id, silent=not leads) as progress:
        history = History(layout.state / "history.jsonl", progress, recording=leads)
        monitor = build_monitor(
            config.training.monitor, dataset, part, device, supervision=config.supervision
        )
        if config.options.trained:
            earlier = train(
                method,
                data,
                training_optimizer(config, method, lr=budget.lr, fused=engine.fast),
                budget=budget,
                augmentation=Augmentation(
                    config.views, config.seed, compiled=engine.compiles_views(device)
                ),
                checkpoint=Checkpoint(layout.state / "checkpoint.safetensors", config.key),
                history=history,
                on_epoch=lambda epoch: monitor.look(method, epoch),
                engine=engine,
                hopeless=lambda: config.training.stop_on_collapse and collapsed(history.path),
            )
        else:
            shape = data.images.shape
            first = torch.cat(list(data.images.chunks(chunk_size(shape), images_to_fit(shape))))
            method.fit(clean(first, None, data.mean, data.std))
            history.resume(None)
            history.write(step=0, epoch=0.0, **monitor.look(method, 0))

    if not leads:
        return
    tensors = {name: t.detach().cpu().contiguous() for name, t in method_tensors(method).items()}
    write_bytes(layout.encoder, save(tensors, metadata={"key": config.key}))
    write_bytes(layout.history, history.path.read_bytes())
    facts = (
        provenance(started, device, earlier) | {"ranks": distributed.size()} | speed(history.path)
    )
    write_json(
        layout.pretrain,
        {
            "schema": 1,
            "run": config.identification,
            "protocol": {"name": "pretrain", "version": 1},
            "metrics": _metrics(config, method, history.path),
            "provenance": facts,
        },
    )


def training_data(
    config: RunConfig, dataset: PreparedDataset, part: Part, device: str
) -> TrainingData:
    """The run's training images for its device, with labels and caption tokens if its method needs them.

    A method that uses neither also trains on the dataset's unlabelled images, if it has any.
    """
    manifest = dataset.manifest
    images, labels, tokens = part.images, part.labels, None
    if config.options.supervision == "none" and "unlabelled" in manifest.splits:
        images = StoredImages.joined([images, dataset.part("unlabelled").images])
        labels = None
    if isinstance(config.options, CLIPOptions):
        tokens = caption_tokens(dataset, part, config.options.context)
    return TrainingData(
        images=place_images(images, device, config.training.images, jobs=config.jobs_per_gpu),
        mean=tuple(manifest.mean),
        std=tuple(manifest.std),
        labels=_moved(labels, device),
        tokens=None if tokens is None else tokens.to(device),
    )


def caption_tokens(dataset: PreparedDataset, part: Part, context: int) -> Tensor:
    """Tokens of paired captions [n, t], or of each class's prompts [classes, templates, t]."""
    if part.captions is not None:
        return tokenize(part.captions, context)
    of_classes = prompts(dataset.manifest)
    flat: Tensor = tokenize([prompt for of_class in of_classes for prompt in of_class], context)
    return flat.view(len(of_classes), -1, context)


def training_budget(config: RunConfig, device: str) -> Budget:
    """The configured budget with its learning rate scaled to the batch and its precision settled."""
    training = config.training
    wants_bfloat16 = training.precision == "bfloat16" or (
        training.precision == "auto" and device == "cuda" and has_bfloat16()
    )
    return Budget(
        epochs=training.epochs,
        batch_size=training.batch_size,
        warmup_epochs=training.warmup_epochs,
        lr=config.optimizer.lr * training.batch_size / LR_BATCH,
        precision=torch.bfloat16 if wants_bfloat16 else torch.float32,
    )


def has_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16 itself; older ones emulate it, slowly and not for convolutions."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def images_to_fit(shape: tuple[int, ...]) -> int:
    """How many images [count, c, h, w] a reference row is fitted to: fewer if they are large."""
    return min(FIT_IMAGES, max(1, FIT_VALUES // math.prod(shape[1:])))


def training_optimizer(
    config: RunConfig, method: Method, *, lr: float, fused: bool = False
) -> Optimizer:
    """The configured optimiser over the method's parameters."""
    settings = config.optimizer
    return build_optimizer(
        settings.name,
        method,
        lr=lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        trust=settings.trust,
        fused=fused,
    )


def build_monitor(
    settings: MonitorConfig,
    dataset: PreparedDataset,
    part: Part,
    device: str,
    *,
    supervision: str = "none",
) -> Monitor:
    """A monitor over evenly spaced training and validation images."""
    bank, queries = (
        _spread(part, settings.bank),
        _spread(dataset.part("validation"), settings.queries),
    )
    manifest = dataset.manifest
    return Monitor(
        bank=torch.from_numpy(bank.images.read()).to(device),
        queries=torch.from_numpy(queries.images.read()).to(device),
        bank_labels=_moved(bank.labels, device),
        query_labels=_moved(queries.labels, device),
        mean=tuple(manifest.mean),
        std=tuple(manifest.std),
        classes=len(manifest.classes),
        every=settings.epochs,
        supervision=supervision,
    )


def _spread(part: Part, count: int) -> Part:
    rows = np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).astype(np.int64))
    return part.take(rows)


def _moved(labels: np.ndarray[Any, Any] | None, device: str) -> Tensor | None:
    return None if labels is None else torch.from_numpy(np.ascontiguousarray(labels)).to(device)


def _metrics(config: RunConfig, method: Method, history: Path) -> dict[str, Any]:
    last = json.loads(history.read_bytes().splitlines()[-1]) if history.stat().st_size else {}
    epochs, images_seen = last.get("epoch", 0.0), last.get("step", 0) * config.training.batch_size
    budget = config.training.epochs if config.options.trained else 0
    return {
        "status": "ok",
        "supervision": config.supervision,
        "epochs": epochs,
        "ended_early": bool(epochs < budget),
        "steps": last.get("step", 0),
        "images_seen": images_seen,
        "views_seen": images_seen * len(config.views),
        "final_loss": last.get("loss"),
        "parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "encoder_parameters": sum(p.numel() for p in method.encoder.parameters()),
        "feature_width": _feature_width(method),
        "trained": config.options.trained,
        "deterministic": not config.options.seeded,
    }


@torch.no_grad()
def _feature_width(method: Method) -> int:
    method.eval()
    shape = method.shape
    device = next((t.device for t in method_tensors(method).values()), torch.device("cpu"))
    probe = torch.zeros(1, shape.channels, shape.size, shape.size, device=device)
    return int(method.encoder(probe).shape[1])
