"""Batches of an epoch: made in the loop or ahead of it by a thread, they are the same."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest
import torch

from replearn import batches
from replearn.batches import Augmentation, epoch_batches
from replearn.errors import UserError
from replearn.images import ResidentImages
from replearn.methods.base import Batch
from tests.methods.test_contract import run_config
from tests.test_engine import data

ORDER = torch.randperm(48, generator=torch.Generator().manual_seed(1))


def epoch(method: str, *, ahead: bool, start: int = 0) -> Generator[Batch, None, None]:
    config = run_config(method)
    return epoch_batches(
        data(),
        ORDER,
        8,
        Augmentation(config.views, 0),
        epoch=1,
        epochs=4,
        start=start,
        needs=frozenset({"labels", "tokens"}),
        ahead=ahead,
    )


@pytest.mark.parametrize("method", ["simclr", "dino", "clip"])
@pytest.mark.parametrize("start", [0, 2])
def test_batches_made_ahead_are_the_same_bits(method: str, start: int) -> None:
    ways = [list(epoch(method, ahead=ahead, start=start)) for ahead in (True, False)]
    assert [len(way) for way in ways] == [6 - start] * 2
    for ahead, plain in zip(*ways, strict=True):
        for one, other in zip(ahead.views, plain.views, strict=True):
            assert torch.equal(one, other)
        for name in ("index", "draws", "labels", "tokens", "caption"):
            assert torch.equal(getattr(ahead, name), getattr(plain, name))
        assert ahead.progress == plain.progress


def test_progress_goes_on_from_the_epochs_before() -> None:
    assert [b.progress for b in epoch("simclr", ahead=True)] == [(6 + n) / 24 for n in range(6)]


def test_one_batch_is_made_ahead_in_a_thread_with_as_many_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as the loop has for its operations, because sums round by how they are cut into parts."""
    made: list[tuple[int, int]] = []
    original = batches.make_batch

    def watched(*arguments: object, **named: object) -> Batch:
        made.append((threading.get_ident(), torch.get_num_threads()))
        return original(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(batches, "make_batch", watched)
    before, threads = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(3)
    try:
        found = epoch("simclr", ahead=True)
        next(found)
        next(found)
        assert len(made) <= 3, "the two that were asked for and one more"
        found.close()
    finally:
        torch.set_num_threads(before)
    assert {count for _, count in made} == {3}
    assert threading.get_ident() not in {thread for thread, _ in made}
    assert threading.active_count() == threads, "no thread outlives the epoch"


def test_images_that_cannot_be_read_end_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ResidentImages, *arguments: object) -> Generator[object, None, None]:
        yield ORDER[:8], self.images[ORDER[:8]]
        raise UserError("gone")

    monkeypatch.setattr(ResidentImages, "batches", broken)
    with pytest.raises(UserError, match="gone"):
        list(epoch("simclr", ahead=True))
