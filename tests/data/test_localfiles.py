"""What is in local files: one hash over names and contents, remembered where that is safe."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from replearn.data import localfiles
from replearn.data.localfiles import content_hash
from replearn.errors import UserError

LONG_AGO = (1_000_000_000, 1_000_000_000)


def files(root: Path, contents: dict[str, bytes]) -> list[tuple[str, Path]]:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        os.utime(root / name, LONG_AGO)
    return [(name, root / name) for name in contents]


def test_the_hash_is_that_of_names_and_contents_in_the_order_of_names(tmp_path: Path) -> None:
    contents = {f"{number % 7}/{number:03d} ü": str(number).encode() for number in range(200)}
    named = files(tmp_path, contents)
    lines = "".join(
        f"{len(name.encode())}:{name}:{hashlib.sha256(contents[name]).hexdigest()}\n"
        for name in sorted(contents)
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert content_hash(named, None) == expected
    assert content_hash(reversed(named), None) == expected
    cache = tmp_path / "cache.json"
    assert content_hash(named, cache) == expected
    assert len(cache.read_text().splitlines()) == 200
    assert content_hash(named, cache) == expected


def test_what_is_remembered_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = files(tmp_path, {"a": b"one", "b": b"two", "c": b"three"})
    cache = tmp_path / "cache.json"
    before = content_hash(named, cache)
    read: list[str] = []
    plain = localfiles.file_sha256

    def counted(path: str) -> str:
        read.append(Path(path).name)
        return plain(path)

    monkeypatch.setattr(localfiles, "file_sha256", counted)
    assert content_hash(named, cache) == before
    assert read == []
    (tmp_path / "b").write_bytes(b"owt")
    os.utime(tmp_path / "b", (1_000_000_001, 1_000_000_001))
    assert content_hash(named, cache) != before
    assert read == ["b"]


def test_a_damaged_memory_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {'with "quotes" and ü': b"one", "with\nlines ": b"two", "c": b"three"}
    named = files(tmp_path, contents)
    cache = tmp_path / "cache"
    before = content_hash(named, cache)
    whole = cache.read_bytes()
    for damaged in (
        whole[:-5],
        b"\xff" + whole,
        b"[1]\n" + whole,
        b"",
        b'{\n "/a": [\n  1\n ]\n}\n',
    ):
        cache.write_bytes(damaged)
        assert content_hash(named, cache) == before
    cache.write_bytes(whole)
    monkeypatch.setattr(localfiles, "file_sha256", None)
    assert content_hash(named, cache) == before


def test_a_link_that_points_elsewhere_is_another_file(tmp_path: Path) -> None:
    """Same size, same time: only the file behind the link tells."""
    files(tmp_path, {"one/a": b"1", "two/a": b"2"})
    cache = tmp_path / "cache.json"
    for link, targets in (
        (tmp_path / "file", ("one/a", "two/a")),
        (tmp_path / "folder", ("one", "two")),
    ):
        found = []
        for target in targets:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            path = link / "a" if link.name == "folder" else link
            found.append(content_hash([("a", path)], cache))
        assert found[0] != found[1]


@pytest.mark.parametrize("spoil", ["missing", "loop", "folder"])
def test_what_cannot_be_read_is_named(tmp_path: Path, spoil: str) -> None:
    named = files(tmp_path, {"a": b"1", "b": b"2"})
    (tmp_path / "b").unlink()
    if spoil == "loop":
        (tmp_path / "b").symlink_to("b")
    elif spoil == "folder":
        (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="cannot read the file") as caught:
        content_hash(named, None)
    assert caught.value.where == str(tmp_path / "b")


def test_quick_work_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content_hash(files(tmp_path, {"a": b"1"}), None)
    assert capfd.readouterr().err == ""
