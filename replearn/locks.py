"""Lock files among processes; the kernel frees them however their holders end."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from replearn.errors import UserError


@contextmanager
def exclusive(lock: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold a lock file; a second process waits.

    Args:
        lock: the file; its folder is made.
        busy: what the second process says instead of waiting.

    Raises:
        UserError: the lock is taken, and there is something to say.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise UserError(busy or "", where=str(lock.parent)) from None
        yield


def attend(folder: Path) -> None:
    """Say that a workflow is at work in this `.snakemake` folder, for as long as this process lives.

    Snakemake's own locks outlive a workflow that was killed, and the next one would have to be told to
    remove them. If nobody is at work, and the last one was on this machine, they are such leftovers, and go.
    Another machine's lock might not be seen here, so its leftovers stay.
    """
    with suppress(OSError):  # a folder that cannot be written to cannot be worked in either
        folder.mkdir(exist_ok=True)
        mark = (folder / "at-work.lock").open("a+")
        _held.append(mark)
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            mark.seek(0)
            if mark.read() == socket.gethostname():
                for left in (folder / "locks").glob("*.lock"):
                    left.unlink()
            mark.truncate(0)
            mark.write(socket.gethostname())
            mark.flush()
        fcntl.flock(mark, fcntl.LOCK_SH)


_held: list[TextIO] = []
