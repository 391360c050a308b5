from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from replearn.data import PreparedDataset, prompts
from replearn.errors import UserError

from .conftest import ADAPTER, Prepare, pixels, save


def table(path: Path, rows: list[list[str]], separator: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=separator).writerows(rows)
    return path


def images(root: Path, count: int) -> list[str]:
    return [save(root / f"im {n:02d}.png", n).name for n in range(count)]


def pairs_of(data: PreparedDataset) -> set[tuple[bytes, str]]:
    found = set()
    for name in ("train", "validation", "test"):
        part = data.part(name)
        assert part.captions is not None
        found |= {(i.tobytes(), c) for i, c in zip(part.images, part.captions, strict=True)}
    return found


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        (["filepath", "title"], "\t"),
        (["image", "caption"], ","),
        (["caption", "image"], ";"),
        (["image_name", " comment_number", " comment"], "|"),
        (["id", "file_name", "text"], ","),
    ],
)
def test_layouts_are_recognised(
    tmp_path: Path, prepared: Prepare, header: list[str], separator: str
) -> None:
    names = images(tmp_path / "d", 12)
    texts = [f'A "quoted", piece; of | text\t{n} ü' for n in range(12)]

    def row(n: int) -> list[str]:
        cells = {"caption": texts[n], "title": texts[n], "text": texts[n], " comment": texts[n]}
        cells |= dict.fromkeys(("filepath", "image", "image_name", "file_name"), names[n])
        return [cells.get(column, str(n)) for column in header]

    path = table(tmp_path / "d/pairs.txt", [header, *(row(n) for n in range(12))], separator)
    data = prepared(source="pairs", path=str(path))
    assert pairs_of(data) == {(pixels(n).transpose(2, 0, 1).tobytes(), texts[n]) for n in range(12)}
    assert data.manifest.captions == "paired"
    assert data.manifest.classes == ()
    assert data.manifest.templates == ()
    assert data.part("train").labels is None
    assert prompts(data.manifest) == []


def test_five_captions_of_an_image_stay_together(tmp_path: Path, prepared: Prepare) -> None:
    names = images(tmp_path / "d", 20)
    rows = [[name, f"{name} told {k}"] for name in names for k in range(5)]
    path = table(tmp_path / "d/captions.txt", [["image", "caption"], *rows])
    data = prepared(source="pairs", path=str(path))
    sides = {}
    for name in ("train", "validation", "test"):
        captions = data.part(name).captions
        assert captions is not None
        sides[name] = captions
    seen = [{caption.split(" told")[0] for caption in side} for side in sides.values()]
    assert sum(map(len, seen)) == len(names)
    assert set.union(*seen) == set(names)
    assert len(sides["test"]) == 4
    assert all(caption.endswith("told 0") for caption in sides["test"])
    assert data.manifest.conversions == ("left out 16 captions of test images beyond the first",)


def test_labels_make_classes_in_order_and_prompts(tmp_path: Path, prepared: Prepare) -> None:
    names = images(tmp_path / "d", 30)
    rows = [[name, "x", str([2, 10, 7][n % 3])] for n, name in enumerate(names)]
    path = table(tmp_path / "d/t.csv", [["image", "caption", "kind"], *rows])
    data = prepared(
        source="pairs", path=str(path), label_column="kind", templates=["a {}.", "the {}!"]
    )
    assert data.manifest.classes == ("2", "7", "10")
    assert data.manifest.splits["test"].class_counts == (2, 2, 2)
    assert prompts(data.manifest)[2] == ["a 10.", "the 10!"]
    part = data.part("test")
    assert part.labels is not None
    by_pixels = {pixels(n).transpose(2, 0, 1).tobytes(): [0, 2, 1][n % 3] for n in range(30)}
    assert [by_pixels[image.tobytes()] for image in part.images] == part.labels.tolist()


