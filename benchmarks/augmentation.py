"""Views per second: `replearn.augment` beside torchvision's transforms, and what each operation costs.

`python -m benchmarks.augmentation`. The recipe is SimCLR's, for CIFAR at 32² pixels and with blur at 96².
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.harness import Row, Table, one_by_one, options, run
from benchmarks.pairs import paired_ratio, rate, seconds, there_and_back
from replearn.allocator import keep_freed_memory
from replearn.augment import (
    UNIFORMS,
    color_jitter,
    crop_boxes,
    gaussian_blur,
    grayscale,
    jitter_parameters,
    make_view,
    normalize,
    random_resized_crop,
)
from replearn.randomness import uniforms
from replearn.views import View

MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.25, 0.25)
STRENGTH = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
CROP, JITTER, GREY, FLIP, BLUR = (0.08, 1.0), 0.8, 0.2, 0.5, 0.5
SIGMA = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class Case:
    """Images to augment: their side in pixels, how many make a batch, whether the recipe blurs."""

    side: int
    batch: int
    blur: bool

    def images(self) -> Tensor:
        """Random bytes [n, 3, h, w]."""
        shape = (self.batch, 3, self.side, self.side)
        return torch.randint(256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))

    @property
    def view(self) -> View:
        """The recipe for replearn."""
        return View(
            size=self.side,
            crop_scale=CROP,
            flip=FLIP,
            **STRENGTH,
            jitter_probability=JITTER,
            grayscale=GREY,
            blur=BLUR if self.blur else 0.0,
            blur_sigma=SIGMA,
            blur_kernel=self.kernel,
        )

    @property
    def transform(self) -> v2.Compose:
        """The recipe for torchvision."""
        steps = [
            v2.RandomResizedCrop(self.side, scale=CROP, antialias=True),
            v2.RandomHorizontalFlip(FLIP),
            v2.RandomApply([v2.ColorJitter(**STRENGTH)], JITTER),
            v2.RandomGrayscale(GREY),
        ]
        if self.blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(self.kernel, SIGMA)], BLUR))
        to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        return v2.Compose([*steps, *to_float])

    @property
    def kernel(self) -> int:
        """Width of the blur: a tenth of the image, an odd number."""
        return self.side // 20 * 2 + 1


CASES = (Case(32, 256, blur=False), Case(96, 64, blur=True))
QUICK = (Case(32, 16, blur=False),)


def main() -> None:
    """`python -m benchmarks.augmentation`."""
    parser = options("Views per second of SimCLR's recipe, beside torchvision.")
    run("augmentation", parser.parse_args(), measure)


def measure(chosen: argparse.Namespace) -> Iterator[Table]:
    """Throughput beside torchvision, with one thread and with all, then the operations one by one."""
    keep_freed_memory()
    cases, at_least, rounds = (QUICK, 0.02, 1) if chosen.quick else (CASES, 0.5, 5)
    most = chosen.threads or torch.get_num_threads()
    threads = sorted({1, most}) if chosen.device == "cpu" else [most]
    throughput = Table(
        "Views per second, SimCLR's recipe, one view of each image of a batch",
        notes=[
            "decoded images in memory, one process; ratio: replearn to torchvision on PIL images",
            "one draw: a batch through torchvision's transforms gives all its images the same crop,",
            "the same colours and the same flip; it is not the augmentation that a paper means",
        ],
    )
    yield throughput
    for case, count in one_by_one(list(product(cases, threads)), "views"):
        torch.set_num_threads(count)
        throughput.rows.append(beside_torchvision(case, count, chosen.device, at_least, rounds))
    for case in one_by_one(cases, "operations"):
        yield operations(case, chosen.device, 2 * rounds)


def beside_torchvision(case: Case, threads: int, device: str, at_least: float, rounds: int) -> Row:
    """replearn, torchvision on each image as PIL's and as a tensor, torchvision on the whole batch."""
    images = case.images()
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    resident, transform = images.to(device), case.transform
    contestants: dict[str, Callable[[], object]] = {
        "replearn": partial(ours, resident, case.view),
        "torchvision, PIL": lambda: torch.stack([transform(picture) for picture in pictures]),
        "torchvision, tensors": lambda: torch.stack([transform(image) for image in images]),
        "torchvision, one draw": lambda: transform(resident),
    }
    timed = [partial(rate, work, case.batch, at_least, device) for work in contestants.values()]
    values = there_and_back(timed, rounds)
    return Row(
        f"{case.side}², batch {case.batch}, {threads} thread(s)",
        {name: median(found) for name, found in zip(contestants, values, strict=True)},
        "views/s",
        paired_ratio(values[0], values[1]),
    )


def ours(images: Tensor, view: View) -> Tensor:
    """One view of each image, as a training step makes it."""
    index = torch.arange(len(images), device=images.device)
    return make_view(images, view, seed=0, epoch=0, index=index, number=0, mean=MEAN, std=STD)


def operations(case: Case, device: str, repeats: int) -> Table:
    """What each operation of a view costs when it runs alone, in one thread."""
    torch.set_num_threads(1)
    images, view = case.images().to(device), case.view
    index = torch.arange(case.batch, device=device)
    u = uniforms(0, 0, index, 0, UNIFORMS)
    side = case.side
    box = partial(crop_boxes, u[:, :22], side, side, CROP, view.crop_ratio)
    crop = partial(random_resized_crop, images, box(), side, flip=u[:, 31] < FLIP)
    x = crop()
    jitter = jitter_parameters(u[:, 22:31], view)
    works: dict[str, Callable[[], object]] = {
        "random numbers": partial(uniforms, 0, 0, index, 0, UNIFORMS),
        "crop boxes": box,
        "crop, resize, flip": crop,
        "colour jitter": partial(color_jitter, x, *jitter),
        "greyscale": partial(grayscale, x, u[:, 32] < GREY),
        "normalise": partial(normalize, x, MEAN, STD),
    }
    if case.blur:
        sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * u[:, 34]
        works["blur"] = partial(gaussian_blur, x, sigma, case.kernel, u[:, 33] < BLUR)
    for work in works.values():
        work()
    # The least of several, because what else a machine does only ever adds.
    cost = {
        name: min(seconds(work, device) for _ in range(repeats)) * 1e6 / case.batch
        for name, work in works.items()
    }
    whole = sum(cost.values())
    table = Table(f"What a view costs at {side}², batch {case.batch}, one thread")
    for name, value in sorted(cost.items(), key=lambda item: -item[1]):
        table.rows.append(Row(f"{name} ({value / whole:.0%})", {"cost": value}, "µs/view"))
    return table


if __name__ == "__main__":
    main()
