"""Whole views: what they are made of, and that a sample's view is its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from replearn.augment import (
    UNIFORMS,
    DrawnViews,
    clean,
    color_jitter,
    crop_boxes,
    draw,
    drawn,
    gaussian_blur,
    grayscale,
    horizontal_flip,
    jitter_parameters,
    make_view,
    normalize,
    pixels,
    random_resized_crop,
    solarize,
)
from replearn.randomness import uniforms
from replearn.views import View

EVERYTHING = View(
    crop_scale=(0.08, 1.0),
    flip=0.5,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    jitter_probability=0.8,
    grayscale=0.2,
    blur=0.5,
    solarize=0.2,
)
N = 48


def byte_images(channels: int, height: int = 32, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(256, (N, channels, height, width), generator=generator, dtype=torch.uint8)


def view_of(images: Tensor, view: View, index: Tensor, number: int = 0, epoch: int = 3) -> Tensor:
    channels = images.shape[1]
    return make_view(
        images,
        view,
        seed=7,
        epoch=epoch,
        index=index,
        number=number,
        mean=[0.4] * channels,
        std=[0.25] * channels,
    )


INDEX = torch.arange(N) * 5 + 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("most", [1, N * 32 * 32 // 3, 2 * N * 32 * 32 // 3, 2**30])
def test_views_drawn_together_are_those_made_one_by_one(
    channels: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replearn.augment.drawn._TOGETHER", most)
    small = EVERYTHING.model_copy(update={"size": 16})
    views = [EVERYTHING, EVERYTHING, EVERYTHING, small, View(), small]
    images = byte_images(channels)
    mean, std = [0.4] * channels, [0.25] * channels
    drawn = DrawnViews(
        views,
        seed=7,
        epoch=3,
        index=INDEX,
        batch_size=N // 3,
        shape=images.shape[1:],
        mean=mean,
        std=std,
    )
    for batch in range(3):
        rows = slice(batch * N // 3, (batch + 1) * N // 3)
        together = drawn.make(batch, images[rows])
        assert len(together) == len(views)
        for number, (view, made) in enumerate(zip(views, together, strict=True)):
            assert torch.equal(made, view_of(images[rows], view, INDEX[rows], number))
            assert made.is_contiguous()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("side", [28, 32])
def test_a_sample_looks_the_same_in_any_batch(channels: int, size: int | None, side: int) -> None:
    """Bit for bit on a CPU, where sides are multiples of 4."""
    images = byte_images(channels, side, side)
    view = EVERYTHING.model_copy(update={"size": size})
    together = view_of(images, view, INDEX)
    for count in (1, 2, 7, 16, 47):
        rows = torch.randperm(N, generator=torch.Generator().manual_seed(count))[:count]
        assert torch.equal(view_of(images[rows], view, INDEX[rows]), together[rows])


def test_a_sample_looks_almost_the_same_in_any_batch_at_odd_sizes() -> None:
    images = byte_images(3, 13, 11)
    together = view_of(images, EVERYTHING, INDEX)
    for row in range(N):
        alone = view_of(images[row : row + 1], EVERYTHING, INDEX[row : row + 1])
        assert torch.allclose(alone[0], together[row], rtol=0, atol=1e-5)


@given(st.permutations(range(N)), st.integers(1, N), st.sampled_from([1, 3]))
def test_permuting_the_batch_permutes_the_views(
    order: list[int], count: int, channels: int
) -> None:
    images = byte_images(channels, 12, 12)
    rows = torch.tensor(order[:count])
    together = view_of(images, EVERYTHING, INDEX)
    assert torch.equal(view_of(images[rows], EVERYTHING, INDEX[rows]), together[rows])


def test_views_differ_by_number_epoch_and_sample() -> None:
    image = byte_images(3)[:1].expand(N, -1, -1, -1)
    first = view_of(image, EVERYTHING, INDEX)
    assert not torch.allclose(first, view_of(image, EVERYTHING, INDEX, number=1))
    assert not torch.allclose(first, view_of(image, EVERYTHING, INDEX, epoch=4))
    assert len(torch.unique(first.flatten(1), dim=0)) == N


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_is_the_operations_one_after_the_other(channels: int) -> None:
    """The documented order, with parameters taken apart by hand."""
    images = byte_images(channels, 40, 36)
    view = EVERYTHING.model_copy(update={"size": 24, "blur_kernel": 5})
    u = uniforms(7, 3, INDEX, 0, UNIFORMS)
    flip, grey, blur, width, sun = u[:, 31:36].unbind(1)
    x = random_resized_crop(images, crop_boxes(u[:, :22], 40, 36, (0.08, 1.0), (3 / 4, 4 / 3)), 24)
    x = horizontal_flip(x, flip < 0.5)
    x = color_jitter(x, *jitter_parameters(u[:, 22:31], view))
    x = grayscale(x, grey < 0.2)
    x = gaussian_blur(x, 0.1 + 1.9 * width, 5, blur < 0.5)
    x = solarize(x, 0.5, sun < 0.2)
    drawn = pixels(images, view, seed=7, epoch=3, index=INDEX, number=0)
    # A pixel within rounding of the threshold may be solarised in one and not in the other.
    assert float(((drawn - x).abs() > 1e-5).float().mean()) < 1e-3
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    expected = normalize(drawn, [0.4] * channels, [0.25] * channels)
    assert torch.equal(view_of(images, view, INDEX), expected)


def test_switching_an_operation_off_leaves_the_others_alone() -> None:
    images = byte_images(3)
    bare = View(crop_scale=(0.2, 0.9), flip=0.5)
    coloured = bare.model_copy(update={"grayscale": 0.5})
    plain = pixels(images, bare, seed=0, epoch=0, index=INDEX, number=0)
    grey = pixels(images, coloured, seed=0, epoch=0, index=INDEX, number=0)
    same = (plain == grey).flatten(1).all(1)
    assert 0 < int(same.sum()) < N


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_without_operations_is_the_clean_image(channels: int) -> None:
    images = byte_images(channels)
    mean, std = [0.4] * channels, [0.25] * channels
    untouched = clean(images, None, mean, std)
    expected = tv.normalize(images.float() / 255, mean, std)
    assert torch.allclose(untouched, expected, rtol=1e-6, atol=1e-6)
    assert torch.allclose(view_of(images, View(), INDEX), untouched, rtol=1e-6, atol=1e-6)
    assert torch.equal(clean(images, 32, mean, std), untouched)
    smaller = tv.normalize(tv.resize(images.float() / 255, [20, 20], antialias=True), mean, std)
    assert torch.allclose(clean(images, 20, mean, std), smaller, rtol=0, atol=1e-5)
    assert torch.allclose(view_of(images, View(size=20), INDEX), smaller, rtol=0, atol=1e-5)


def test_flips_without_a_crop() -> None:
    images = byte_images(1, 10, 14)
    drawn = pixels(images, View(flip=0.5), seed=0, epoch=0, index=INDEX, number=0)
    plain = images.float() / 255
    flipped = torch.isclose(drawn, plain.flip(-1), atol=1e-6).flatten(1).all(1)
    assert torch.allclose(drawn[~flipped], plain[~flipped], atol=1e-6)
    assert 0 < int(flipped.sum()) < N


def test_probabilities_are_shares() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).expand(4000, -1, -1, -1)
    view = View(flip=0.3, solarize=0.6, solarize_threshold=0.0)
    drawn = pixels(image, view, seed=0, epoch=0, index=torch.arange(4000), number=0)
    inverted = drawn[:, 0, 0, 0] > 0.5
    rising = drawn[:, 0, 0, 1] > drawn[:, 0, 0, 0]
    assert abs(float(inverted.float().mean()) - 0.6) < 4 * (0.6 * 0.4 / 4000) ** 0.5
    assert abs(float((rising == inverted).float().mean()) - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_the_result_is_contiguous_and_of_the_asked_type() -> None:
    images = byte_images(3)
    half = make_view(
        images,
        EVERYTHING,
        seed=7,
        epoch=3,
        index=INDEX,
        number=0,
        mean=[0.4] * 3,
        std=[0.25] * 3,
        dtype=torch.bfloat16,
    )
    full = view_of(images, EVERYTHING, INDEX)
    assert full.is_contiguous()
    assert full.dtype == torch.float32
    assert torch.equal(half, full.to(torch.bfloat16))
    assert clean(images, None, [0.4] * 3, [0.25] * 3, torch.float16).dtype == torch.float16


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_is_one_graph(channels: int) -> None:
    """A look at a value (a branch, `.item()`) would break the graph, which `fullgraph` forbids."""
    images = byte_images(channels)
    u = uniforms(7, 3, INDEX, 0, UNIFORMS)
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(images, EVERYTHING, u), draw(images, EVERYTHING, u), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_compiled_views_are_the_same(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile(drawn._drawn_and_made, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(drawn, "_compiled", lambda: compiled)
    images, views = byte_images(channels), (EVERYTHING, EVERYTHING, View(crop_scale=(0.3, 1.0)))
    plain, fused = (
        DrawnViews(
            views,
            seed=7,
            epoch=3,
            index=INDEX,
            batch_size=N // 3,
            shape=images.shape[1:],
            mean=[0.4] * channels,
            std=[0.25] * channels,
            compiled=way,
        )
        for way in (False, True)
    )
    for batch, own in enumerate(images.split(N // 3)):
        for one, other in zip(plain.make(batch, own), fused.make(batch, own), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=1e-5)


def test_each_size_of_batch_is_compiled_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batches of an epoch must not make the others' graph one of any size."""
    symbolic = []

    def counting(graph: torch.fx.GraphModule, inputs: list[object]) -> Callable[..., object]:
        symbolic.append(any(isinstance(entry, torch.SymInt) for entry in inputs))
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    monkeypatch.setattr(drawn, "_compiled", drawn._compiled.__wrapped__)
    images, view = byte_images(3), View(flip=0.5)
    for size in (N, N // 3, N):
        made = DrawnViews(
            (view,),
            seed=0,
            epoch=0,
            index=INDEX[:size],
            batch_size=size,
            shape=images.shape[1:],
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            compiled=True,
        )
        made.make(0, images[:size])
    assert symbolic == [False, False]


def test_wrong_arguments() -> None:
    images = byte_images(3)
    with pytest.raises(ValueError, match=r"index must be \[48\]"):
        view_of(images, EVERYTHING, INDEX[:3])
    with pytest.raises(ValueError, match=r"images must be \[n, c, h, w\]"):
        view_of(images[0], EVERYTHING, INDEX)
    with pytest.raises(ValueError, match=r"u must be \[48, 36\]"):
        draw(images, EVERYTHING, torch.zeros(N, 3))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        view_of(images[:, :2], EVERYTHING, INDEX)
    with pytest.raises(ValueError, match="3 channels need as many"):
        make_view(images, View(), seed=0, epoch=0, index=INDEX, number=0, mean=[0.5], std=[0.5])
    with pytest.raises(ValueError, match="3 channels need as many"):
        clean(images, None, [0.5], [0.5])
