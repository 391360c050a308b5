"""Archives whose address, checksums and layout torchvision knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from replearn.data.download import Source, SourceFailed, fetch_url, first_that_works, free_space
from replearn.data.localfiles import existing
from replearn.data.prepared import file_sha256
from replearn.errors import UserError
from replearn.locks import exclusive


class Archive(Protocol):
    """What is used of a torchvision dataset class such as `CIFAR10` or `STL10`."""

    base_folder: str
    url: str
    filename: str
    train_list: Any
    test_list: Any


def unpacked(
    archive: Archive, name: str, path: str | None, folder: Path, sha256: str, room: int
) -> Path:
    """The folder in which the archive's verified content lies, downloading and unpacking if needed.

    Args:
        archive: the torchvision class; its MD5 lists verify the unpacked files.
        name: the dataset's name in the study, for messages.
        path: a local folder that holds the archive or its content, or None to download.
        folder: where to download and unpack.
        sha256: of the archive.
        room: bytes that the download and its content take.

    Raises:
        UserError: the data cannot be had, or is damaged.
    """
    where = f"datasets.{name}.path"
    root = folder if path is None else existing(path, where)
    if whole(archive, root):
        return root
    file = root / archive.filename
    with exclusive(folder.with_name(f".{folder.name}.lock")):
        if path is None:
            if not file.is_file():
                free_space(folder, room, f"datasets.{name}")
            first_that_works(
                [Source(archive.url, lambda: _download(archive.url, file, sha256))],
                where=f"datasets.{name}",
                hint=f"Put {archive.filename} in a folder and set {where} to it, or try again "
                "with a network.",
            )
        elif not file.is_file():
            raise UserError(
                f"the folder holds neither {archive.filename} nor a whole {archive.base_folder}",
                where=f"{where} = {path}",
            )
        elif file_sha256(file) != sha256:
            raise UserError(
                "the archive is damaged or another one (SHA-256 differs)",
                where=str(file),
                hint="Download it again.",
            )
        if not whole(archive, folder):
            from torchvision.datasets.utils import extract_archive

            extract_archive(str(file), str(folder))
    if not whole(archive, folder):
        raise UserError("the archive's content is damaged", where=str(folder / archive.base_folder))
    return folder


def whole(archive: Archive, root: Path) -> bool:
    """Whether the unpacked files are there and match torchvision's checksums."""
    from torchvision.datasets.utils import check_integrity

    base = root / archive.base_folder
    files = [*archive.train_list, *archive.test_list]
    if names := getattr(archive, "meta", None):
        files.append((names["filename"], names["md5"]))
    return all(check_integrity(str(base / file), md5) for file, md5 in files)


def _download(url: str, file: Path, sha256: str) -> None:
    fetch_url(url, file, sha256=sha256, timeout=30.0)
    if not file.is_file():
        raise SourceFailed("no file arrived")
