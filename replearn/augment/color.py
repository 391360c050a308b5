"""Colour: jitter in an order of each sample's own, greyscale, solarise, normalise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from replearn.augment.checks import check_colours, check_images, check_mask, check_parameter
from replearn.augment.planes import may_look
from replearn.views import View

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, rounded as in torchvision)."""
JITTER_UNIFORMS = 9
"""Uniform numbers that `jitter_parameters` uses per sample."""

_HUE = 3


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

    The operations are torchvision's `adjust_*`, each followed by a clamp to 0–1. All but hue are
    blends x → f · x + (1 − f) · t with target t black, the mean grey or the grey image, one in each
    step. Hue costs the most, so an image meets it once. On an accelerator all images take the same
    steps: those before hue and as many after it, and rest (f = 1) in half of them. On a CPU the
    images are sorted by the place of hue among their blends, and none rests.

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
    if channels == 1:
        saturation = hue = None
    position = order.expand(n, 4).argsort(1)

    factors = {0: brightness, 1: contrast, 2: saturation}
    blends = {name: factor for name, factor in factors.items() if factor is not None}
    planes = images.transpose(0, 1)
    on = None if apply is None else apply.to(images.dtype)[:, None, None]
    if not blends:
        return images if hue is None else _turned(planes, hue.to(images.dtype), on).transpose(0, 1)
    names = list(blends)
    # A list as an index would be a tensor on the host that the device has to wait for.
    own = torch.stack([position[:, name] for name in names], 1)
    rank = (own[:, None, :] < own[:, :, None]).sum(
        2
    )  # its place among an image's blends, [n, blends]
    excess = torch.stack(list(blends.values()), 1).to(images.dtype) - 1
    if hue is None:
        steps = _steps(rank, excess, len(names), apply)
        return _blended(planes, names, steps, fresh=True).transpose(0, 1)
    hue = hue.to(images.dtype)
    turn = (own < position[:, _HUE, None]).sum(1)  # blends before hue, [n]
    if may_look(images):
        return _sorted(images, names, rank, excess, turn, hue, apply)
    rank = rank + len(names) * (rank >= turn[:, None])
    before, after = _steps(rank, excess, 2 * len(names), apply).chunk(2, 1)
    turned = _turned(_blended(planes, names, before, fresh=True), hue, on)
    return _blended(turned, names, after).transpose(0, 1)


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


def grayscale(images: Tensor, mask: Tensor) -> Tensor:
    """Turn the images [n, c, h, w] for which `mask` (bool [n]) is true grey, keeping the channels.

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n, channels, _, _ = check_colours(images)
    check_mask(mask, n, "mask")
    if channels == 1:
        return images
    if may_look(mask):
        result, rows = images.clone(), mask.nonzero()[:, 0]
        result[rows] = _grey(images[rows].transpose(0, 1))[:, None]
        return result
    chosen = mask.to(images.dtype)[:, None, None]
    planes = images.transpose(0, 1)
    # Products with 0 and 1 are exact, and on a CPU several times faster than `where`.
    return (planes * (1 - chosen)).add_(_grey(planes) * chosen).transpose(0, 1)


def solarize(images: Tensor, threshold: float | Tensor, mask: Tensor) -> Tensor:
    """Invert the pixels from `threshold` upwards of the images for which `mask` (bool [n]) is true.

    Args:
        images: [n, c, h, w] with values 0–1.
        threshold: one for all or [n].
        mask: bool [n].

    Raises:
        ValueError: if shapes or types don't fit.
    """
    n = check_images(images)[0]
    check_mask(mask, n, "mask")
    if isinstance(threshold, Tensor):
        check_parameter(threshold, n, "threshold")
        threshold = threshold[:, None, None, None]
    inverted = (images >= threshold) & mask[:, None, None, None]
    return torch.where(inverted, 1 - images, images)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x − mean) / std with one mean and one standard deviation per channel.

    Args:
        images: [n, c, h, w], floating; or uint8, which stands for 0–1.
        mean: c numbers on the scale 0–1.
        std: c positive numbers.

    Raises:
        ValueError: if there are not c of each, or a standard deviation is not positive.
    """
    channels = check_images(images, integers=True)[1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"{channels} channels need as many means and deviations, not {len(mean)}, {len(std)}"
        )
    if min(std) <= 0:
        raise ValueError(f"standard deviations must be positive, not {list(std)}")
    whole = 1.0 if images.is_floating_point() else 255.0
    # Scalars go into the kernels themselves; a tensor of them would be copied to the device.
    planes = [
        (plane * (1 / (whole * s))).sub_(m / s)
        for plane, m, s in zip(images.unbind(1), mean, std, strict=True)
    ]
    return planes[0][:, None] if channels == 1 else torch.stack(planes, 1)


