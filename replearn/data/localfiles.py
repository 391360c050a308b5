"""Local files as data: do they exist, and what is in them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from replearn.data.prepared import file_sha256
from replearn.errors import UserError, nearest
from replearn.jsonfile import read_json, write_json
from replearn.parallel import THREADS, in_order
from replearn.progress import Progress

FRESH = 2 * 10**9
"""Nanoseconds: a file this young could change again within its time stamp's resolution."""
BATCH = 64
"""Files that a thread hashes in one go."""
MEGABYTE = 10**6


def existing(path: str, where: str) -> Path:
    """The path, if there is something at it.

    Raises:
        UserError: there is nothing; the hint names the closest neighbour.
    """
    found = Path(path).expanduser()
    if found.exists():
        return found
    parent = found.parent
    while not parent.is_dir():
        parent = parent.parent
    missing = found.relative_to(parent).parts[0]
    neighbours = [entry.name for entry in parent.iterdir()] if os.access(parent, os.R_OK) else []
    hint = f"{parent} exists"
    if len(neighbours) == 0:
        hint += ", but it is empty."
    else:
        close = nearest(missing, neighbours)
        hint += f" and has no '{missing}'. " + (close if close.startswith("Did") else "")
    raise UserError(f"'{path}' does not exist", where=where, hint=hint.strip())


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file; a second process waits. The kernel frees it when its holder dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def content_hash(
    files: Iterable[tuple[str, str | Path]], cache: Path | None, label: str = "hash files"
) -> str:
    """SHA-256 over names and contents of files.

    Args:
        files: (name that counts, path on disk); the order does not matter.
        cache: JSON file that remembers each file's hash by path, size and time of change.
        label: what to call the work if it takes a while.

    Raises:
        UserError: a file cannot be read.
    """
    known = _load(cache)
    now = time.time_ns()
    named = sorted((name, str(path)) for name, path in files)
    found = _look(path for _, path in named)
    hashes = [_known(known, file) for file in found]
    unknown = [file for file, sha256 in zip(found, hashes, strict=True) if sha256 is None]
    fresh = _hashed(unknown, label)
    total = hashlib.sha256()
    for (name, _), file, sha256 in zip(named, found, hashes, strict=True):
        total.update(f"{len(name.encode())}:{name}:{sha256 or fresh[file.path]}\n".encode())
    lasting = {
        file.real: [file.bytes, file.changed, fresh[file.path]]
        for file in unknown
        if now - file.changed > FRESH
    }
    if cache is not None and lasting:
        write_json(cache, {**known, **lasting})
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class _File:
    """A file's path, the one behind its links, its size and its time of change in nanoseconds."""

    path: str
    real: str
    bytes: int
    changed: int


def _look(paths: Iterable[str]) -> list[_File]:
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        try:
            status = os.lstat(path)
            real = f"{folders[folder]}/{name}"
            if stat.S_ISLNK(status.st_mode):
                real = os.path.realpath(path)
                status = os.lstat(real)
        except OSError as error:
            raise _unreadable(path, error) from None
        found.append(_File(path, real, status.st_size, status.st_mtime_ns))
    return found


def _known(cache: dict[str, list[int | str]], file: _File) -> str | None:
    entry = cache.get(file.real, [])
    return str(entry[2]) if entry[:2] == [file.bytes, file.changed] else None


def _hashed(files: Sequence[_File], label: str) -> dict[str, str]:
    """SHA-256 of each file by its path, in hexadecimal."""
    hashes: dict[str, str] = {}
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    total = sum(file.bytes for file in files)
    with Progress(total // MEGABYTE, label, "MB", patience=3.0) as progress:
        done = 0
        for batch in in_order(_hash, batches, threads=THREADS, ahead=2 * THREADS):
            for file, sha256 in batch:
                hashes[file.path] = sha256
                done += file.bytes
            progress.advance(done // MEGABYTE - progress.done)
    return hashes


def _hash(files: Sequence[_File]) -> list[tuple[_File, str]]:
    hashes = []
    for file in files:
        try:
            hashes.append((file, file_sha256(file.path)))
        except OSError as error:
            raise _unreadable(file.path, error) from None
    return hashes


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"cannot read the file ({error.strerror})", where=path)


def _load(cache: Path | None) -> dict[str, list[int | str]]:
    if cache is None or not cache.is_file():
        return {}
    try:
        value = read_json(cache)
    except UserError:
        return {}  # a damaged cache only costs time
    return value if isinstance(value, dict) else {}
