"""Local files as data: do they exist, and what is in them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from replearn.data.prepared import file_sha256
from replearn.errors import UserError, nearest
from replearn.jsonfile import read_json, write_json

FRESH = 2 * 10**9
"""Nanoseconds: a file this young could change again within its time stamp's resolution."""


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


def content_hash(files: Iterable[tuple[str, Path]], cache: Path | None) -> str:
    """SHA-256 over names and contents of files.

    Args:
        files: (name that counts, path on disk); the order does not matter.
        cache: JSON file that remembers each file's hash by path, size and time of change.

    Raises:
        UserError: a file cannot be read.
    """
    known = _load(cache)
    fresh: dict[str, list[int | str]] = {}
    total = hashlib.sha256()
    now = time.time_ns()
    for name, path in sorted(files):
        try:
            status = path.stat()
            key = str(path.resolve())
            stamp = [status.st_size, status.st_mtime_ns]
            entry = known.get(key)
            if entry is not None and entry[:2] == stamp:
                sha256 = str(entry[2])
            else:
                sha256 = file_sha256(path)
                if now - status.st_mtime_ns > FRESH:
                    fresh[key] = [*stamp, sha256]
        except OSError as error:
            raise UserError(f"cannot read the file ({error.strerror})", where=str(path)) from None
        total.update(f"{len(name.encode())}:{name}:{sha256}\n".encode())
    if cache is not None and fresh:
        write_json(cache, {**known, **fresh})
    return total.hexdigest()


def _load(cache: Path | None) -> dict[str, list[int | str]]:
    if cache is None or not cache.is_file():
        return {}
    try:
        value = read_json(cache)
    except UserError:
        return {}  # a damaged cache only costs time
    return value if isinstance(value, dict) else {}
