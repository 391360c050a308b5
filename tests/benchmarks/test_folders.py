"""Made-up folders: the same files each time, as large as photographs, prepared as they are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.folders import CLASSES, make_files, most_memory, prepare_folder


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.glob("*/*")}


def test_files_are_the_same_each_time_and_like_photographs(tmp_path: Path) -> None:
    make_files(tmp_path / "a", 12, (400, 600))
    make_files(tmp_path / "b", 12, (400, 600))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    sizes = [len(data) for data in contents(tmp_path / "a").values()]
    assert 70_000 < np.mean(sizes) < 160_000
    for file in (tmp_path / "a").glob("*/*"):
        with Image.open(file) as image:
            assert min(image.size) >= 400 and max(image.size) <= 600


def test_the_account_is_of_what_was_prepared(tmp_path: Path) -> None:
    make_files(tmp_path / "files", 6 * CLASSES, (20, 30))
    found = prepare_folder(str(tmp_path / "files"), 16, str(tmp_path / "out"))
    assert found["images"] == 6 * CLASSES
    assert found["bytes"] == sum(map(len, contents(tmp_path / "files").values()))
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert all(found[part] > 0 for part in ("all", "hash", "survey"))
    assert 10**7 < found["peak"] <= most_memory()