def test_repeated_rows_are_left_out_and_stated(tmp_path: Path, prepared: Prepare) -> None:
    names = images(tmp_path / "d", 8)
    rows = [[name, "x"] for name in [*names, names[0]]]
    path = table(tmp_path / "d/t.csv", [["image", "caption"], *rows])
    data = prepared(source="pairs", path=str(path))
    assert data.manifest.conversions == ("left out 1 pair that repeats an earlier one",)


def test_images_may_lie_elsewhere(tmp_path: Path, prepared: Prepare) -> None:
    names = images(tmp_path / "far/away", 8)
    path = table(tmp_path / "t.csv", [["image", "caption"], *([name, "x"] for name in names)])
    with pytest.raises(UserError, match=r"8 of 8 images do not exist.*and 3 more"):
        prepared(source="pairs", path=str(path))
    data = prepared(source="pairs", path=str(path), images=str(tmp_path / "far/away"))
    assert len(pairs_of(data)) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3].__setitem__(1, " "), r"1 pair without a caption: line 4 \(im 02"),
        (lambda rows: rows[3].__setitem__(2, ""), r"1 pair without a label: line 4"),
        (lambda rows: rows[3].append("?"), "1 rows have not the header's 3 columns.*line 4"),
        (lambda rows: rows.append([rows[1][0], "y", "b"]), r"another label.*'a' before, 'b' now"),
        (lambda rows: [row.__setitem__(2, "a") for row in rows[1:]], "only one class, 'a'"),
        (lambda rows: rows[3].__setitem__(2, "c"), r"fewer than 3 images: 'c' \(1\)"),
        (lambda rows: rows.__delitem__(slice(1, None)), "header but no rows"),
        (lambda rows: rows[0].__setitem__(0, "foto"), "cannot tell the image_column among 'foto'"),
        (lambda rows: rows[0].__setitem__(2, "clas"), "no column 'class'"),
        (lambda rows: rows.clear(), "table is empty"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, prepared: Prepare, change, message: str) -> None:
    names = images(tmp_path / "d", 10)
    rows = [["image", "caption", "class"]]
    rows += [[name, "x", "ab"[n % 2]] for n, name in enumerate(names)]
    change(rows)
    path = table(tmp_path / "d/t.csv", rows)
    with pytest.raises(UserError, match=message) as caught:
        prepared(source="pairs", path=str(path), label_column="class")
    assert caught.value.where == str(path)


def test_not_utf8_is_named(tmp_path: Path, prepared: Prepare) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("image,caption\na.png,größe\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        prepared(source="pairs", path=str(path))


def test_digest_follows_table_and_images(tmp_path: Path) -> None:
    names = images(tmp_path / "d", 8)
    rows = [["image", "caption"], *([name, "x"] for name in names)]
    path = table(tmp_path / "d/t.csv", rows)
    options = ADAPTER.validate_python({"source": "pairs", "path": str(path)})
    before = options.digest()
    save(tmp_path / "d/unlisted.png")
    assert options.digest() == before
    save(tmp_path / "d" / names[0], 77)
    changed = options.digest()
    assert changed != before
    rows[1][1] = "y"
    table(path, rows)
    assert options.digest() not in (before, changed)


def test_templates_without_classes_are_refused() -> None:
    with pytest.raises(ValidationError, match="label_column"):
        ADAPTER.validate_python({"source": "pairs", "path": "x.csv", "templates": ["a {}"]})


def test_templates_need_one_place() -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        ADAPTER.validate_python({"source": "digits", "templates": ["a photo"]})


def test_index_names_the_rows(tmp_path: Path, prepared: Prepare) -> None:
    names = images(tmp_path / "d", 20)
    path = table(tmp_path / "d/t.csv", [["image", "caption"], *([n, n] for n in names)])
    data = prepared(source="pairs", path=str(path))
    train, validation = data.part("train"), data.part("validation")
    stored = np.load(data.path / "train.images.npy")
    np.testing.assert_array_equal(stored[train.index], train.images.read())
    assert sorted([*train.index, *validation.index]) == list(range(16))
