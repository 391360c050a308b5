"""Colour jitter: brightness, contrast, saturation and hue, in an order of each image's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replearn.augment.checks import check_colours, check_mask, check_parameter, may_look
from replearn.augment.color import grey_weights, mapped
from replearn.augment.perimage import PerImage
from replearn.views import View

JITTER_UNIFORMS = 9
"""Uniform numbers that `jitter_parameters` uses per sample."""

_CONTRAST, _SATURATION, _HUE = 1, 2, 3


def color_jitter(
    images: Tensor,
    brightness: Tensor | None = None,
    contrast: Tensor | None = None,
    saturation: Tensor | None = None,
    hue: Tensor | None = None,
    order: Tensor | None = None,
    apply: Tensor | None = None,
) -> Tensor:
    """Adjust brightness, contrast, saturation and hue of each image by its own factors and order.

    The operations are torchvision's `adjust_*`, each followed by a clamp to 0–1.

    Args:
        images: [n, c, h, w] with values 0–1, c = 1 or 3. One channel has no saturation and no hue.
        brightness: factors [n], not negative; absent: no such operation.
        contrast: likewise.
        saturation: likewise.
        hue: shifts [n] in turns, −0.5 to 0.5.
        order: integers [n, 4] or [4], permutations of 0 brightness, 1 contrast, 2 saturation and
            3 hue, first things first. Absent: in this order.
        apply: bool [n], which images to change; absent: all.

    Returns:
        [n, c, h, w] with values 0–1.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, channels, _, _ = check_colours(images)
    named = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    for name, values in named.items():
        if values is not None:
            check_parameter(values, n, name)
    if order is None:
        order = torch.arange(4, device=images.device)
    if order.shape not in ((4,), (n, 4)):
        raise ValueError(f"order must be [{n}, 4] or [4], not {list(order.shape)}")
    if apply is not None:
        check_mask(apply, n, "apply")
    given = [
        None if values is None else values.to(images.dtype)
        for values in (brightness, contrast, saturation, hue)
    ]
    steps = jitter_steps(*given, order=order.expand(n, 4), apply=apply, channels=channels)
    if steps is None:
        return images
    layout = lay_out(steps, n)
    # Autocast would run products in bfloat16, which errs by more than a grey level.
    with torch.autocast(images.device.type, enabled=False):
        if layout is None:
            x = images.clone(memory_format=torch.contiguous_format)
            jitter_in_place(x, steps, None)
            return x
        x = images.index_select(0, layout.shown[0])
        jitter_in_place(x, steps.take(layout.rows), layout.counts[0])
        return x.index_select(0, layout.back[0])


