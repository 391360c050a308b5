"""Images of a run: wherever they are kept, the same batches in the same order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from replearn import images
from replearn.data.stored import StoredImages
from replearn.errors import UserError
from replearn.images import (
    ResidentImages,
    StreamedImages,
    TrainingImages,
    chunk_size,
    place_images,
    resident_fits,
)
from replearn.progress import Progress
from tests import other_device

COUNT = 103
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 4, 5), dtype=np.uint8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredImages:
    path = tmp_path_factory.mktemp("images") / "train.images.npy"
    np.save(path, PIXELS)
    return StoredImages.open(path)


def both(stored: StoredImages) -> Iterator[TrainingImages]:
    yield ResidentImages(torch.from_numpy(stored.read()))
    for ahead in (1, 3):
        yield StreamedImages(stored, "cpu", ahead=ahead)


@given(
    order=st.permutations(range(COUNT)).map(lambda rows: rows[: len(rows) - rows[0] // 2]),
    batch_size=st.integers(1, 40),
    start=st.integers(0, 5),
)
def test_batches_are_those_of_the_order(
    stored: StoredImages, order: list[int], batch_size: int, start: int
) -> None:
    rows = torch.tensor(order)
    whole = len(order) // batch_size * batch_size
    expected = rows[:whole].split(batch_size)[start:] if whole else ()
    for source in both(stored):
        found = list(source.batches(rows, batch_size, start))
        assert len(found) == len(expected)
        for (index, batch), wanted in zip(found, expected, strict=True):
            assert torch.equal(index, wanted)
            assert torch.equal(batch, torch.from_numpy(PIXELS)[wanted])


def test_chunks_are_the_first_images_in_order(stored: StoredImages) -> None:
    for source in both(stored):
        assert source.shape == (COUNT, 3, 4, 5) and len(source) == COUNT
        for count, sizes in ((None, [50, 50, 3]), (60, [50, 10]), (1000, [50, 50, 3])):
            chunks = list(source.chunks(50, count))
            assert [len(chunk) for chunk in chunks] == sizes
            np.testing.assert_array_equal(torch.cat(chunks).numpy(), PIXELS[:count])


def test_a_batch_is_the_consumers_own(stored: StoredImages) -> None:
    """Kept or changed, a batch has nothing to do with those that follow."""
    for source in both(stored):
        kept = []
        for _, batch in source.batches(torch.arange(COUNT), 10):
            kept.append(batch.clone())
            batch.zero_()
        np.testing.assert_array_equal(torch.cat(kept).numpy(), PIXELS[:100])


def reading() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_no_thread_outlives_a_loop_that_stops(
    stored: StoredImages, error: type[BaseException]
) -> None:
    source = StreamedImages(stored, "cpu")

    def loop() -> None:
        for number, _ in enumerate(source.batches(torch.arange(COUNT), 10)):
            assert reading() != []
            if number == 2:
                raise error

    with pytest.raises(error):
        loop()
    assert reading() == []
    assert len(list(source.batches(torch.arange(COUNT), 10))) == 10


def test_no_more_is_read_than_a_few_batches_ahead(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = StoredImages.read

    def counted(self: StoredImages, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
        read.append(len(rows))
        return plain(self, rows, out)

    monkeypatch.setattr(StoredImages, "read", counted)
    batches = StreamedImages(stored, "cpu", ahead=3).batches(torch.arange(COUNT), 5, start=4)
    next(batches)
    deadline = time.monotonic() + 60
    while len(read) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.02)
    assert read == [5] * 4
    batches.close()  # type: ignore[attr-defined]


def test_a_file_that_breaks_off_is_told_to_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "train.images.npy"
    np.save(path, PIXELS)
    source = StreamedImages(StoredImages.open(path), "cpu")
    path.write_bytes(path.read_bytes()[: -30 * 60])
    seen = []
    with pytest.raises(UserError, match="cut short") as caught:
        seen.extend(index for index, _ in source.batches(torch.arange(COUNT), 10))
    assert caught.value.where == str(path)
    assert len(seen) == 7, "what came before the break is handed out"
    assert reading() == []


def test_the_wait_for_slow_files_is_accounted(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = StoredImages.read

    def slow(self: StoredImages, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        return plain(self, rows, out)

    monkeypatch.setattr(StoredImages, "read", slow)
    source = StreamedImages(stored, "cpu", ahead=1)
    started = time.monotonic()
    for _ in source.batches(torch.arange(COUNT), 20):
        pass
    assert 5 * 0.05 <= source.waited <= time.monotonic() - started


def test_what_fits_is_decided_at_the_byte() -> None:
    assert resident_fits(50, 100, 2)
    assert not resident_fits(51, 100, 2)
    assert not resident_fits(50, 99, 2)
    assert resident_fits(0, 0, 2)
    # Larger than what floats count exactly.
    assert resident_fits(2**60, 2**61, 2) and not resident_fits(2**60 + 1, 2**61, 2)


@pytest.mark.parametrize("jobs", [1, 3])
def test_size_decides_where_images_are_kept(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    enough = stored.nbytes * images.SHARES["cpu"] * jobs
    for free, expected in ((enough, ResidentImages), (enough - 1, StreamedImages)):
        monkeypatch.setattr(images, "free_bytes", lambda _, free=free: free)
        source = place_images(stored, "cpu", jobs=jobs)
        assert type(source) is expected
        np.testing.assert_array_equal(torch.cat(list(source.chunks(40))).numpy(), PIXELS)
        assert place_images(stored, "cpu", "streamed").residency == "streamed"
        assert place_images(stored, "cpu", "resident").residency == "resident"


def test_a_device_with_memory_of_its_own_is_filled_and_tells_how_far_it_is(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "free_bytes", lambda _: stored.nbytes)
    at_once = {"interval": 0.0, "patience": 0.0}
    monkeypatch.setattr(images, "Progress", lambda *of, **how: Progress(*of, **how | at_once))
    monkeypatch.setattr(images, "CHUNK_IMAGES", 40)
    with other_device.OtherDevice():
        source = place_images(stored, other_device.NAME, "resident")
        np.testing.assert_array_equal(torch.cat(list(source.chunks(40))).cpu().numpy(), PIXELS)
    told = capsys.readouterr().err
    assert "images to meta" in told and f"40/{len(PIXELS)}" in told.replace(",", "")


def test_insisting_on_what_cannot_be_is_refused(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "free_bytes", lambda _: stored.nbytes - 1)
    with pytest.raises(UserError, match="are free") as caught:
        place_images(stored, "cpu", "resident")
    assert caught.value.where == "training.images"


def test_chunks_shrink_for_large_images() -> None:
    assert chunk_size((60_000, 1, 28, 28)) == 1024
    assert chunk_size((60_000, 3, 96, 96)) == 1024
    assert chunk_size((60_000, 3, 224, 224)) == 222
    assert chunk_size((10, 3, 4096, 4096)) == 1
