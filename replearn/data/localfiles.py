"""Local files as data: do they exist, and what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from replearn.data.prepared import file_sha256
from replearn.errors import UserError, nearest
from replearn.parallel import THREADS, in_order
from replearn.progress import Progress
from replearn.wholefile import replacing

FRESH = 2 * 10**9
"""Nanoseconds: a file this young could change again within its time stamp's resolution."""
BATCH = 64
"""Files that a thread hashes in one go."""
MEGABYTE = 10**6
_REMEMBERED = re.compile(r'([0-9a-f]{64} \d+ -?\d+) (".*")\n')


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


def content_hash(
    files: Iterable[tuple[str, str | Path]], cache: Path | None, label: str = "hash files"
) -> str:
    """SHA-256 over names and contents of files.

    Args:
        files: (name that counts, path on disk); the order does not matter.
        cache: file that remembers each file's hash by path, size and time of change.
        label: what to call the work if it takes a while.

    Raises:
        UserError: a file cannot be read.
    """
    known = _load(cache)
    now = time.time_ns()
    named = sorted((name, str(path)) for name, path in files)
    found = _look(path for _, path in named)
    hashes = [_known(known, file) for file in found]
    unknown = [row for row, sha256 in enumerate(hashes) if sha256 is None]
    lasting = False
    fresh = _hashed([found[row] for row in unknown], label)
    for row, sha256 in zip(unknown, fresh, strict=True):
        file, hashes[row] = found[row], sha256
        if now - file.changed > FRESH:
            known[file.real] = f"{sha256} {file.bytes} {file.changed}"
            lasting = True
    if cache is not None and lasting:
        _save(cache, known)
    total = hashlib.sha256()
    for (name, _), digest in zip(named, hashes, strict=True):
        total.update(f"{len(name.encode())}:{name}:{digest}\n".encode())
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
            real = path if folders[folder] == folder else f"{folders[folder]}/{name}"
            if stat.S_ISLNK(status.st_mode):
                real = os.path.realpath(path)
                status = os.lstat(real)
        except OSError as error:
            raise _unreadable(path, error) from None
        found.append(_File(path, real, status.st_size, status.st_mtime_ns))
    return found


def _known(cache: dict[str, str], file: _File) -> str | None:
    known, _, stamp = cache.get(file.real, "").partition(" ")
    return known if stamp == f"{file.bytes} {file.changed}" else None


def _hashed(files: Sequence[_File], label: str) -> Iterator[str]:
    """SHA-256 of each file in hexadecimal."""
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    total, done = sum(file.bytes for file in files), 0
    with Progress(total // MEGABYTE, label, "MB", patience=3.0) as progress:
        hashed = in_order(_hash, batches, threads=THREADS, ahead=2 * THREADS)
        for batch, hashes in zip(batches, hashed, strict=True):
            yield from hashes
            done += sum(file.bytes for file in batch)
            progress.advance(done // MEGABYTE - progress.done)


def _hash(files: Sequence[_File]) -> list[str]:
    hashes = []
    for file in files:
        try:
            hashes.append(file_sha256(file.path))
        except OSError as error:
            raise _unreadable(file.path, error) from None
    return hashes


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"cannot read the file ({error.strerror})", where=path)


def _load(cache: Path | None) -> dict[str, str]:
    """What is remembered of each file by its path: SHA-256, size and time of change."""
    known: dict[str, str] = {}
    if cache is None or not cache.is_file():
        return known
    with cache.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            # A damaged line only costs time.
            if match := _REMEMBERED.fullmatch(line):
                with suppress(ValueError):
                    known[json.loads(match[2])] = match[1]
    return known


def _save(cache: Path, known: dict[str, str]) -> None:
    """A line for each file; one after the other, because there may be a million."""
    with replacing(cache) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{known[path]} {json.dumps(path)}\n" for path in sorted(known))