def _steps(rank: Tensor, excess: Tensor, count: int, apply: Tensor | None = None) -> Tensor:
    """f − 1 of each blend in each of `count` steps, 0 where an image rests: [n, steps, blends, 1, 1]."""
    steps = rank[:, None, :] == torch.arange(count, device=rank.device)[None, :, None]
    if apply is not None:
        steps = steps & apply[:, None, None]
    return torch.where(steps, excess[:, None, :], 0)[..., None, None]


def _sorted(
    images: Tensor,
    blends: list[int],
    rank: Tensor,
    excess: Tensor,
    turn: Tensor,
    hue: Tensor,
    apply: Tensor | None,
) -> Tensor:
    """The jitter of images laid out by how many blends they make before hue, the most first.

    Those that take a step before hue are then the first so many, and those that take it afterwards the rest.
    """
    rows = turn.argsort(descending=True, stable=True)
    if apply is not None:
        rows = rows[apply[rows]]
    numbers = torch.arange(len(blends), device=turn.device)
    early = (turn[rows, None] > numbers).sum(0).tolist()
    steps = _steps(rank[rows], excess[rows], len(blends))
    planes = images.transpose(0, 1).index_select(1, rows)
    for step, count in enumerate(early):
        _blended(planes[:, :count], blends, steps[:count, step : step + 1])
    planes = _turned(planes, hue[rows], None)
    for step, count in enumerate(early):
        _blended(planes[:, count:], blends, steps[count:, step : step + 1])
    result = images.clone()
    result[rows] = planes.transpose(0, 1)
    return result


def _blended(planes: Tensor, blends: list[int], steps: Tensor, *, fresh: bool = False) -> Tensor:
    """Steps of blends, each x + Σ (f − 1) · (x − t) with at most one term per image, and the clamp.

    Args:
        planes: the channels, [c, n, h, w].
        blends: the blends by number.
        steps: f − 1, [n, steps, blends, 1, 1].
        fresh: leave `planes` alone; else they are overwritten.
    """
    for step in steps.unbind(1):
        change = dict(zip(blends, step.unbind(1), strict=True))
        target = None
        if 1 in change or 2 in change:
            grey = _grey(planes)
            if 1 in change:
                target = change[1] * grey.mean((1, 2), keepdim=True)
            if 2 in change:
                colourless = grey * change[2]
                target = colourless if target is None else colourless.add_(target)
        factor = 1 + step.sum(1)
        planes = planes * factor if fresh else planes.mul_(factor)
        if target is not None:
            planes.sub_(target)
        planes.clamp_(0, 1)
        fresh = False
    return planes


def _grey(planes: Tensor) -> Tensor:
    """The grey image [n, h, w] of one or three channels [c, n, h, w]."""
    if len(planes) == 1:
        return planes[0]
    red, green, blue = planes.unbind(0)
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def _turned(planes: Tensor, hue: Tensor, on: Tensor | None) -> Tensor:
    """Turn the hue of red, green and blue [3, n, h, w] by `hue` [n] turns where `on` is 1.

    It is HSV without a branch, a table or a comparison. With value V (the largest channel), chroma
    C (largest less smallest) and channels scaled to r, g, b = (x − smallest) / C, the hue lies
    1 − r + g + b sixths of the circle from red, towards green if g > b. A channel at c turns
    (red 0, green 1/3, blue 2/3) is V − C · clamp(6 · d − 1, 0, 1), with d the distance from the
    hue to c.
    """
    red, green, blue = planes.unbind(0)
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
        top, slope, off = top.mul_(on), slope.mul_(on), 1 - on
    distance = torch.stack([turns, turns - 1 / 3, turns - 2 / 3])
    distance.sub_(distance.round()).abs_().clamp_(1 / 6, 1 / 3)
    turned = torch.addcmul(top, distance, slope, value=-1)
    if on is not None:
        turned.addcmul_(planes, off)
    return turned.clamp_(0, 1)
