from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from replearn.data import fashion_mnist
from replearn.data.download import SourceFailed
from replearn.data.fashion_mnist import parse_idx
from replearn.errors import UserError

from .conftest import Prepare


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A dataset of the same layout, small, whose checksums take the place of the real ones."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28))
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(count) % 10
    content = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}
    monkeypatch.setattr(fashion_mnist, "CONTENT", content)
    return arrays


def store(folder: Path, arrays: dict[str, np.ndarray], *, level: int = 9) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array), level))
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Keep the tests' output clean."""

    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_idx_round_trip() -> None:
    array = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    np.testing.assert_array_equal(parse_idx(idx(array), "x"), array)


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", b"\x1f\x8b\x08\0", idx(np.ones((2, 3)))[:-1], idx(np.ones(3)) + b"\0"]
)
def test_idx_damage_is_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        parse_idx(data, "x")


@pytest.mark.parametrize("compressed", [True, False])
def test_a_local_folder_is_prepared(
    tmp_path: Path, prepared: Prepare, small: dict[str, np.ndarray], compressed: bool
) -> None:
    folder = store(tmp_path / "fm", small)
    if not compressed:
        for file in list(folder.iterdir()):
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
    data = prepared(source="fashion-mnist", path=str(folder))
    test = data.part("test")
    np.testing.assert_array_equal(test.images.read()[:, 0], small["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.labels, small["t10k-labels-idx1-ubyte"])
    assert data.manifest.splits["validation"].class_counts == (1,) * 10
    train = data.part("train")
    np.testing.assert_array_equal(
        train.images.read()[:, 0], small["train-images-idx3-ubyte"][train.index]
    )


def test_another_file_is_refused_by_name(
    tmp_path: Path, prepared: Prepare, small: dict[str, np.ndarray]
) -> None:
    folder = store(tmp_path / "fm", small)
    name = "t10k-labels-idx1-ubyte.gz"
    (folder / name).write_bytes(gzip.compress(idx(np.zeros(20))))
    with pytest.raises(UserError, match="SHA-256 differs") as caught:
        prepared(source="fashion-mnist", path=str(folder))
    assert caught.value.where == str(folder / name)
    (folder / name).write_bytes(b"\x1f\x8b\x08 cut")
    with pytest.raises(UserError, match="cannot read"):
        prepared(source="fashion-mnist", path=str(folder))
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"holds no {name}"):
        prepared(source="fashion-mnist", path=str(folder))


def test_the_second_mirror_fills_in(
    tmp_path: Path, server: str, small: dict[str, np.ndarray]
) -> None:
    bad = {name: array * 0 for name, array in small.items()}
    store(
        tmp_path / "served/bad", {**small, "t10k-labels-idx1-ubyte": bad["t10k-labels-idx1-ubyte"]}
    )
    # The good mirror compresses differently, as mirrors do.
    store(tmp_path / "served/good", small, level=1)
    folder = tmp_path / "raw"
    mirrors = [f"{server}gone/", f"{server}bad/", f"{server}good/"]
    fashion_mnist.from_mirrors(folder, mirrors, timeout=5)
    for name, array in small.items():
        np.testing.assert_array_equal(
            parse_idx(fashion_mnist.read_verified(folder, name), name), array
        )
    assert not list(folder.glob("*.part"))


def test_no_good_mirror_lists_the_reasons(
    tmp_path: Path, server: str, small: dict[str, np.ndarray]
) -> None:
    store(tmp_path / "served/bad", {name: array * 0 for name, array in small.items()})
    with pytest.raises(SourceFailed, match=r"gone.*404.*bad.*SHA-256 differs"):
        fashion_mnist.from_mirrors(tmp_path / "raw", [f"{server}gone/", f"{server}bad/"])
    assert list((tmp_path / "raw").iterdir()) == []


def test_files_that_lie_there_are_not_fetched_again(
    tmp_path: Path, small: dict[str, np.ndarray]
) -> None:
    fashion_mnist.from_mirrors(store(tmp_path / "raw", small), ["http://127.0.0.1:9/"], timeout=1)


def test_the_debian_package_is_unpacked(
    tmp_path: Path, small: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real package; a stand-in for apt-get, which would need a network, copies it."""
    tree = tmp_path / "package"
    store(tree / fashion_mnist.PACKAGE_FOLDER, small)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {fashion_mnist.PACKAGE}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: test\n"
    )
    package = tmp_path / "p.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(package)], check=True, capture_output=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    apt = tools / "apt-get"
    apt.write_text(
        f'#!/bin/sh\nif [ "$1" = update ]; then touch {tmp_path}/lists; exit 0; fi\n'
        f'[ -e {tmp_path}/lists ] || {{ echo "E: Unable to locate package" >&2; exit 100; }}\n'
        f"cp {package} .\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "raw"
    folder.mkdir()
    fashion_mnist.from_debian(folder)
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{name}.gz" for name in small)
    for name in small:
        fashion_mnist.read_verified(folder, name)
    apt.write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    with pytest.raises(SourceFailed, match="E: no network"):
        fashion_mnist.from_debian(folder)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(SourceFailed, match="no apt-get"):
        fashion_mnist.from_debian(folder)
