"""Is it the same work? Checked before any clock starts; a difference ends the benchmark."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightly.transforms import SimCLRTransform
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import ks_2samp
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers import ours, theirs
from benchmarks.peers.task import HEADS, MEAN, SIZE, STD, VIEW, Task, limit_threads, training_files
from replearn.augment import make_view, pixels
from replearn.build import build_method
from replearn.data import Part, open_prepared
from replearn.errors import UserError
from replearn.methods.base import Batch, Method
from replearn.randomness import uniforms

IMAGES = 8
"""Images of the batch on which losses and gradients are compared, in double precision."""
PRECISION = 1e-9
"""Largest difference of the losses, and of the gradients relative to the largest of their tensor."""
FLOPS = 0.01
SIGMAS = 4.0
"""Random differences of moments and shares may be this many standard errors large."""
ROUNDING = 0.01
"""PIL rounds every operation to whole grey levels: allowed on top, in standard deviations of a channel."""
LEAST_P = 1e-4


def notes(task: dict[str, Any], images: int = 512) -> list[str]:
    """Compare everything that is to be equal; returns what was found, as notes for the table.

    Args:
        task: its images and encoder.
        images: number of images whose views are compared.

    Raises:
        UserError: something differs.
    """
    wanted = Task(**task)
    limit_threads(wanted.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as results:
        found = [*same_network(wanted, Path(results)), *same_views(wanted, images)]
    return [f"{wanted.encoder}: {note}" for note in found]


def same_network(task: Task, results: Path) -> list[str]:
    """Loss, gradients, parameters and FLOPs of both sides with the same weights and views."""
    data = open_prepared(task.prepared)
    config = ours.planned(task, results, ours.equal_parts(task), "float32").config
    method = build_method(config, data.manifest).double()
    width = method.shape.width
    peer = theirs.SimCLR(deepcopy(method.encoder), width, *HEADS[task.encoder]).double()
    assert method.projector is not None
    peer.projection_head.layers.load_state_dict(method.projector.state_dict())

    part = data.part("train")
    first, index = torch.from_numpy(_pixels(part, np.arange(IMAGES))), torch.arange(IMAGES)
    view = partial(make_view, first, VIEW, seed=0, epoch=0, index=index, mean=MEAN, std=STD)
    a, b = view(number=0).double(), view(number=1).double()
    loss, flops = _backward(method, lambda: _loss(method, a, b, index))
    peer_loss, peer_flops = _backward(peer, lambda: peer(a, b))
    _agree("loss", loss, peer_loss, PRECISION)
    gradients = [p.grad for p in method.parameters()]
    peer_gradients = [p.grad for p in peer.parameters()]
    _agree("number of parameter tensors", len(gradients), len(peer_gradients), 0)
    worst = max(map(_difference, gradients, peer_gradients))
    _agree("gradients", worst, 0, PRECISION)
    size, peer_size = (sum(p.numel() for p in model.parameters()) for model in (method, peer))
    _agree("number of parameters", size, peer_size, 0)
    _agree("FLOPs", flops / peer_flops, 1, FLOPS)
    work = flops / (2 * IMAGES) / 1e9
    return [
        f"same loss ({loss:.6f}) and gradients (to {max(worst, 1e-16):.0e}) in double precision",
        f"{size:,} parameters, {work:.3f} GFLOP a view, lightly's {peer_flops / flops:.4f} of it",
    ]


def same_views(task: Task, images: int) -> list[str]:
    """Pixels of the files, and the distribution of the views made from them."""
    data = open_prepared(task.prepared).part("train")
    rows = np.unique(np.linspace(0, len(data) - 1, min(images, len(data))).astype(np.int64))
    files = training_files(task.images)
    stored = _pixels(data, rows)
    for row, image in zip(data.index[rows].tolist(), stored, strict=True):
        decoded = np.asarray(Image.open(Path(task.images) / "train" / files[row]).convert("RGB"))
        if not np.array_equal(decoded.transpose(2, 0, 1), image):
            raise UserError("the two sides read different pixels", where=files[row])

    loader = theirs.dataset(task.images)
    their_views = torch.stack([torch.stack(loader[row][0]) for row in data.index[rows].tolist()])
    index = torch.from_numpy(rows)
    make = partial(
        make_view, torch.from_numpy(stored), VIEW, seed=0, index=index, mean=MEAN, std=STD
    )
    our_views = torch.stack([make(epoch=e, number=v) for e in range(4) for v in (0, 1)], 1)
    for name, power in (("mean", 1), ("second moment", 2)):
        # [images, views, channels] → a difference for each image and channel
        mine, other = ((v**power).mean((3, 4)).mean(1) for v in (our_views, their_views))
        difference = mine - other
        error = difference.std(0) / len(difference) ** 0.5
        off = (difference.mean(0).abs() - SIGMAS * error).max()
        _agree(f"{name} of the normalised views", float(off.clamp(min=0)), 0, ROUNDING)

    area, flipped = _geometry(_our_probe(images, 0.0))
    their_area, their_flipped = _geometry(_their_probe(images, 0.0))
    p = float(ks_2samp(area, their_area).pvalue)
    if p < LEAST_P:
        raise UserError(f"crop areas are distributed differently (p = {p:.1e})", where="views")
    _same_share("flipped views", flipped, their_flipped)
    grey = _greyed(_our_probe(images, VIEW.grayscale))
    their_grey = _greyed(_their_probe(images, VIEW.grayscale))
    _same_share("grey views", grey, their_grey)
    said = (
        "same pixels; views agree in mean and second moment, "
        f"in crop area (Kolmogorov–Smirnov, p = {p:.2f}), "
        f"in flips ({flipped.mean():.3f}, {their_flipped.mean():.3f}) "
        f"and greys ({grey.mean():.3f}, {their_grey.mean():.3f})"
    )
    return [said]


def _pixels(part: Part, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The images at positions `rows` [m]: [m, c, h, w]."""
    return np.asarray(part.take(rows).images)


