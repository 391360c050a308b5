"""Resident and streamed images: the same batches, whatever is asked for, and a thread that ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from replearn.data.stored import StoredImages
from replearn.errors import UserError
from replearn.images import (
    AHEAD,
    ResidentImages,
    StreamedImages,
    _left_in_group,
    free_memory,
    place_images,
    resident_fits,
)

CPU = torch.device("cpu")
COUNT = 50


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredImages:
    path = tmp_path_factory.mktemp("images") / "train.images.npy"
    random = np.random.default_rng(0)
    np.save(path, random.integers(256, size=(COUNT, 1, 4, 4), dtype=np.uint8))
    index = random.permutation(COUNT)[: COUNT - 3].astype(np.int64)
    return StoredImages(np.load(path, mmap_mode="r"), index=index)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "images"]


@given(seed=st.integers(0, 10**6), batch_size=st.integers(1, COUNT), start=st.integers(0, 8))
def test_streamed_batches_are_the_resident_ones(
    stored: StoredImages, seed: int, batch_size: int, start: int
) -> None:
    order = torch.randperm(len(stored), generator=torch.Generator().manual_seed(seed))
    resident = list(place_images(stored, "cpu", "resident").batches(order, batch_size, start))
    streamed = list(place_images(stored, "cpu", "streamed").batches(order, batch_size, start))
    assert len(resident) == max(0, len(stored) // batch_size - start) == len(streamed)
    for (index, images), (other_index, others) in zip(resident, streamed, strict=True):
        assert torch.equal(index, other_index) and torch.equal(images, others)
        assert torch.equal(images, torch.from_numpy(stored[index.numpy()]))
    assert readers() == []


def test_chunks_are_all_images_in_order(stored: StoredImages) -> None:
    for residency in ("resident", "streamed"):
        chunks = list(place_images(stored, "cpu", residency).chunks(20))
        assert [len(chunk) for chunk in chunks] == [20, 20, 7]
        assert torch.equal(torch.cat(chunks), torch.from_numpy(stored[:]))


def test_the_size_decides_where_images_are(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, free, fits in ((50, 100, True), (51, 100, False), (0, 0, True), (1, 0, False)):
        assert resident_fits(size, free) is fits
    for free, kind in (
        (2 * stored.nbytes, ResidentImages),
        (2 * stored.nbytes - 1, StreamedImages),
    ):
        monkeypatch.setattr("replearn.images.free_memory", lambda device, free=free: free)
        assert isinstance(place_images(stored, "cpu"), kind)


def test_free_memory_is_within_the_machine_and_the_limit_of_its_group(tmp_path: Path) -> None:
    assert 0 < free_memory(CPU) < 2**50
    assert _left_in_group(tmp_path) == []
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert _left_in_group(tmp_path) == [600]
    (tmp_path / "memory.max").write_text("max\n")
    assert _left_in_group(tmp_path) == []


def test_reading_stops_when_the_consumer_does(stored: StoredImages) -> None:
    images = StreamedImages(stored, "cpu")
    batches = images.batches(torch.arange(len(stored)), 1, 0)
    next(batches)
    assert len(readers()) == 1
    batches.close()
    assert readers() == []

    def stopped() -> None:
        for _ in images.batches(torch.arange(len(stored)), 1, 0):
            raise SystemExit

    with pytest.raises(SystemExit):
        stopped()
    assert readers() == []


def test_few_batches_are_read_ahead_and_waiting_is_counted(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = StoredImages.read

    def slowly(self: StoredImages, *args: object, **kwargs: object) -> object:
        reads.append(time.perf_counter())
        time.sleep(0.02)
        return read(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(StoredImages, "read", slowly)
    images = StreamedImages(stored, "cpu")
    batches = images.batches(torch.arange(len(stored)), 4, 0)
    next(batches)
    time.sleep(0.5)
    assert len(reads) <= AHEAD + 3, "one with the consumer, the queue, one in the thread's hand"
    assert 0.01 < images.waited < 0.4
    batches.close()


def test_an_unreadable_file_is_an_error_with_its_name(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: StoredImages, *args: object, **kwargs: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(StoredImages, "read", broken)
    with pytest.raises(UserError, match=r"cannot read the training images .*Input/output error"):
        list(StreamedImages(stored, "cpu").batches(torch.arange(8), 4, 0))
    assert readers() == []
