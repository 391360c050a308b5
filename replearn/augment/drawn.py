"""Views that are drawn for several batches at once, and made batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby

import torch
from torch import Tensor

from replearn.augment.color import grayscale, grey_maps, mapped, normalization, solarize
from replearn.augment.filters import gaussian_blur
from replearn.augment.geometry import horizontal_flip, resampled, resized
from replearn.augment.jitter import jitter_in_place, lay_out
from replearn.augment.parameters import UNIFORMS, jitter_of, parameters
from replearn.randomness import uniforms
from replearn.views import View

_TOGETHER = 2**20
"""Pixels of a batch up to which a CPU makes views together; for more, an operation's start counts little."""


def capacity(device: torch.device) -> int:
    """How many times as much as a CPU a device takes at once, the start of an operation costing it more."""
    return 8 if device.type == "cuda" else 1


class DrawnViews:
    """The views of several batches, drawn ahead: a few large operations instead of many small ones.

    Equal views that follow each other go through the operations as one batch, unless it is large.

    Args:
        views: of each image.
        seed: the run's seed.
        epoch: the epoch's number.
        index: int64 [batches · n] on the images' device, identities of the samples, batch after batch.
        batch_size: n.
        shape: (c, h, w) of the images.
        mean: c numbers on the scale 0–1.
        std: c positive numbers.
        first: number of the first view among those of a sample.
        compiled: whether torch.compile fuses what follows the uniform numbers, at the first call.
    """

    def __init__(
        self,
        views: Sequence[View],
        *,
        seed: int,
        epoch: int,
        index: Tensor,
        batch_size: int,
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        first: int = 0,
        compiled: bool = False,
    ) -> None:
        self._drawings: list[Drawing | CompiledDrawing] = []
        drawing = CompiledDrawing if compiled else Drawing
        pixels = max(1, batch_size * math.prod(shape[1:]))
        for view, numbers in _alike(views, capacity(index.device) * _TOGETHER // pixels):
            u = torch.stack([uniforms(seed, epoch, index, first + n, UNIFORMS) for n in numbers])
            # What a batch needs of all these views has to lie together.
            u = u.view(len(numbers), -1, batch_size, UNIFORMS).transpose(0, 1).flatten(0, 2)
            made = drawing(
                view, u, batch_size=batch_size, count=len(numbers), shape=shape, mean=mean, std=std
            )
            self._drawings.append(made)

    def make(self, batch: int, images: Tensor) -> tuple[Tensor, ...]:
        """All views of the images uint8 [n, c, h, w] of one of the batches, [n, c, ·, ·] each, normalised."""
        return tuple(view for drawing in self._drawings for view in drawing.make(batch, images))


class Drawing:
    """One view, or several alike, of the images of several batches.

    On a CPU the images of a batch are laid out by what their jitter does, from the crop to the end.

    Args:
        view: what to do.
        u: uniform numbers [batches · count · n, UNIFORMS], of a batch view after view.
        batch_size: n.
        count: views of each image.
        shape: (c, h, w) of the images.
        mean: c numbers on the scale 0–1.
        std: c positive numbers.
    """

    def __init__(
        self,
        view: View,
        u: Tensor,
        *,
        batch_size: int,
        count: int,
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self._view, self._count, self._size = view, count, count * batch_size
        jitter = jitter_of(view, u, shape[0])
        self._layout = lay_out(jitter, self._size) if jitter is not None else None
        if jitter is not None and self._layout is not None:
            u, jitter = u.index_select(0, self._layout.rows), jitter.take(self._layout.rows)
        self._drawn = drawn = parameters(view, u, shape, jitter)
        self._scale, self._shift = normalization(mean, std, shape[0], u)
        self._last: Tensor | None = None
        if drawn.grayscale is not None and drawn.sigma is None and drawn.solarize is None:
            self._last = grey_maps(drawn.grayscale, u) * self._scale[:, :, 0]

    def make(self, batch: int, images: Tensor) -> tuple[Tensor, ...]:
        """The views [n, c, ·, ·] of the images [n, c, h, w] of one of the batches, normalised."""
        own = slice(batch * self._size, (batch + 1) * self._size)
        # Autocast would run products in bfloat16, which errs by more than a grey level.
        with torch.autocast(images.device.type, enabled=False):
            if self._layout is None:
                x = self._made(images.repeat(self._count, 1, 1, 1), own, None)
            else:
                shown = self._layout.shown[batch] % len(images)
                x = self._made(images.index_select(0, shown), own, self._layout.counts[batch])
                x = x.index_select(0, self._layout.back[batch])
        return x.chunk(self._count)

    def _made(self, images: Tensor, own: slice, counts: list[int] | None) -> Tensor:
        view, drawn = self._view, self._drawn.take(own)
        if drawn.crop is not None:
            x = resampled(images, drawn.crop)
        else:
            x = images if drawn.flip is None else horizontal_flip(images, drawn.flip)
            x = resized(x, view.size)
        if drawn.jitter is not None:
            jitter_in_place(x, drawn.jitter, counts)
        if self._last is not None:  # greyscale and normalisation in one
            shift, colours = self._shift[:, :, 0], x.flatten(2)
            return mapped(self._last[own], colours, shift).view(x.shape)
        if drawn.grayscale is not None:
            x = grayscale(x, drawn.grayscale)
        if drawn.sigma is not None:
            x = gaussian_blur(x, drawn.sigma, _kernel_size(view, x), drawn.blur)
        if drawn.solarize is not None:
            x = solarize(x, view.solarize_threshold, drawn.solarize)
        return torch.addcmul(self._shift, x, self._scale)


class CompiledDrawing:
    """A `Drawing` whose operations torch.compile fuses: one for each view and size, whatever the epoch."""

    def __init__(
        self,
        view: View,
        u: Tensor,
        *,
        batch_size: int,
        count: int,
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self._u = u.view(-1, count * batch_size, UNIFORMS)
        self._draw = partial(
            _compiled(), view, count=count, shape=tuple(shape), mean=tuple(mean), std=tuple(std)
        )

    def make(self, batch: int, images: Tensor) -> tuple[Tensor, ...]:
        """As `Drawing.make`."""
        return self._draw(self._u[batch], images)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., tuple[Tensor, ...]]:
    # What an epoch makes last may be smaller. One graph for any size would be slower for each.
    return torch.compile(_drawn_and_made, dynamic=False)


def _drawn_and_made(
    view: View,
    u: Tensor,
    images: Tensor,
    *,
    count: int,
    shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[Tensor, ...]:
    batch_size = len(images)
    drawing = Drawing(view, u, batch_size=batch_size, count=count, shape=shape, mean=mean, std=std)
    return drawing.make(0, images)


def _alike(views: Sequence[View], most: int) -> Iterator[tuple[View, range]]:
    """Stretches of at most so many equal views (at least one), as a view and its numbers."""
    start = 0
    for view, equal in groupby(views):
        stop = start + len(list(equal))
        for first in range(start, stop, max(1, most)):
            yield view, range(first, min(first + max(1, most), stop))
        start = stop


def _kernel_size(view: View, images: Tensor) -> int:
    """The view's blur kernel, by default about a tenth of the image (SimCLR, appendix A)."""
    return view.blur_kernel or max(3, min(images.shape[2:]) // 20 * 2 + 1)
