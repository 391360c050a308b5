"""Images on disk, read as if they were an array in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replearn.data.stored import StoredImages


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files of images."""
    folder = tmp_path_factory.mktemp("stored")
    random = np.random.default_rng(0)
    paths = []
    for number, count in enumerate((7, 1, 5)):
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], random.integers(256, size=(count, 3, 4, 4), dtype=np.uint8))
    return paths


def opened(path: Path) -> StoredImages:
    return StoredImages(np.load(path, mmap_mode="r"))


@given(data=st.data())
def test_it_reads_what_an_array_would(files: list[Path], data: st.DataObject) -> None:
    """Several files, a choice of rows, a choice of those: the same as in memory."""
    whole = np.concatenate([np.load(path) for path in files])
    stored = opened(files[0]).followed_by(opened(files[1])).followed_by(opened(files[2]))
    positions = st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=20)
    rows = np.array(data.draw(positions), dtype=np.int64)
    np.testing.assert_array_equal(stored[rows], whole[rows])
    taken = stored.take(rows)
    assert taken.shape == whole[rows].shape and len(taken) == len(rows)
    assert taken.nbytes == whole[rows].nbytes
    again = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), dtype=np.int64)
    np.testing.assert_array_equal(taken[again], whole[rows][again])
    np.testing.assert_array_equal(np.asarray(taken), whole[rows])
    start = data.draw(st.integers(0, len(rows)))
    np.testing.assert_array_equal(taken[start : start + 4], whole[rows][start : start + 4])
    np.testing.assert_array_equal(taken[-1], whole[rows][-1])
    both = taken.followed_by(opened(files[1]))
    np.testing.assert_array_equal(both[:], np.concatenate([whole[rows], np.load(files[1])]))


def test_it_can_be_walked_through_and_ends(files: list[Path]) -> None:
    stored = opened(files[0])
    assert [image.tobytes() for image in stored] == [i.tobytes() for i in np.load(files[0])]
    with pytest.raises(IndexError):
        stored[7]


def test_it_reads_into_memory_that_is_there(files: list[Path]) -> None:
    out = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    assert opened(files[0]).read(np.array([6, 0]), out=out) is out
    np.testing.assert_array_equal(out, np.load(files[0])[[6, 0]])
    assert opened(files[0]).place.endswith("0.npy")
