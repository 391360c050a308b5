"""Fashion-MNIST from a local folder, its mirrors or Debian's archive, verified by SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from replearn.data import captions
from replearn.data.download import Source, SourceFailed, fetch_url, first_that_works
from replearn.data.localfiles import existing
from replearn.data.options import Options
from replearn.data.plan import Plan, array_shape, array_split
from replearn.errors import UserError
from replearn.locks import exclusive

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CONTENT = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of each decompressed file: mirrors compress differently, the content is one."""
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"


class FashionMnistOptions(Options):
    """Fashion-MNIST: 60,000 + 10,000 greyscale images of clothing, 28 x 28, ten classes."""

    where: ClassVar[frozenset[str]] = frozenset({"path"})
    default_templates: ClassVar[tuple[str, ...]] = captions.FASHION

    source: Literal["fashion-mnist"] = "fashion-mnist"
    path: str | None = None
    """A folder that holds the four IDX files (compressed or not); downloaded if absent."""

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        return hashlib.sha256("".join(CONTENT.values()).encode()).hexdigest()

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        folder = raw / "fashion-mnist"
        if self.path is not None:
            folder = existing(self.path, f"datasets.{name}.path")
        else:
            with exclusive(raw / ".fashion-mnist.lock"):
                obtain(folder, f"datasets.{name}")
        arrays = {file: parse_idx(read_verified(folder, file), file) for file in CONTENT}
        train = arrays["train-images-idx3-ubyte"][:, None]
        test = arrays["t10k-images-idx3-ubyte"][:, None]
        labels = arrays["train-labels-idx1-ubyte"].astype(np.int64)
        test_labels = arrays["t10k-labels-idx1-ubyte"].astype(np.int64)
        return Plan(
            classes=CLASSES,
            shape=array_shape(train, self.size),
            splits=[
                array_split("train", train, labels, self.size),
                array_split("test", test, test_labels, self.size),
            ],
            licence="MIT",
            citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, arXiv:1708.07747, 2017",
        )


def obtain(folder: Path, where: str) -> None:
    """Have the four files in `folder`, verified: as they lie, or from the first good source.

    Raises:
        UserError: no source delivered.
    """
    if all(_good(folder, file) for file in CONTENT):
        return
    folder.mkdir(parents=True, exist_ok=True)
    first_that_works(
        [
            Source("the dataset's usual mirrors", lambda: from_mirrors(folder, _mirrors())),
            Source(f"the Debian package {PACKAGE}", lambda: from_debian(folder)),
        ],
        where=where,
        hint=f"Put {', '.join(f'{file}.gz' for file in CONTENT)} in a folder and set "
        f"{where}.path to it, or try again with a network.",
    )


def from_mirrors(folder: Path, mirrors: list[str], *, timeout: float = 10.0) -> None:
    """Download what is missing from `folder` from the first mirror that has it.

    Raises:
        SourceFailed: no mirror has a good copy of some file.
    """
    mirrors = list(mirrors)
    for file in CONTENT:
        if _good(folder, file):
            continue
        reasons = []
        for mirror in list(mirrors):
            target = folder / f"{file}.gz"
            try:
                fetch_url(f"{mirror}{file}.gz", target, sha256=None, timeout=timeout)
            except SourceFailed as failure:
                reasons.append(f"{mirror} ({failure})")
                mirrors.remove(mirror)
                continue
            if _good(folder, file):
                break
            target.unlink()
            reasons.append(f"{mirror} ({file}.gz is not the expected file: SHA-256 differs)")
            mirrors.remove(mirror)
        else:
            raise SourceFailed("; ".join(reasons))


def from_debian(folder: Path) -> None:
    """Take the files out of Debian's package, wherever this machine's apt gets packages from.

    Raises:
        SourceFailed: no apt here, or it cannot get the package.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SourceFailed("this machine has no apt-get")
    with tempfile.TemporaryDirectory(prefix="replearn-") as name:
        scratch = Path(name)
        # apt drops privileges to download, so its user must be able to enter.
        scratch.chmod(0o755)
        if _run(["apt-get", "download", PACKAGE], scratch):
            refused = _run(["apt-get", "update"], scratch)
            problem = _run(["apt-get", "download", PACKAGE], scratch)
            if problem and refused and os.geteuid() != 0:
                raise SourceFailed(f"{problem}; 'apt-get update' needs root: run it as root")
            if problem:
                raise SourceFailed(problem)
        packages = sorted(scratch.glob("*.deb"))
        if not packages:
            raise SourceFailed("apt-get downloaded no package")
        problem = _run(["dpkg-deb", "-x", str(packages[0]), "tree"], scratch)
        if problem:
            raise SourceFailed(problem)
        unpacked = scratch / "tree" / PACKAGE_FOLDER
        for file in CONTENT:
            if not _good(unpacked, file):
                raise SourceFailed(
                    f"{file}.gz in the package is not the expected file (SHA-256 differs)"
                )
        for file in CONTENT:
            part = folder / f"{file}.gz.part"
            shutil.copyfile(unpacked / f"{file}.gz", part)
            part.replace(folder / f"{file}.gz")


def read_verified(folder: Path, file: str) -> bytes:
    """The decompressed content of an IDX file in `folder`.

    Raises:
        UserError: it is missing, damaged or another file.
    """
    for path in (folder / f"{file}.gz", folder / file):
        if path.is_file():
            break
    else:
        raise UserError(f"the folder holds no {file}.gz", where=str(folder))
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read the file ({error})", where=str(path)) from None
    if hashlib.sha256(data).hexdigest() != CONTENT[file]:
        raise UserError("not Fashion-MNIST's file (SHA-256 differs)", where=str(path))
    return data


def parse_idx(data: bytes, name: str) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes as an array, shape as its header says.

    Raises:
        UserError: not such a file, or its length does not fit its header.
    """
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise UserError("not an IDX file of unsigned bytes", where=name)
    rank = data[3]
    shape = tuple(np.frombuffer(data, dtype=">u4", count=rank, offset=4).astype(int).tolist())
    body = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    if body.size != np.prod(shape):
        raise UserError(f"{body.size:,} bytes of data do not fit the shape {shape}", where=name)
    return body.reshape(shape)


def _mirrors() -> list[str]:
    from torchvision.datasets import FashionMNIST

    return list(FashionMNIST.mirrors)


def _good(folder: Path, file: str) -> bool:
    try:
        read_verified(folder, file)
    except UserError:
        return False
    return True


def _run(command: list[str], folder: Path) -> str | None:
    """Run a command; None if it succeeded, else what it said last."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
    return f"{' '.join(command[:2])}: {lines[-1]}"