def _loss(method: Method, a: Tensor, b: Tensor, index: Tensor) -> Tensor:
    return method.loss(Batch(views=(a, b), index=index, draws=uniforms(0, 0, index, 0, 2))).total


def _backward(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, int]:
    """The loss, its gradients left in the parameters, and the FLOPs of both directions."""
    model.train()
    with FlopCounterMode(display=False) as counter:
        total = loss()
        total.backward()
    return float(total.detach()), counter.get_total_flops()


def _difference(mine: Tensor | None, other: Tensor | None) -> float:
    assert mine is not None
    assert other is not None
    if mine.shape != other.shape:
        return float("inf")
    # A bias before BatchNorm has no gradient but rounding.
    scale = max(float(mine.abs().max()), 1e-6)
    return float((mine - other).abs().max()) / scale


def _ramps() -> NDArray[np.uint8]:
    """An image [h, w, c] whose red says the column and whose green says the row; blue is 0."""
    column, row = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    return np.stack([8 * column, 8 * row, 0 * row], 2).astype(np.uint8)


def _our_probe(count: int, grayscale: float) -> Tensor:
    images = torch.from_numpy(_ramps()).permute(2, 0, 1).expand(2 * count, -1, -1, -1)
    view = VIEW.model_copy(update={"jitter_probability": 0.0, "grayscale": grayscale})
    return pixels(images, view, seed=0, epoch=0, index=torch.arange(2 * count), number=0)


def _their_probe(count: int, grayscale: float) -> Tensor:
    bare = SimCLRTransform(
        input_size=SIZE,
        cj_prob=0.0,
        random_gray_scale=grayscale,
        gaussian_blur=0.0,
        normalize=None,
    )
    image = Image.fromarray(_ramps())
    return torch.stack([view for _ in range(count) for view in bare(image)])


def _geometry(views: Tensor) -> tuple[Tensor, Tensor]:
    """From views [n, c, h, w] of the ramps: area of the crop in pixels [n], whether it was flipped [n]."""
    quarter = SIZE // 4
    # The middle half, which the borders of the crop don't reach.
    across = views[:, 0].mean(1)
    down = views[:, 1].mean(2)
    wide = (across[:, -quarter] - across[:, quarter]) / (SIZE - 2 * quarter)
    tall = (down[:, -quarter] - down[:, quarter]) / (SIZE - 2 * quarter)
    extent = [(slope.abs() * 255 / 8 * SIZE).round() for slope in (wide, tall)]
    return extent[0] * extent[1], (wide < 0).float()


def _greyed(views: Tensor) -> Tensor:
    """Which views [n, c, h, w] of the ramps are grey [n]: only there is blue more than nothing."""
    return (views[:, 2].amax((1, 2)) > 0.5 / 255).float()


def _same_share(name: str, mine: Tensor, other: Tensor) -> None:
    share = float(torch.cat([mine, other]).mean())
    error = (share * (1 - share) * (1 / len(mine) + 1 / len(other))) ** 0.5
    _agree(f"share of {name}", float(mine.mean()), float(other.mean()), SIGMAS * error)


def _agree(name: str, mine: float, other: float, tolerance: float) -> None:
    if not abs(mine - other) <= tolerance:
        raise UserError(
            f"{name}: {mine:.10g} and {other:.10g} differ by more than {tolerance:.2g}",
            where="the two sides do different work",
            hint="No timing makes sense before they agree.",
        )
