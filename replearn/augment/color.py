"""Colour: brightness, contrast, saturation and hue in a random order, greyscale, solarise, normalise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from replearn.augment.checks import check_colours, check_images, check_mask, check_parameter
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
    """Adjust brightness, contrast, saturation and hue of each image by its own factors, in its own order.

    The operations are torchvision's `adjust_*`, each followed by a clamp to 0–1. All but hue are blends
    x → f · x + (1 − f) · t, with target t black, the mean grey or the grey image. Hue is the costly one,
    so the schedule has it once: each image makes its blends in the steps before or in those after it
    and rests (f = 1) in the others.

    Args:
        images: [n, c, h, w] with values 0–1, c = 1 or 3. One channel has no saturation and no hue.
        brightness: factors [n], not negative; absent: no such operation.
        contrast: likewise.
        saturation: likewise.
        hue: shifts [n] in turns, −0.5 to 0.5.
        order: integers [n, 4] or [4], permutations of 0 brightness, 1 contrast, 2 saturation, 3 hue;
            the first is done first. Absent: in this order.
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
    blends = {
        operation: factor.to(images.dtype)
        for operation, factor in factors.items()
        if factor is not None
    }
    if not blends:
        return images if hue is None else _shifted(images, hue, apply)
    steps = _schedule(position, list(blends), with_hue=hue is not None)
    if apply is not None:
        steps = steps & apply[:, None, None]
    change = torch.where(steps, torch.stack(list(blends.values()), 1)[:, None, :] - 1, 0)
    x = images
    for step in range(steps.shape[1]):
        if hue is not None and step == len(blends):
            x = _shifted(x, hue, apply)
        x = _blend(x, dict(zip(blends, change[:, step].unbind(1), strict=True)))
    return x


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
    return torch.where(mask[:, None, None, None], _grey(images), images)


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
    dtype = images.dtype if images.is_floating_point() else torch.float32
    out = torch.empty(images.shape, dtype=dtype, device=images.device)
    # Scalars go into the kernels themselves; a tensor of them would have to be copied to the device.
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        torch.mul(images[:, channel], 1 / (whole * s), out=out[:, channel]).sub_(m / s)
    return out


def _schedule(position: Tensor, blends: list[int], *, with_hue: bool) -> Tensor:
    """Which image makes which blend in which step: bool [n, steps, blends].

    With hue there are twice as many steps as blends: the first half is before hue, the second after.
    """
    own = position[:, blends]
    rank = (own[:, None, :] < own[:, :, None]).sum(2)
    slots = torch.arange(len(blends), device=position.device)
    steps = rank[:, None, :] == slots[None, :, None]
    if not with_hue:
        return steps
    before = (own < position[:, _HUE, None])[:, None, :]
    return torch.cat([steps & before, steps & ~before], 1)


def _blend(images: Tensor, change: dict[int, Tensor]) -> Tensor:
    """One step: x + Σ (f − 1) · (x − t) over at most one operation per image, then the clamp.

    `change` has f − 1 per operation, zero where an image doesn't make it.
    """
    total = torch.stack(list(change.values())).sum(0)
    out = images * (1 + total)[:, None, None, None]
    if 1 in change or 2 in change:
        grey = _grey(images)
        target = torch.zeros_like(total)[:, None, None, None]
        if 1 in change:
            target = target - change[1][:, None, None, None] * grey.mean((1, 2, 3), keepdim=True)
        if 2 in change:
            target = target - grey * change[2][:, None, None, None]
        out = out.add_(target)
    return out.clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """Grey images [n, 1, h, w]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])[:, None]


def _shifted(images: Tensor, hue: Tensor, apply: Tensor | None) -> Tensor:
    """Turn the hue of [n, 3, h, w] by `hue` [n] turns, through HSV but without a branch or a table.

    With value V, chroma C and hue H in turns, a channel whose own hue is at c (red 0, green 1/3, blue
    2/3) is V − C · clamp(6 · d − 1, 0, 1), where d is the distance from H to c on the circle.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # Grey pixels have chroma 0 and any hue; the bound only keeps 0 / 0 away.
    sixth = chroma.clamp(min=torch.finfo(images.dtype).tiny).mul_(6).reciprocal_()
    is_red, is_green = red == value, green == value
    difference = torch.where(
        is_red, green - blue, torch.where(is_green, blue - red, red - green)
    ).mul_(sixth)
    base = torch.where(is_red, 0.0, torch.where(is_green, 1 / 3, 2 / 3)).to(images.dtype)
    turned = difference.add_(base).add_(hue.to(images.dtype)[:, None, None])
    channels = []
    for centre in (0, 1 / 3, 2 / 3):
        distance = turned - centre
        distance = distance.sub_(distance.round()).abs_()
        channels.append(value - distance.mul_(6).sub_(1).clamp_(0, 1).mul_(chroma))
    shifted = torch.stack(channels, 1)
    return shifted if apply is None else torch.where(apply[:, None, None, None], shifted, images)
