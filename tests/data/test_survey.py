"""A look at all headers: each image once, every problem counted."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import pytest

from replearn.data import survey as module
from replearn.data.images import Header
from replearn.data.survey import Picture, on_disk, survey
from replearn.errors import UserError

from .conftest import save


def test_each_kind_of_header_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    pictures = [on_disk(save(tmp_path / f"{n}.png", n, (8 + n % 2, 9, 3))) for n in range(20)]
    pictures.append(on_disk(save(tmp_path / "grey.png", 1, (8, 9))))
    assert survey("x", pictures) == {
        Header(9, 8, False),
        Header(9, 9, False),
        Header(9, 8, True),
    }


def test_a_repeated_neighbour_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    opened = []
    file = save(tmp_path / "a.png")

    def open_file() -> object:
        opened.append(file)
        return file.open("rb")

    survey("x", [Picture(str(file), open_file)] * 5)  # type: ignore[arg-type]
    assert len(opened) == 1


def test_all_problems_are_counted_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    pictures = []
    for number in range(30):
        file = save(tmp_path / f"{number:02d}.png", number)
        if number % 3 == 0:
            file.write_bytes(b"no image")
        pictures.append(on_disk(file))
    with pytest.raises(UserError) as caught:
        survey("x", pictures)
    text = str(caught.value)
    assert "10 images cannot be used" in text and "and 5 more" in text
    places = [text.index(f"{number:02d}.png") for number in (0, 3, 6, 9, 12)]
    assert places == sorted(places)


def test_a_huge_image_is_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "huge.bmp"
    sizes = struct.pack("<iiHHIIiiII", 9_500, 9_500, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHII", 54, 0, 0, 54, 40) + sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="too large"):
            survey("x", [on_disk(path)])
