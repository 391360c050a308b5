from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from replearn.data.webdataset import expand
from replearn.errors import UserError

from .conftest import Prepare, pixels


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(seed)).save(stream, "png")
    return stream.getvalue()


def shard(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def shards(root: Path, count: int = 3, each: int = 8) -> str:
    for number in range(count):
        members = []
        for n in range(number * each, (number + 1) * each):
            record = {"caption": f"from json {n}", "kind": "ab"[n % 2]}
            members += [
                (f"./set/{n:05d}.png", png(n)),
                (f"./set/{n:05d}.txt", f"größe {n}".encode()),
                (f"./set/{n:05d}.json", json.dumps(record).encode()),
                (f"./set/{n:05d}.cls", str(n % 3).encode()),
            ]
        shard(root / f"{number:03d}.tar", members)
    return str(root / f"{{000..{count - 1:03d}}}.tar")


@pytest.mark.parametrize(
    ("block", "caption", "captions", "classes"),
    [
        ({}, "größe {}", "paired", ()),
        ({"caption_column": "caption"}, "from json {}", "paired", ()),
        ({"caption_column": "txt", "label_column": "cls"}, "größe {}", "paired", ("0", "1", "2")),
        ({"label_column": "kind"}, None, "templates", ("a", "b")),
    ],
)
def test_samples_arrive_whole(
    tmp_path: Path,
    prepared: Prepare,
    block: dict[str, str],
    caption: str | None,
    captions: str,
    classes: tuple[str, ...],
) -> None:
    data = prepared(source="webdataset", path=shards(tmp_path / "s"), **block)
    assert data.manifest.captions == captions
    assert data.manifest.classes == classes
    number = {pixels(n).transpose(2, 0, 1).tobytes(): n for n in range(24)}
    seen = []
    for name in ("train", "validation", "test"):
        part = data.part(name)
        numbers = [number[image.tobytes()] for image in part.images]
        seen += numbers
        assert part.captions == (caption and [caption.format(n) for n in numbers])
        if classes:
            assert part.labels is not None
            assert part.labels.tolist() == [n % len(classes) for n in numbers]
    assert sorted(seen) == list(range(24))


def test_wildcards_find_the_same_data(tmp_path: Path, prepared: Prepare) -> None:
    braces = shards(tmp_path / "s")
    one = prepared("one", source="webdataset", path=braces)
    two = prepared("two", source="webdataset", path=str(tmp_path / "s/*.tar"))
    assert one.manifest == two.manifest


def test_expand() -> None:
    assert expand("a/{08..11}.tar") == ["a/08.tar", "a/09.tar", "a/10.tar", "a/11.tar"]
    assert expand("{a,b}-{0..1}") == ["a-0", "a-1", "b-0", "b-1"]
    assert expand("plain.tar") == ["plain.tar"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", png(1)), ("b.png", png(2)), ("b.txt", b"x")], "1 pair without a caption.*:a"),
        ([("a.txt", b"x")], "exactly one image, here only txt"),
        ([("a.png", png(1)), ("a.jpg", png(1)), ("a.txt", b"x")], "here png, jpg"),
        (
            [("a.png", png(1)), ("a.txt", b"x"), ("b.png", png(2)), ("a.cls", b"1")],
            "'a' occurs twice",
        ),
        ([("a.png", png(1)), ("a.json", b"{")], "json member is damaged"),
        ([("a.png", png(1)), ("a.txt", b"\xff")], "damaged"),
        ([("a.png", png(1)), ("a.txt", b"x")], "1 images are too few"),
        ([], "no samples"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, prepared: Prepare, members: list[tuple[str, bytes]], message: str
) -> None:
    path = shard(tmp_path / "x.tar", members)
    with pytest.raises(UserError, match=message):
        prepared(source="webdataset", path=str(path))
    assert not (tmp_path / "out").exists()


def test_damaged_image_is_named_by_shard_and_member(tmp_path: Path, prepared: Prepare) -> None:
    members = [
        pair
        for n in range(8)
        for pair in ((f"{n}.png", png(n) if n != 5 else png(n)[:60]), (f"{n}.txt", b"x"))
    ]
    path = shard(tmp_path / "x.tar", members)
    with pytest.raises(UserError) as caught:
        prepared(source="webdataset", path=str(path))
    assert caught.value.where == f"{path}:5.png"


def test_truncated_and_compressed_shards_are_refused(tmp_path: Path, prepared: Prepare) -> None:
    path = shard(tmp_path / "x.tar", [(f"{n}.png", png(n)) for n in range(8)])
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        member = tar.getmembers()[5]
    # In the middle of an image, in the middle of a header, between two members, after the last one.
    ends = (member.offset_data + 9, member.offset + 9, member.offset, tar.offset)
    for end in ends:
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match="not a whole tar file") as caught:
            prepared(source="webdataset", path=str(path))
        assert caught.value.where == str(path)
    damaged = bytearray(data)
    damaged[member.offset + 3] ^= 255
    path.write_bytes(bytes(damaged))
    with pytest.raises(UserError, match="not a whole tar file"):
        prepared(source="webdataset", path=str(path))
    with tarfile.open(tmp_path / "y.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "x.tar", "a.png")
    with pytest.raises(UserError, match="uncompressed"):
        prepared(source="webdataset", path=str(tmp_path / "y.tar.gz"))


def test_missing_shard_and_remote_shards(tmp_path: Path, prepared: Prepare) -> None:
    shards(tmp_path / "s")
    with pytest.raises(UserError, match=r"003\.tar' does not exist") as caught:
        prepared(source="webdataset", path=str(tmp_path / "s/{000..003}.tar"))
    assert caught.value.where == "datasets.mine.path"
    with pytest.raises(UserError, match="only local shards"):
        prepared(source="webdataset", path="https://example.org/{0..1}.tar")
    with pytest.raises(UserError, match="no file matches"):
        prepared(source="webdataset", path=str(tmp_path / "s/*.tgz"))