def jitter_parameters(
    u: Tensor, view: View
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Parameters of `color_jitter` distributed as those of torchvision's `ColorJitter`.

    Args:
        u: uniform numbers in [0, 1), [n, JITTER_UNIFORMS].
        view: the strengths b; factors are uniform on [max(0, 1 − b), 1 + b], hue on [−b, b].

    Returns:
        brightness, contrast, saturation, hue [n] each, order int64 [n, 4], apply bool [n].

    Raises:
        ValueError: if there are not JITTER_UNIFORMS numbers for each sample.
    """
    if u.ndim != 2 or u.shape[1] != JITTER_UNIFORMS:
        raise ValueError(f"u must be [n, {JITTER_UNIFORMS}], not {list(u.shape)}")
    lowest = [max(0.0, 1 - b) for b in (view.brightness, view.contrast, view.saturation)]
    highest = [1 + b for b in (view.brightness, view.contrast, view.saturation)]
    brightness, contrast, saturation = (
        u[:, i] * (highest[i] - lowest[i]) + lowest[i] for i in range(3)
    )
    hue = u[:, _HUE] * (2 * view.hue) - view.hue
    order = u[:, 4:8].argsort(stable=True, dim=1)
    return brightness, contrast, saturation, hue, order, u[:, 8] < view.jitter_probability


@dataclass(frozen=True)
class JitterSteps(PerImage):
    """What jitter does to each of n images of c channels.

    A blend x → f · x + (1 − f) · t, its target t black, the mean grey or the grey image, is a map of
    colours: x → M · x + p · m, with m the image's mean colour.

    Attributes:
        maps: M, [n, steps, c, c].
        pulls: p, [n, steps, 1, c], or None if all are 0.
        early: steps before hue, int64 [n].
        hue: shifts [n] in turns, or None.
        apply: bool [n], which images to change; None for all.
    """

    maps: Tensor
    pulls: Tensor | None
    early: Tensor
    hue: Tensor | None
    apply: Tensor | None


def jitter_steps(
    brightness: Tensor | None,
    contrast: Tensor | None,
    saturation: Tensor | None,
    hue: Tensor | None,
    *,
    order: Tensor,
    apply: Tensor | None,
    channels: int,
) -> JitterSteps | None:
    """The steps of `color_jitter`'s factors, with `order` [n, 4]; None if nothing is to be done.

    On an accelerator all images make the same number: as many before hue as after it, half of which
    change nothing. On a CPU an image makes its blends only.
    """
    if channels == 1:
        saturation = hue = None
    given = {0: brightness, _CONTRAST: contrast, _SATURATION: saturation}
    factors = {name: factor for name, factor in given.items() if factor is not None}
    example = next((values for values in (*factors.values(), hue) if values is not None), None)
    if example is None:
        return None
    count, device = len(factors), order.device
    position = order.argsort(1)
    # A list as an index would be a tensor on the host that the device has to wait for.
    own = torch.cat([order[:, :0], *(position[:, name, None] for name in factors)], 1)
    rank = (own[:, None, :] < own[:, :, None]).sum(2)  # its place among an image's blends
    early = torch.full_like(order[:, 0], count)
    if hue is not None:
        early = (own < position[:, _HUE, None]).sum(1)
    if hue is not None and not may_look(order):
        rank += count * (rank >= early[:, None])
        count *= 2
    taken = rank[:, None, :] == torch.arange(count, device=device)[None, :, None]
    if apply is not None:
        taken = taken & apply[:, None, None]
    excess = torch.cat([example[:, None][:, :0], *(f[:, None] - 1 for f in factors.values())], 1)
    change = (excess[:, None, :] * taken)[..., None, None]  # [n, steps, blends, 1, 1]
    of_blend = dict(zip(factors, change.unbind(2), strict=True))
    grey = grey_weights(example, channels)
    maps = (1 + change.sum(2)) * torch.eye(channels, dtype=example.dtype, device=device)
    if _SATURATION in of_blend:
        maps = maps - of_blend[_SATURATION] * grey
    pulls = -of_blend[_CONTRAST] * grey if _CONTRAST in of_blend else None
    return JitterSteps(maps, pulls, early, hue, apply)


@dataclass(frozen=True)
class Layout:
    """An order of the images of each batch: the most steps before hue first, those left alone last.

    Whatever a step changes then lies together.

    Attributes:
        rows: int64 [batches · n], the rows in this order, batch after batch.
        shown: int64 [batches, n], the same within each batch.
        back: int64 [batches, n], the way back.
        counts: for each batch, how many images are changed, and how many make step 0, 1, … before hue.
    """

    rows: Tensor
    shown: Tensor
    back: Tensor
    counts: list[list[int]]


def lay_out(steps: JitterSteps, batch_size: int) -> Layout | None:
    """The layout of batches of so many images; None on an accelerator, where all make the same steps."""
    if not may_look(steps.early):
        return None
    early = steps.early if steps.apply is None else torch.where(steps.apply, steps.early, -1)
    batches = early.view(max(1, len(early) // max(1, batch_size)), batch_size)
    shown = batches.argsort(dim=1, descending=True, stable=True)
    first = torch.arange(len(batches))[:, None] * batch_size
    numbers = torch.arange(-1, steps.maps.shape[1])
    counts = (batches[:, :, None] > numbers).sum(1)
    return Layout((shown + first).flatten(), shown, shown.argsort(1), counts.tolist())


def jitter_in_place(images: Tensor, steps: JitterSteps, counts: list[int] | None) -> None:
    """Let images [n, c, h, w] of values 0–1 make their steps.

    Args:
        images: contiguous; laid out if there are counts.
        steps: of these images.
        counts: of their layout, or None if all make all steps.
    """
    number, n = steps.maps.shape[1], len(images)
    before = number if steps.hue is None else number // 2
    changed, *early = counts or (n, *([n] * before), *([0] * (number - before)))
    for step, count in enumerate(early):
        _blend(images[:count], steps, step, slice(count))
    if steps.hue is not None:
        on = None if counts or steps.apply is None else steps.apply.to(images.dtype)[:, None, None]
        _turn(images[:changed], steps.hue[:changed], on)
    for step, count in enumerate(early):
        _blend(images[count:changed], steps, step, slice(count, changed))


def _blend(images: Tensor, steps: JitterSteps, step: int, rows: slice) -> None:
    """One step of the images [n, c, h, w], which are these rows of all, in place: the map and the clamp."""
    n, channels, height, width = images.shape
    if n == 0:
        return
    colours, maps = images.view(n, channels, height * width), steps.maps[rows, step]
    pull = None
    if steps.pulls is not None:
        pull = mapped(steps.pulls[rows, step], colours.mean(2, keepdim=True))
    torch.clamp(mapped(maps, colours, pull), 0, 1, out=colours)


def _turn(images: Tensor, hue: Tensor, on: Tensor | None) -> None:
    """Turn the hue of coloured images [n, 3, h, w] by `hue` [n] turns where `on` [n, 1, 1] is 1, in place.

    It is HSV without a branch, a table or a comparison. With value V (the largest channel), chroma
    C (largest less smallest) and channels scaled to r, g, b = (x − smallest) / C, the hue lies
    1 − r + g + b sixths of the circle from red, towards green if g > b. A channel at c turns
    (red 0, green 1/3, blue 2/3) is V − C · clamp(6 · d − 1, 0, 1), with d the distance from the
    hue to c.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    smallest = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - smallest
    sixths = (green + blue).sub_(red).add_(chroma).sub_(smallest)
    # Without chroma any hue will do; the bound only keeps 0 / 0 away.
    sixths.div_(chroma.clamp(min=torch.finfo(chroma.dtype).tiny))
    sixths.copysign_(torch.sub(green, blue, out=smallest))
    turns = sixths.mul_(1 / 6).add_(hue[:, None, None])
    # V − C · clamp(6 · d − 1, 0, 1) = (V + C) − 6 · C · clamp(d, 1/6, 1/3)
    top = value.add_(chroma)
    slope = chroma.mul_(6)
    if on is not None:
        top, slope, off = top.mul_(on), slope.mul_(on), 1 - on
    # One channel after the other: that much stays in a processor's cache.
    distance, rounded = torch.empty_like(turns), torch.empty_like(turns)
    for third, channel in enumerate((red, green, blue)):
        torch.sub(turns, third / 3, out=distance)
        distance.sub_(torch.round(distance, out=rounded)).abs_().clamp_(1 / 6, 1 / 3)
        channel.copy_(top) if on is None else channel.mul_(off).add_(top)
        channel.addcmul_(distance, slope, value=-1).clamp_(0, 1)
