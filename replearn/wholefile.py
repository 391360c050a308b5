"""Files that are whole or absent, whenever the process that writes them is killed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from replearn.errors import machine_fault


@contextmanager
def replacing(path: Path, *, keep: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """A neighbour of `path` to write to, which takes its place when the context ends without an error.

    Args:
        path: the file; its folder is made.
        keep: where a file that is there already goes; without, it is replaced.
        durable: wait for the disk, so that not even a crash of the machine leaves an empty file.

    Raises:
        MachineFault: the disk is full, not writable, or the like.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except OSError as error:
        raise machine_fault(error, "cannot write the file", path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(
    path: Path, content: bytes, *, keep: Path | None = None, durable: bool = True
) -> None:
    """Write a file so that a reader, or the next start, sees all of it or none."""
    with replacing(path, keep=keep, durable=durable) as temporary:
        temporary.write_bytes(content)


def _remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine that were killed while they wrote `path` left beside it."""
    prefix = f".{path.name}.{socket.gethostname()}."
    for left in path.parent.glob(f".{path.name}.*"):
        owner = left.name.removeprefix(prefix)
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            with suppress(OSError):
                left.unlink()
