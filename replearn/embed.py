"""Frozen features of every split, as files that all evaluations read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.augment import clean, make_view
from replearn.build import build_method, load_tensors, on_device
from replearn.config import RunConfig
from replearn.data.captions import prompts
from replearn.data.prepared import Part, PartName, PreparedDataset
from replearn.data.stored import StoredImages
from replearn.evaluate.features import read_tensors, write_tensors
from replearn.evaluate.protocol import ViewsProtocol
from replearn.heads import tokenize
from replearn.images import StreamedImages, chunk_size
from replearn.methods.base import Method
from replearn.methods.clip import CLIP
from replearn.methods.options import CLIPOptions
from replearn.progress import Progress
from replearn.shifted import shifted_features

TEXTS = 1024
"""Captions that are embedded at a time."""
PARTS: tuple[PartName, ...] = ("train", "validation", "test")
OUTPUTS = tuple(f"{name}.safetensors" for name in (*PARTS, "views", "shifted"))
"""What `embed` writes."""


@torch.no_grad()
def embed(
    config: RunConfig, dataset: PreparedDataset, encoder: Path, output: Path, device: str
) -> None:
    """Write features of the train, validation and test images, of augmented views and shifted images.

    Args:
        config: the run.
        dataset: prepared data of the digest that the configuration names.
        encoder: the trained tensors.
        output: the features directory.
        device: "cpu" or "cuda".
    """
    method = trained_method(config, dataset, encoder, device)
    parts = {name: dataset.part(name) for name in PARTS}
    total = sum(len(part) for part in parts.values())
    with Progress(total, f"{config.id} features") as progress:
        for name, part in parts.items():
            tensors = part_features(method, dataset, part, device, progress)
            write_tensors(output / f"{name}.safetensors", tensors)
    views = view_features(method, dataset, parts["validation"], config.evaluation.views, device)
    write_tensors(output / "views.safetensors", views)
    shifted = shifted_features(
        method, dataset.manifest, parts["test"], config.evaluation.robustness, device
    )
    write_tensors(output / "shifted.safetensors", shifted)


@torch.no_grad()
def embed_text(
    config: RunConfig, dataset: PreparedDataset, encoder: Path, output: Path, device: str
) -> None:
    """Write joint-space embeddings of a CLIP run's test images, class prompts and captions."""
    method = trained_method(config, dataset, encoder, device)
    assert isinstance(method, CLIP)
    assert isinstance(config.options, CLIPOptions)
    tensors = text_features(method, dataset, dataset.part("test"), config.options.context, device)
    write_tensors(output / "text.safetensors", tensors)


def trained_method(
    config: RunConfig, dataset: PreparedDataset, encoder: Path, device: str
) -> Method:
    """A run's method with its trained tensors, ready to evaluate."""
    method = build_method(config, dataset.manifest)
    load_tensors(method, read_tensors(encoder))
    return on_device(method, device).eval()


def part_features(
    method: Method, dataset: PreparedDataset, part: Part, device: str, progress: Progress
) -> dict[str, Tensor]:
    """Features of one part, as `read_features` reads them.

    h [n, d], z [n, k] if the method projects, labels [n] if there are any, and rows [n]; of test images
    also reconstruction_error [n], mean squares of normalised pixels, if the method decodes.
    """
    mean, std = tuple(dataset.manifest.mean), tuple(dataset.manifest.std)
    tensors: dict[str, Tensor] = {}
    done = 0
    for images in _chunks(part.images, device):
        x = clean(images, None, mean, std)
        found = dict(zip("hz", method.embed(x), strict=True))
        if part.name == "test":
            x_hat = method.reconstruct(x)
            error = None if x_hat is None else (x_hat - x).square().flatten(1).mean(1)
            found["reconstruction_error"] = error
        for name, value in found.items():
            if value is not None:
                if name not in tensors:
                    tensors[name] = torch.empty(len(part), *value.shape[1:])
                tensors[name][done : done + len(images)] = value
        done += len(images)
        progress.advance(len(images))
    tensors["index"] = torch.from_numpy(np.ascontiguousarray(part.index))
    if part.labels is not None:
        tensors["labels"] = torch.from_numpy(np.ascontiguousarray(part.labels))
    return tensors


def view_features(
    method: Method, dataset: PreparedDataset, part: Part, protocol: ViewsProtocol, device: str
) -> dict[str, Tensor]:
    """Features h [v, m, d] and z [v, m, k] of v augmented views of m held-out images."""
    rows = np.linspace(0, len(part) - 1, min(protocol.images, len(part))).astype(np.int64)
    chosen = part.take(np.unique(rows))
    index = torch.from_numpy(np.ascontiguousarray(chosen.index)).to(device)
    collected: dict[str, list[Tensor]] = {}
    for number in range(protocol.count):
        done = 0
        for images in _chunks(chosen.images, device):
            view = make_view(
                images,
                protocol.view,
                seed=0,
                epoch=0,
                index=index[done : done + len(images)],
                number=number,
                mean=tuple(dataset.manifest.mean),
                std=tuple(dataset.manifest.std),
            )
            done += len(images)
            for name, value in zip("hz", method.embed(view), strict=True):
                if value is not None:
                    collected.setdefault(name, []).append(value.float().cpu())
    return {
        name: torch.cat(values).unflatten(0, (protocol.count, len(chosen)))
        for name, values in collected.items()
    }


def text_features(
    method: CLIP, dataset: PreparedDataset, test: Part, context: int, device: str
) -> dict[str, Tensor]:
    """Joint-space embeddings of test images, of class prompts and of paired captions, L2-normalised."""
    mean, std = tuple(dataset.manifest.mean), tuple(dataset.manifest.std)
    images = [
        method.projector(method.encoder(clean(chunk, None, mean, std))).cpu()
        for chunk in _chunks(test.images, device)
    ]
    tensors = {"image": F.normalize(torch.cat(images).float(), dim=1)}
    class_prompts = prompts(dataset.manifest)
    if class_prompts:
        of_classes = [_texts(method, of_class, context, device) for of_class in class_prompts]
        tensors["prompts"] = F.normalize(torch.stack([t.mean(0) for t in of_classes]), dim=1)
    if test.captions is not None:
        tensors["text"] = _texts(method, test.captions, context, device)
        tensors["caption_group"] = torch.from_numpy(
            np.unique(test.captions, return_inverse=True)[1].reshape(-1).astype(np.int64)
        )
    if test.labels is not None:
        tensors["labels"] = torch.from_numpy(np.ascontiguousarray(test.labels))
    return tensors


def _texts(method: CLIP, captions: list[str], context: int, device: str) -> Tensor:
    tokens = tokenize(captions, context)
    embedded = [method.text(part.to(device)).cpu() for part in tokens.split(TEXTS)]
    return F.normalize(torch.cat(embedded).float(), dim=1)


def _chunks(stored: StoredImages, device: str) -> Iterator[Tensor]:
    return StreamedImages(stored, device).chunks(chunk_size(stored.shape))
