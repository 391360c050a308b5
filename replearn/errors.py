"""Mistakes that a user can mend, told in one message."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

FEW = 6

_MACHINE = {
    errno.ENOSPC: "Free some space there and start again; what is finished stays.",
    errno.EDQUOT: "The quota is used up: free some space and start again; what is finished stays.",
    errno.EROFS: "The file system is read-only; name another place with results: and reports:.",
    errno.EACCES: "This user may not; change the permissions or the place.",
    errno.EPERM: "This user may not; change the permissions or the place.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n 4096.",
    errno.ENFILE: "The system has no more open files to give.",
    errno.EIO: "The disk or the network file system fails; see dmesg.",
    errno.ENOLCK: "The file system has no locks (flock); keep results on one that has.",
    errno.ENOSYS: "The file system cannot do this; keep results on another one.",
    errno.ETIMEDOUT: "The network file system does not answer; start again.",
    errno.ESTALE: "The network file system lost the file; start again.",
}
"""Errors of the system that are not the program's, and what to do about each."""


class UserError(Exception):
    """Something the user can put right: printed without a traceback, exit status 2.

    Args:
        message: what is wrong, with the offending value.
        where: the file, key or path in question.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.hint}" if self.hint else head


class MachineFault(UserError):
    """The machine stands in the way (disk, permissions, open files): once it is mended, a rerun goes on."""


class Diverged(UserError):
    """The loss of a training is no longer a finite number."""


def machine_fault(error: OSError, doing: str, path: object = None) -> MachineFault:
    """What to tell of an error of the operating system: `doing` says what could not be done."""
    where = path if path is not None else error.filename
    return MachineFault(
        f"{doing} ({error.strerror or error})",
        where=None if where is None else str(where),
        hint=_MACHINE.get(error.errno or 0),
    )


def understood(error: BaseException) -> UserError | None:
    """What to tell a user of an error, without a traceback; None if it can only be a defect of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return machine_fault(error, "cannot go on")
    # Errors of torch, which nothing here imports.
    if type(error).__name__ in ("AcceleratorError", "DistBackendError"):
        first = str(error).partition("\n")[0]
        return MachineFault(f"the GPU, its driver or the network failed: {first}")
    if type(error).__name__ == "OutOfMemoryError":
        return UserError(
            "the GPU's memory is full",
            hint="Lower training.batch_size, or jobs_per_gpu if it is above 1; or share each batch "
            "among several GPUs by gpus_per_run.",
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return UserError(
            "the machine's memory is full",
            hint="Run fewer jobs at a time (--cores), or lower training.batch_size or the dataset's limit.",
        )
    return None


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A hint: the valid choice closest to `name` if one is close, and all of them if they are few."""
    known = sorted(candidates)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    parts = [f"Did you mean '{close[0]}'?"] if close else []
    if not close or len(known) <= FEW:
        parts.append(f"Valid choices: {', '.join(known)}.")
    return " ".join(parts)
