"""Rows on disk: what is read is what lies there, and no more than was asked for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replearn.data.stored import StoredImages
from replearn.errors import UserError

from .conftest import Prepare, pixels


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredImages, np.ndarray]:
    """Two files read as one, and what lies in them."""
    root = tmp_path_factory.mktemp("stored")
    arrays = [pixels(1, (37, 2, 3, 5)), pixels(2, (11, 2, 3, 5))]
    for number, array in enumerate(arrays):
        np.save(root / f"{number}.npy", array)
    parts = [StoredImages.open(root / f"{number}.npy") for number in range(2)]
    return StoredImages.joined(parts), np.concatenate(arrays)


@given(rows=st.lists(st.integers(0, 47), max_size=100))
def test_any_rows_in_any_order(two: tuple[StoredImages, np.ndarray], rows: list[int]) -> None:
    stored, expected = two
    wanted = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(stored.read(wanted), expected[wanted])
    taken = stored.take(wanted)
    assert taken.shape == (len(rows), 2, 3, 5)
    np.testing.assert_array_equal(taken.read(), expected[wanted])
    np.testing.assert_array_equal(taken.read(slice(3, 9)), expected[wanted][3:9])


def test_it_is_a_sequence_of_images(two: tuple[StoredImages, np.ndarray]) -> None:
    stored, expected = two
    assert len(stored) == 48 and stored.nbytes == expected.nbytes
    np.testing.assert_array_equal(stored[40], expected[40])
    np.testing.assert_array_equal(list(stored), expected)
    with pytest.raises(IndexError):
        stored[48]


def test_chunks_cover_everything_once(two: tuple[StoredImages, np.ndarray]) -> None:
    stored, expected = two
    chunks = list(stored.chunks(20))
    assert [len(chunk) for chunk in chunks] == [20, 20, 8]
    np.testing.assert_array_equal(np.concatenate(chunks), expected)


def test_neighbours_beyond_one_system_call(tmp_path: Path) -> None:
    images = pixels(3, (3000, 1, 2, 2))
    np.save(tmp_path / "a.npy", images)
    np.testing.assert_array_equal(StoredImages.open(tmp_path / "a.npy").read(), images)


def test_reading_into_given_memory(two: tuple[StoredImages, np.ndarray]) -> None:
    stored, expected = two
    out = np.zeros((4, 2, 3, 5), np.uint8)
    rows = np.array([40, 2, 2, 36])
    assert stored.read(rows, out=out) is out
    np.testing.assert_array_equal(out, expected[rows])


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels(1, (50, 1, 8, 8)))
    stored = StoredImages.open(tmp_path / "a.npy")
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[:-10])
    np.testing.assert_array_equal(stored[48], pixels(1, (50, 1, 8, 8))[48])
    for rows in (np.array([49]), np.arange(50)):
        with pytest.raises(UserError, match="cut short") as caught:
            stored.read(rows)
        assert caught.value.where == str(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    with pytest.raises(UserError, match="cannot read the images"):
        stored.read()


def test_a_part_takes_no_memory_for_its_images(prepared: Prepare) -> None:
    data = prepared(source="digits", size=64)
    tracemalloc.start()
    try:
        part = data.part("train")
        chosen = part.take(np.arange(0, len(part), 100))
        assert tracemalloc.get_traced_memory()[1] < part.images.nbytes / 20
        assert chosen.images.read().nbytes == 13 * 64 * 64
    finally:
        tracemalloc.stop()
    stored = np.load(data.path / "train.images.npy")
    np.testing.assert_array_equal(chosen.images.read(), stored[chosen.index])
