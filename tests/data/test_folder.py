from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from replearn.data import prepare
from replearn.data.folder import FolderOptions
from replearn.errors import UserError

from .conftest import Prepare, class_folder, pixels, save


def test_every_image_arrives_with_its_class(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "my images ü", {"cat": 20, "dög": 30})
    data = prepared(source="folder", path=str(root))
    manifest = data.manifest
    assert manifest.classes == ("cat", "dög")
    assert (manifest.channels, manifest.height, manifest.width) == (3, 12, 12)
    assert manifest.splits["test"].class_counts == (4, 6)
    assert manifest.splits["train"].class_counts == (16, 24)
    assert manifest.splits["validation"].class_counts == (2, 2)
    assert manifest.conversions == ()
    found = set()
    for name in ("train", "validation", "test"):
        part = data.part(name)
        assert part.labels is not None
        for image, label in zip(part.images, part.labels, strict=True):
            found.add((int(label), image.tobytes()))
    expected = {
        (label, pixels(1000 * label + index).transpose(2, 0, 1).tobytes())
        for label, count in ((0, 20), (1, 30))
        for index in range(count)
    }
    assert found == expected


def test_mean_and_std_are_those_of_the_training_rows(tmp_path: Path, prepared: Prepare) -> None:
    data = prepared(source="folder", path=str(class_folder(tmp_path / "d", {"a": 20, "b": 20})))
    images = data.part("train").images.read() / 255
    np.testing.assert_allclose(data.manifest.mean, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.manifest.std, images.std(axis=(0, 2, 3)), rtol=1e-9)


def test_train_and_test_folders_are_kept(tmp_path: Path, prepared: Prepare) -> None:
    class_folder(tmp_path / "d/train", {"a": 5, "b": 5})
    class_folder(tmp_path / "d/test", {"a": 2, "b": 3})
    data = prepared(source="folder", path=str(tmp_path / "d"))
    assert data.manifest.splits["train"].class_counts == (5, 5)
    assert data.manifest.splits["test"].class_counts == (2, 3)


def test_val_serves_as_test_and_says_so(tmp_path: Path, prepared: Prepare) -> None:
    class_folder(tmp_path / "d/train", {"a": 5, "b": 5})
    class_folder(tmp_path / "d/val", {"a": 2, "b": 2})
    data = prepared(source="folder", path=str(tmp_path / "d"))
    assert data.manifest.splits["test"].count == 4
    assert "the folder 'val' serves as the test split" in data.manifest.conversions


def test_conversions_are_counted(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 6, "b": 6})
    save(root / "a/grey.png", 1, (12, 12))
    save(root / "a/large.png", 1, (24, 24, 3))
    for junk in (".DS_Store", "Thumbs.db"):
        (root / "a" / junk).write_bytes(b"x")
    (root / "b/notes.txt").write_text("hello")
    (root / "b/loop").symlink_to(root)
    data = prepared(source="folder", path=str(root), size=12)
    assert data.manifest.conversions == (
        "ignored 2 hidden files",
        "ignored 1 link to an enclosing folder",
        "ignored 1 file of a kind that is no image ('.txt')",
        "1 image converted from greyscale to RGB",
        "1 image resized to 12 x 12 pixels",
    )


def test_limit_is_stratified_and_leaves_the_test_split(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 40, "b": 20})
    data = prepared(source="folder", path=str(root), limit=12)
    assert data.manifest.splits["train"].class_counts == (8, 4)
    assert data.manifest.splits["test"].class_counts == (8, 4)
    with pytest.raises(UserError, match="limit of 3") as caught:
        prepared("other", source="folder", path=str(root), limit=3)
    assert caught.value.where == "datasets.mine.limit"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: save(root / "a/000.bmp"), "a/000.bmp.*a/000.png"),
        (lambda root: save(root / "stray.png"), "stray.png"),
        (lambda root: (root / "empty").mkdir(), "class folders without images: 'empty'"),
        (lambda root: save(root / "c/0.png"), r"'c' \(1\)"),
        (lambda root: (root / "a/bad.jpg").write_bytes(b""), "the file is empty"),
        (lambda root: (root / "a/me.png").symlink_to("me.png"), "cannot read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, prepared: Prepare, spoil, message: str) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    spoil(root)
    with pytest.raises(UserError, match=message):
        prepared(source="folder", path=str(root))
    assert not list(tmp_path.glob("out*"))


def test_several_bad_images_are_counted_and_listed(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    for number in range(7):
        (root / f"a/bad{number}.jpg").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        prepared(source="folder", path=str(root))
    assert "7 images cannot be used" in str(caught.value)
    assert "bad0.jpg" in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_one_class_and_no_images(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "one", {"a": 5})
    with pytest.raises(UserError, match="only one class, 'a'"):
        prepared(source="folder", path=str(root))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        prepared(source="folder", path=str(tmp_path / "none"))


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    (root / "a").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    with pytest.raises(UserError, match=r"caf\\xe9.*is not UTF-8"):
        prepared(source="folder", path=str(root))


def test_missing_path_names_the_neighbour(tmp_path: Path, prepared: Prepare) -> None:
    class_folder(tmp_path / "pictures", {"a": 1})
    with pytest.raises(UserError) as caught:
        prepared(source="folder", path=str(tmp_path / "picturs" / "x"))
    assert caught.value.where == "datasets.mine.path"
    assert "Did you mean 'pictures'?" in str(caught.value)


def test_a_foreign_folder_is_never_replaced(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    save(tmp_path / "out/precious.png")
    with pytest.raises(UserError, match=r"precious\.png"):
        prepared(source="folder", path=str(root))
    assert (tmp_path / "out/precious.png").exists()


def test_digest_follows_content_names_and_options(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "d", {"a": 3, "b": 3})
    cache = tmp_path / "cache.json"
    for file in root.rglob("*.png"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    options = FolderOptions(path=str(root))
    before = options.digest(cache)
    assert cache.is_file()
    assert options.digest(cache) == options.digest() == before
    (root / ".DS_Store").write_bytes(b"x")
    os.utime(root / "a/000.png")
    assert options.digest(cache) == before
    moved = root.rename(tmp_path / "elsewhere")
    assert FolderOptions(path=str(moved)).digest() == before
    assert FolderOptions(path=str(moved), size=8).digest() != before
    assert FolderOptions(path=str(moved), limit=4).digest() != before
    (moved / "a/000.png").rename(moved / "a/zzz.png")
    assert FolderOptions(path=str(moved)).digest(cache) != before
    (moved / "a/zzz.png").rename(moved / "a/000.png")
    assert FolderOptions(path=str(moved)).digest(cache) == before
    save(moved / "a/000.png", 99)
    assert FolderOptions(path=str(moved)).digest(cache) != before


def test_digest_sees_a_change_within_the_time_stamp(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "d", {"a": 3, "b": 3})
    file, cache = root / "a/000.png", tmp_path / "cache.json"
    options = FolderOptions(path=str(root))
    before = options.digest(cache)
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert options.digest(cache) != before


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot prepare the dataset") as caught:
        prepare("mine", FolderOptions(path=str(root)), tmp_path / "file/out", raw=tmp_path / "raw")
    assert str(caught.value.where).startswith(str(tmp_path / "file"))
