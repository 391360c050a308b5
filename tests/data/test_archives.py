"""CIFAR's and STL-10's layouts in small, behind torchvision's own classes."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100, STL10

from replearn.data.archives import unpacked, whole
from replearn.data.cifar import cifar_plan, read_pickle
from replearn.data.stl10 import stl10_plan
from replearn.errors import UserError


def archive(path: Path, base: str, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{base}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def small_cifar(parent: Any, folder: Path) -> tuple[Any, str, np.ndarray, np.ndarray]:
    """A class and archive of CIFAR's layout with ten images a file."""
    rng = np.random.default_rng(0)
    key = "labels" if parent is CIFAR10 else "fine_labels"
    names = [name for name, _ in [*parent.train_list, *parent.test_list]]
    images = rng.integers(0, 256, (10 * len(names), 3072), dtype=np.uint8)
    labels = np.arange(10 * len(names)) % 10
    files = {}
    for number, name in enumerate(names):
        rows = slice(10 * number, 10 * number + 10)
        files[name] = pickle.dumps({"data": images[rows], key: labels[rows].tolist()})
    classes = [f"class {number}" for number in range(10)]
    files[parent.meta["filename"]] = pickle.dumps({parent.meta["key"]: classes})
    small = type(
        "Small",
        (parent,),
        {
            "train_list": [[name, md5(files[name])] for name, _ in parent.train_list],
            "test_list": [[name, md5(files[name])] for name, _ in parent.test_list],
            "meta": {**parent.meta, "md5": md5(files[parent.meta["filename"]])},
        },
    )
    folder.mkdir(parents=True)
    sha256 = archive(folder / parent.filename, parent.base_folder, files)
    return small, sha256, images.reshape(-1, 3, 32, 32), labels


@pytest.mark.parametrize("parent", [CIFAR10, CIFAR100])
def test_cifar_from_a_local_archive(tmp_path: Path, parent: Any) -> None:
    small, sha256, images, labels = small_cifar(parent, tmp_path / "mine")
    root = unpacked(small, "c", str(tmp_path / "mine"), tmp_path / "raw/c", sha256, 1)
    assert root == tmp_path / "raw/c"
    assert not (tmp_path / "mine" / parent.base_folder).exists()
    plan = cifar_plan(small, root, None)
    train, test = plan.splits
    assert (train.count, test.count) == (len(images) - 10, 10)
    found, _ = test.read(np.arange(10))
    np.testing.assert_array_equal(found, images[-10:])
    np.testing.assert_array_equal(train.labels, labels[:-10])
    assert plan.shape == (3, 32, 32)
    assert plan.classes[3] == "class 3"


def test_cifar_unpacked_elsewhere_is_used_in_place(tmp_path: Path) -> None:
    small, sha256, _, _ = small_cifar(CIFAR10, tmp_path / "mine")
    with tarfile.open(tmp_path / "mine" / small.filename) as tar:
        # Python 3.11 knows `filter=` from 3.11.4 on; Debian 12 has 3.11.2.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        tar.extractall(tmp_path / "mine")
    (tmp_path / "mine" / small.filename).unlink()
    mine = tmp_path / "mine"
    assert unpacked(small, "c", str(mine), tmp_path / "raw/c", sha256, 1) == mine


def test_damage_is_refused_before_anything_is_unpickled(tmp_path: Path) -> None:
    small, sha256, _, _ = small_cifar(CIFAR10, tmp_path / "mine")
    file = tmp_path / "mine" / small.filename
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match="SHA-256 differs") as caught:
        unpacked(small, "c", str(tmp_path / "mine"), tmp_path / "raw/c", sha256, 1)
    assert caught.value.where == str(file)
    assert not (tmp_path / "raw/c").exists()
    file.unlink()
    with pytest.raises(UserError, match="neither"):
        unpacked(small, "c", str(tmp_path / "mine"), tmp_path / "raw/c", sha256, 1)


@pytest.mark.parametrize(
    "nasty",
    [
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        pickle.dumps({"data": [Path("x")]}),
        pickle.dumps([1, 2]),
        b"",
        b"\x80\x04garbage",
    ],
)
def test_a_pickle_that_is_more_than_data_is_refused(
    nasty: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(nasty)
    with pytest.raises(UserError, match="not a file of CIFAR's"):
        read_pickle(file)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickled_arrays_of_any_age_are_read(protocol: int, tmp_path: Path) -> None:
    file = tmp_path / "batch"
    wanted = np.arange(24, dtype=np.uint8).reshape(4, 6)
    file.write_bytes(pickle.dumps({"data": wanted, "labels": [3, 1]}, protocol=protocol))
    found = read_pickle(file)
    np.testing.assert_array_equal(found["data"], wanted)
    assert found["labels"] == [3, 1]


def test_download_then_unpack_then_resume(tmp_path: Path) -> None:
    small, sha256, _, _ = small_cifar(CIFAR10, tmp_path / "served")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Keep the tests' output clean."""

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        small.url = f"http://127.0.0.1:{running.server_port}/{small.filename}"
        folder = tmp_path / "raw/c"
        unpacked(small, "c", None, folder, sha256, 1)
        running.shutdown()
        thread.join()
    assert whole(small, folder)
    # An interrupted unpacking is done again from the archive that lies there, with no server left.
    batch = folder / small.base_folder / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:50])
    assert not whole(small, folder)
    unpacked(small, "c", None, folder, sha256, 1)
    assert whole(small, folder)
    (folder / small.filename).unlink()
    batch.unlink()
    with pytest.raises(UserError, match="no connection") as caught:
        unpacked(small, "c", None, folder, sha256, 1)
    assert f"Put {small.filename} in a folder" in str(caught.value)


def test_stl10_agrees_with_torchvision(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = tmp_path / STL10.base_folder
    base.mkdir()
    for name, count in (("train_X", 12), ("test_X", 8), ("unlabeled_X", 30)):
        rng.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tofile(base / f"{name}.bin")
    for name, count in (("train_y", 12), ("test_y", 8)):
        (np.arange(count, dtype=np.uint8) % 10 + 1).tofile(base / f"{name}.bin")
    (base / "class_names.txt").write_text("\n".join("abcdefghij") + "\n")
    lists = {
        key: [[name, md5((base / name).read_bytes())] for name, _ in getattr(STL10, key)]
        for key in ("train_list", "test_list")
    }
    small: Any = type("Small", (STL10,), lists)
    plan = stl10_plan(base, None, unlabelled=True)
    assert plan.shape == (3, 96, 96)
    assert list(plan.classes) == list("abcdefghij")
    for split, name in zip(plan.splits, ("train", "test", "unlabeled"), strict=True):
        oracle = small(str(tmp_path), split=name)
        rows = np.arange(split.count)[::-1]
        found, done = split.read(rows)
        np.testing.assert_array_equal(found, oracle.data[rows])
        assert not done
        if name == "unlabeled":
            assert split.labels is None
        else:
            np.testing.assert_array_equal(split.labels, oracle.labels)
    assert [split.name for split in stl10_plan(base, None, unlabelled=False).splits] == [
        "train",
        "test",
    ]
