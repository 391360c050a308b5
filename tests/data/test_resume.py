"""Killed in the middle, preparing goes on where it was and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from replearn.data import open_prepared, target
from replearn.errors import UserError

from .conftest import Prepare, class_folder

CHUNK = 64
PROGRAM = """
import sys, time
from pathlib import Path
from replearn.data import FolderOptions, prepare, survey, target
target.CHUNK_IMAGES, target.THREADS = 64, 2
pause = float(sys.argv[3])
plain = survey.decode
def slow(*arguments):
    time.sleep(pause)
    return plain(*arguments)
survey.decode = slow
prepare("mine", FolderOptions(path=sys.argv[1]), Path(sys.argv[2]), raw=Path(sys.argv[2] + "-raw"))
"""


def start(root: Path, out: Path, pause: float, before: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", before + PROGRAM, str(root), str(out), str(pause)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def kill_midway(root: Path, out: Path) -> Path:
    """Start to prepare, kill it after two chunks; the folder of the interrupted work."""
    partial = out.with_name(out.name + ".partial")
    process = start(root, out, 0.004)
    deadline = time.monotonic() + 60
    while sum(file.read_text().count("\n") for file in partial.glob("journal-*")) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return partial


def test_killed_and_resumed_is_bit_identical(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "d", {"a": 300, "b": 300}, (16, 16, 3))
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert start(root, once, 0).wait(60) == 0
    partial = kill_midway(root, twice)
    (journal,) = partial.glob("journal-*")
    done = [json.loads(line) for line in journal.read_text().splitlines() if line]
    assert 2 <= len(done) < 600 // CHUNK
    assert not twice.exists()
    with pytest.raises(UserError):
        open_prepared(twice)
    again = start(root, twice, 0)
    output = again.communicate()[1].decode()
    assert again.returncode == 0, output
    assert contents(once) == contents(twice)
    open_prepared(twice, verify=True)
    assert not partial.exists()


def test_a_damaged_chunk_and_a_torn_journal_line_are_done_again(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "d", {"a": 300, "b": 300})
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert start(root, once, 0).wait(60) == 0
    partial = kill_midway(root, twice)
    (journal,) = partial.glob("journal-*")
    with journal.open("a") as stream:
        stream.write('{"split": "')
    with (partial / "train.images.npy").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\1\2\3\4\5\6\7\x08")
    again = start(root, twice, 0)
    lines = again.communicate()[1].decode().splitlines()
    assert again.returncode == 0
    assert contents(once) == contents(twice)
    assert lines[-1].startswith("prepare mine 100%  600/600 images")


def test_chunks_of_another_size_are_done_again(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 300, "b": 300})
    kill_midway(root, tmp_path / "out")
    data = prepared(source="folder", path=str(root))
    assert contents(data.path) == contents(prepared("b", source="folder", path=str(root)).path)
    open_prepared(data.path, verify=True)


def test_a_write_that_the_system_refuses_is_told(tmp_path: Path) -> None:
    """As on a full disk: the limit on the size of a file is one that a process can set itself."""
    root = class_folder(tmp_path / "d", {"a": 30, "b": 30})
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    process = start(root, tmp_path / "out", 0, before=limited)
    error = process.communicate()[1].decode()
    assert process.returncode != 0
    assert "UserError" in error and "cannot prepare the dataset" in error
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_images(
    tmp_path: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "CHUNK_BYTES", 2**18)
    monkeypatch.setattr(target, "THREADS", 2)
    root = class_folder(tmp_path / "d", {"a": 200, "b": 200}, (96, 96, 3))
    # What Pillow loads at its first use is no matter of the number of images.
    prepared("first", source="folder", path=str(class_folder(tmp_path / "s", {"a": 5, "b": 5})))
    tracemalloc.start()
    try:
        data = prepared(source="folder", path=str(root))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(file.stat().st_size for file in data.path.iterdir())
    assert size > 400 * 96 * 96 * 3
    assert peak < size / 3


def test_work_on_other_data_is_not_taken_over(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 300, "b": 300})
    kill_midway(root, tmp_path / "out")
    data = prepared(source="folder", path=str(root), limit=100)
    assert data.manifest.splits["train"].count == 100
    expected = prepared("fresh", source="folder", path=str(root), limit=100)
    assert contents(data.path) == contents(expected.path)


def test_done_is_done(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    first = prepared(source="folder", path=str(root))
    stamp = (first.path / "manifest.json").stat().st_mtime_ns
    assert prepared(source="folder", path=str(root)).manifest == first.manifest
    assert (first.path / "manifest.json").stat().st_mtime_ns == stamp


def test_a_lost_manifest_is_made_again(tmp_path: Path, prepared: Prepare) -> None:
    root = class_folder(tmp_path / "d", {"a": 5, "b": 5})
    before = contents(prepared(source="folder", path=str(root)).path)
    (tmp_path / "out/manifest.json").unlink()
    assert contents(prepared(source="folder", path=str(root)).path) == before


def test_damage_is_noticed(tmp_path: Path, prepared: Prepare) -> None:
    path = prepared(source="digits").path
    file = path / "test.images.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    open_prepared(path)
    with pytest.raises(UserError, match="SHA-256") as caught:
        open_prepared(path, verify=True)
    assert caught.value.where == str(file)
    file.write_bytes(bytes(data[:-1]))
    with pytest.raises(UserError, match="damaged"):
        open_prepared(path / "manifest.json")
    file.unlink()
    with pytest.raises(UserError, match="missing"):
        open_prepared(path)
