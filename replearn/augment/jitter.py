"""Colour jitter: brightness, contrast, saturation and hue, in an order of each image's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replearn.augment.checks import check_colours, check_mask, check_parameter
from replearn.augment.color import grey_weights
from replearn.augment.perimage import PerImage
from replearn.augment.planes import may_look
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
    return images if steps is None else jittered(images, steps)


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
    """What `jittered` does to each of n images of c channels.

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


def jittered(images: Tensor, steps: JitterSteps) -> Tensor:
    """The images [n, c, h, w] of values 0–1 after their steps."""
    count, apply = steps.maps.shape[1], steps.apply
    if steps.hue is not None and may_look(images):
        return _sorted(images, steps)
    x = images.clone(memory_format=torch.contiguous_format)
    before = count if steps.hue is None else count // 2
    for step in range(before):
        _blend(x, steps, step)
    if steps.hue is not None:
        x = _turned(x, steps.hue, None if apply is None else apply.to(x.dtype)[:, None, None])
    for step in range(before, count):
        _blend(x, steps, step)
    return x


def _sorted(images: Tensor, steps: JitterSteps) -> Tensor:
    """The images laid out by how many steps they make before hue, the most first.

    Those that make a step before hue are then the first so many, and those that make it afterwards the rest.
    """
    rows = steps.early.argsort(descending=True, stable=True)
    if steps.apply is not None:
        rows = rows[steps.apply[rows]]
    steps = steps.take(rows)
    assert steps.hue is not None
    numbers = torch.arange(steps.maps.shape[1])
    early = (steps.early[:, None] > numbers).sum(0).tolist()
    x = images.index_select(0, rows)
    for step, count in enumerate(early):
        _blend(x, steps, step, slice(count))
    x = _turned(x, steps.hue)
    for step, count in enumerate(early):
        _blend(x, steps, step, slice(count, None))
    return images.clone(memory_format=torch.contiguous_format).index_copy_(0, rows, x)


def _blend(images: Tensor, steps: JitterSteps, step: int, rows: slice = slice(None)) -> None:
    """One step of some of the images [n, c, h, w], in place: the map of colours and the clamp."""
    chosen = images[rows]
    colours = chosen.view(*chosen.shape[:2], chosen.shape[2] * chosen.shape[3])
    maps = steps.maps[rows, step]
    # Autocast would run the products in bfloat16, which errs by more than a grey level.
    with torch.autocast(images.device.type, enabled=False):
        if steps.pulls is None:
            mapped = torch.bmm(maps, colours)
        else:
            pull = torch.bmm(steps.pulls[rows, step], colours.mean(2, keepdim=True))
            mapped = torch.baddbmm(pull, maps, colours)
    torch.clamp(mapped, 0, 1, out=colours)


def _turned(images: Tensor, hue: Tensor, on: Tensor | None = None) -> Tensor:
    """Turn the hue of coloured images [n, 3, h, w] by `hue` [n] turns where `on` [n, 1, 1] is 1.

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
    sixths = sixths.div_(chroma.clamp(min=torch.finfo(chroma.dtype).tiny))
    sixths = sixths.copysign_(green - blue)
    turns = torch.add(hue[:, None, None], sixths, alpha=1 / 6)
    # V − C · clamp(6 · d − 1, 0, 1) = (V + C) − 6 · C · clamp(d, 1/6, 1/3)
    top = value.add_(chroma)
    slope = chroma.mul_(6)
    if on is not None:
        top, slope = top.mul_(on), slope.mul_(on)
    places = torch.arange(3, dtype=images.dtype, device=images.device)[:, None, None] / 3
    distance = turns[:, None] - places
    distance.sub_(distance.round()).abs_().clamp_(1 / 6, 1 / 3)
    turned = torch.addcmul(top[:, None], distance, slope[:, None], value=-1)
    if on is not None:
        turned.addcmul_(images, (1 - on)[:, None])
    return turned.clamp_(0, 1)
