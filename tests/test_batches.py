"""Batches of an epoch: whose views they hold does not depend on how many are made at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from replearn import batches
from replearn.augment import make_view
from replearn.batches import Augmentation, TrainingData, epoch_batches
from replearn.images import ResidentImages
from replearn.methods.base import Batch
from replearn.views import View

COUNT, SIZE, CLASSES = 45, 4, 5
VIEWS = (
    View(crop_scale=(0.2, 1.0), flip=0.5, brightness=0.4, contrast=0.4, hue=0.1, grayscale=0.2),
    View(crop_scale=(0.2, 1.0), flip=0.5, brightness=0.4, contrast=0.4, hue=0.1, grayscale=0.2),
    View(size=8, crop_scale=(0.1, 0.4), blur=0.5, solarize=0.2),
)
NEEDS = frozenset({"labels", "tokens"})


def training_data(tokens: Tensor) -> TrainingData:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 3, 16, 16), generator=random, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (COUNT,), generator=random)
    return TrainingData(ResidentImages(images), (0.5,) * 3, (0.25,) * 3, labels, tokens)


PROMPTS = torch.arange(CLASSES * 3 * 6).view(CLASSES, 3, 6)
ORDER = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))


def made(data: TrainingData, *, start: int = 0, needs: frozenset[str] = NEEDS) -> list[Batch]:
    augmentation = Augmentation(VIEWS, seed=3)
    found = epoch_batches(data, ORDER, SIZE, augmentation, epoch=2, needs=needs, start=start)
    return list(found)


@pytest.mark.parametrize("together", [1, 2, 4, 11, 100])
@pytest.mark.parametrize("drawn", [1, 20, 1000])
def test_each_sample_has_its_own_views(
    together: int, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MADE_PIXELS", together * SIZE * len(VIEWS) * 16 * 16)
    monkeypatch.setattr(batches, "_DRAWN_LINES", drawn * len(VIEWS) * 32)
    data = training_data(PROMPTS)
    found = made(data)
    assert len(found) == COUNT // SIZE
    images = torch.cat(list(data.images.chunks(COUNT)))
    for number, batch in enumerate(found):
        rows = ORDER[number * SIZE : (number + 1) * SIZE]
        assert torch.equal(batch.index, rows)
        assert data.labels is not None and batch.labels is not None
        assert torch.equal(batch.labels, data.labels[rows])
        for place, (view, values) in enumerate(zip(VIEWS, batch.views, strict=True)):
            alone = make_view(
                images[rows],
                view,
                seed=3,
                epoch=2,
                index=rows,
                number=place,
                mean=data.mean,
                std=data.std,
            )
            assert torch.equal(values, alone)
            assert values.is_contiguous()


@pytest.mark.parametrize("start", [0, 1, 3, 4, 10, 11])
def test_an_interrupted_epoch_goes_on_with_the_same_batches(
    start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MADE_PIXELS", 4 * SIZE * len(VIEWS) * 16 * 16)
    data = training_data(PROMPTS)
    whole, rest = made(data)[start:], made(data, start=start)
    assert len(rest) == len(whole) == 11 - start
    for expected, batch in zip(whole, rest, strict=True):
        assert torch.equal(batch.draws, expected.draws)
        assert torch.equal(batch.index, expected.index)
        assert all(map(torch.equal, batch.views, expected.views))


def test_draws_differ_between_samples_and_lie_between_0_and_1() -> None:
    draws = torch.cat([batch.draws for batch in made(training_data(PROMPTS))])
    assert draws.shape == (44, 2)
    assert len(draws.unique()) == 88
    assert 0 <= float(draws.min()) <= float(draws.max()) < 1


def test_a_class_draws_one_template_for_an_epoch() -> None:
    data = training_data(PROMPTS)
    shown: dict[int, set[tuple[int, ...]]] = {}
    for batch in made(data):
        assert batch.tokens is not None and batch.caption is not None and batch.labels is not None
        for label, row in zip(batch.labels.tolist(), batch.caption.tolist(), strict=True):
            shown.setdefault(label, set()).add(tuple(batch.tokens[row].tolist()))
    assert set(shown) == set(range(CLASSES))
    for label, captions in shown.items():
        (caption,) = captions
        assert list(caption) in PROMPTS[label].tolist()


def test_captions_of_their_own_belong_to_their_samples() -> None:
    data = training_data(torch.arange(COUNT * 6).view(COUNT, 6))
    for batch in made(data):
        assert data.tokens is not None
        assert batch.tokens is not None and batch.caption is not None
        assert torch.equal(batch.tokens[batch.caption], data.tokens[batch.index])


def test_what_a_method_does_not_need_is_absent() -> None:
    for batch in made(training_data(PROMPTS), needs=frozenset()):
        assert batch.labels is None
        assert batch.tokens is None
