"""Crops and flips against torchvision, one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from replearn.augment import crop_boxes, geometry, horizontal_flip, random_resized_crop
from replearn.augment.geometry import CROP_UNIFORMS

GREY_LEVEL = 1 / 255


def random_boxes(n: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Boxes of every size; the first is the whole image, the next two a corner pixel each."""
    rows = [(0, 0, height, width), (0, 0, 1, 1), (height - 1, width - 1, 1, 1)]
    while len(rows) < n:
        tall, wide = (1 + int(torch.randint(s, (), generator=generator)) for s in (height, width))
        top = int(torch.randint(height - tall + 1, (), generator=generator))
        left = int(torch.randint(width - wide + 1, (), generator=generator))
        rows.append((top, left, tall, wide))
    return torch.tensor(rows[:n])


def torchvision_crops(
    images: Tensor, boxes: Tensor, size: tuple[int, int], antialias: bool
) -> Tensor:
    return torch.stack(
        [
            tv.resized_crop(
                image,
                *box.tolist(),
                size=list(size),
                interpolation=InterpolationMode.BILINEAR,
                antialias=antialias,
            )
            for image, box in zip(images, boxes, strict=True)
        ]
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(28, 28), (17, 40), (96, 64)])
@pytest.mark.parametrize("size", [(28, 28), (16, 40), (64, 64), (5, 5)])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("by_rows", [True, False])
def test_crops_are_torchvisions(
    channels: int,
    shape: tuple[int, int],
    size: tuple[int, int],
    antialias: bool,
    by_rows: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CPU adds up rows of pixels; an accelerator multiplies matrices."""
    monkeypatch.setattr(geometry, "may_look", lambda values: by_rows)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, channels, *shape, generator=generator)
    boxes = random_boxes(40, *shape, generator)
    result = random_resized_crop(images, boxes, size, antialias=antialias)
    expected = torchvision_crops(images, boxes, size, antialias)
    assert torch.allclose(result, expected, rtol=0, atol=0.002 * GREY_LEVEL)


def test_double_precision_crops_are_exact() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(30, 3, 33, 20, generator=generator, dtype=torch.float64)
    boxes = random_boxes(30, 33, 20, generator)
    expected = torchvision_crops(images, boxes, (24, 24), antialias=True)
    assert torch.allclose(random_resized_crop(images, boxes, 24), expected, rtol=0, atol=1e-12)


def test_half_precision_crops_lose_less_than_a_grey_level() -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(20, 3, 224, 200, generator=generator)
    boxes = random_boxes(20, 224, 200, generator)
    result = random_resized_crop(images.half(), boxes, 32)
    assert result.dtype == torch.float16
    expected = random_resized_crop(images, boxes, 32)
    assert torch.allclose(result.float(), expected, rtol=0, atol=GREY_LEVEL)


def test_bytes_stand_for_zero_to_one() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (20, 3, 30, 30), generator=generator, dtype=torch.uint8)
    boxes = random_boxes(20, 30, 30, generator)
    result = random_resized_crop(images, boxes, 20)
    assert result.dtype == torch.float32
    expected = random_resized_crop(images.float() / 255, boxes, 20)
    assert torch.allclose(result, expected, rtol=0, atol=1e-6)


def test_the_whole_image_at_its_own_size_is_itself() -> None:
    images = torch.rand(4, 3, 12, 9, generator=torch.Generator().manual_seed(4))
    boxes = torch.tensor([0, 0, 12, 9]).expand(4, 4)
    assert torch.equal(random_resized_crop(images, boxes, (12, 9)), images)


def test_folded_flip_mirrors_the_crop() -> None:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(24, 3, 21, 32, generator=generator)
    boxes = random_boxes(24, 21, 32, generator)
    flip = torch.rand(24, generator=generator) < 0.5
    result = random_resized_crop(images, boxes, (16, 15), flip=flip)
    plain = random_resized_crop(images, boxes, (16, 15))
    assert torch.allclose(result, horizontal_flip(plain, flip), rtol=0, atol=1e-6)


def test_autocast_does_not_touch_the_precision() -> None:
    generator = torch.Generator().manual_seed(6)
    images = torch.rand(4, 3, 32, 32, generator=generator)
    boxes = random_boxes(4, 32, 32, generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = random_resized_crop(images, boxes, 32)
    assert torch.equal(result, random_resized_crop(images, boxes, 32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_flip_is_torchvisions(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(7)
    images = (torch.rand(16, 3, 7, 10, generator=generator) * 255).to(dtype)
    mask = torch.rand(16, generator=generator) < 0.5
    expected = [
        tv.horizontal_flip(image) if flipped else image
        for image, flipped in zip(images, mask, strict=True)
    ]
    assert torch.equal(horizontal_flip(images, mask), torch.stack(expected))


BOXES = [
    pytest.param(32, 32, (0.08, 1.0), (3 / 4, 4 / 3), id="square"),
    pytest.param(20, 60, (0.5, 1.0), (3 / 4, 4 / 3), id="wide, often the fallback"),
    pytest.param(48, 24, (0.2, 0.6), (0.5, 0.9), id="tall, odd ratios"),
]


@pytest.mark.parametrize(("height", "width", "scale", "ratio"), BOXES)
def test_boxes_are_distributed_as_torchvisions(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    n = 4000
    u = torch.rand(n, CROP_UNIFORMS, generator=torch.Generator().manual_seed(8))
    boxes = crop_boxes(u, height, width, scale, ratio)
    image = torch.empty(1, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        reference = torch.tensor(
            [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)]
        )
    area, theirs = boxes[:, 2] * boxes[:, 3], reference[:, 2] * reference[:, 3]
    columns = [*zip(boxes.unbind(1), reference.unbind(1), strict=True), (area, theirs)]
    for ours, expected in columns:
        assert ks_2samp(ours.numpy(), expected.numpy()).pvalue > 1e-3


def test_boxes_lie_in_the_image_and_are_placed_uniformly() -> None:
    u = torch.rand(20000, CROP_UNIFORMS, generator=torch.Generator().manual_seed(10))
    boxes = crop_boxes(u, 8, 8, (0.2, 0.3), (0.99, 1.01))
    assert boxes.dtype == torch.int64
    assert bool((boxes[:, :2] >= 0).all())
    assert bool((boxes[:, :2] + boxes[:, 2:] <= 8).all())
    of_four = boxes[(boxes[:, 2] == 4) & (boxes[:, 3] == 4)]
    places = torch.bincount(of_four[:, 0] * 5 + of_four[:, 1], minlength=25)
    assert len(places) == 25
    assert chisquare(places.numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10)), (30, 30, (0, 0, 30, 30))],
)
def test_boxes_fall_back_to_the_centre(
    height: int, width: int, expected: tuple[int, int, int, int]
) -> None:
    """Boxes larger than any image never fit, so each comes from torchvision's fallback."""
    u = torch.rand(5, CROP_UNIFORMS, generator=torch.Generator().manual_seed(11))
    scale, ratio = (30.0, 40.0), (3 / 4, 4 / 3)
    boxes = crop_boxes(u, height, width, scale, ratio)
    assert boxes.tolist() == [list(expected)] * 5
    image = torch.empty(1, height, width)
    assert RandomResizedCrop.get_params(image, list(scale), list(ratio)) == expected


def test_boxes_follow_the_numbers() -> None:
    """The first candidate at a quarter of the area and ratio 1, placed at the far end."""
    u = torch.zeros(1, CROP_UNIFORMS)
    u[0, 0] = 0.25
    u[0, 10] = 0.5
    u[0, -2:] = torch.tensor([1 - 2**-24, 0.0])
    boxes = crop_boxes(u, 16, 16, (0.0, 1.0), (1 / math.e, math.e))
    assert boxes.tolist() == [[8, 0, 8, 8]]


IMAGES = torch.zeros(2, 3, 8, 8)
WHOLE = torch.tensor([[0, 0, 8, 8]] * 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_resized_crop(IMAGES[0], WHOLE, 4), r"images must be \[n, c, h, w\]"),
        (lambda: random_resized_crop(IMAGES.long(), WHOLE, 4), "uint8 or floating"),
        (lambda: random_resized_crop(IMAGES, WHOLE[:1], 4), r"boxes must be \[2, 4\]"),
        (lambda: random_resized_crop(IMAGES, WHOLE, 0), "size must be"),
        (lambda: random_resized_crop(IMAGES, WHOLE, (4, 4, 4)), "size must be"),
        (
            lambda: random_resized_crop(IMAGES, WHOLE, 4, flip=torch.zeros(2)),
            r"flip must be bool \[2\]",
        ),
        (lambda: random_resized_crop(IMAGES[:, :0], WHOLE, 4), "must have pixels"),
        (lambda: horizontal_flip(IMAGES, torch.zeros(3, dtype=torch.bool)), "mask must be bool"),
        (lambda: crop_boxes(torch.zeros(2, 3), 8, 8, (0.1, 1), (1, 1)), r"u must be \[n, 22\]"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_empty_batch_stays_empty() -> None:
    boxes = crop_boxes(torch.zeros(0, CROP_UNIFORMS), 8, 8, (0.1, 1), (1, 1))
    assert random_resized_crop(IMAGES[:0], boxes, 4).shape == (0, 3, 4, 4)
