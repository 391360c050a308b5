"""Leases of graphics cards: concurrent jobs of one machine get different ones.

Snakemake counts GPUs but never says which. Each job therefore locks a device's file for as long as
it lives; the kernel frees the lock however the process ends. Nothing here imports torch, because a
device must be chosen before CUDA starts.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from replearn.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
FOLDER = "REPLEARN_LEASES"
"""Environment variable that moves the lock files; all jobs that share GPUs need the same folder."""

POLL_SECONDS = 0.5
REMIND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Lease:
    """What a job runs on: "cpu", or "cuda" with the identifiers of its devices."""

    device: Literal["cpu", "cuda"]
    names: tuple[str, ...] = ()


@contextmanager
def lease(
    request: Literal["auto", "cpu", "cuda"], *, gpus: int = 1, jobs_per_gpu: int = 1
) -> Iterator[Lease]:
    """Hold graphics cards, or settle for the CPU; waits while too many cards are taken.

    Within the context, CUDA_VISIBLE_DEVICES names the leased devices alone (none on the CPU).

    Args:
        request: "auto" takes a card if there is one, "cuda" insists on it.
        gpus: what the scheduler granted; 0 means the CPU, whatever is there. Of several, those that exist.
        jobs_per_gpu: jobs that may share a card, if all of them allow it; a job on several shares none.

    Raises:
        UserError: "cuda" was asked for and there is no card.
    """
    wanted = request if gpus else "cpu"
    devices = [] if wanted == "cpu" else visible_devices()
    if request == "cuda" and not devices:
        raise UserError(
            "the study asks for a GPU (device: cuda), "
            + ("and this machine shows none" if gpus else "and Snakemake was given none"),
            hint="Set device: auto or device: cpu in the study; or start Snakemake where "
            "nvidia-smi -L lists GPUs, with --resources gpu=N for N of them.",
        )
    with ExitStack() as stack:
        if not devices:
            stack.enter_context(_environment(VISIBLE, ""))
            yield Lease("cpu")
            return
        count = min(gpus, len(devices))
        if len(devices) == count and "SLURM_JOB_ID" in os.environ:
            # Slurm gave this job its devices; two jobs may see different ones under the same number.
            yield Lease("cuda", tuple(devices))
            return
        names = stack.enter_context(_locked(devices, count, jobs_per_gpu if count == 1 else 1))
        stack.enter_context(_environment(VISIBLE, ",".join(names)))
        yield Lease("cuda", names)


def visible_devices() -> list[str]:
    """The devices that this process may use, UUIDs where they are known.

    Those of CUDA_VISIBLE_DEVICES if it is set, in its order, else all that the driver lists. A
    Slurm job that was given none has none.
    """
    present = _present_devices()
    inherited = os.environ.get(VISIBLE)
    if not present or (inherited is None and "SLURM_JOB_ID" in os.environ):
        return []
    if inherited is None:
        return [uuid for entries in present for uuid in entries]
    devices = []
    for entry in filter(None, (part.strip() for part in inherited.split(","))):
        device = _resolved(entry, present)
        if device is None:
            break  # CUDA ignores everything behind an entry that it does not know.
        devices.append(device)
    return devices


def _resolved(entry: str, present: Sequence[Sequence[str]]) -> str | None:
    """The UUID meant by an entry of CUDA_VISIBLE_DEVICES: an index or the start of a UUID."""
    if entry.isdigit():
        return present[int(entry)][0] if int(entry) < len(present) else None
    matches = [uuid for entries in present for uuid in entries if uuid.startswith(entry)]
    # The older form of an instance's name, MIG-GPU-<uuid>/<gi>/<ci>, is in no list.
    if entry.startswith("MIG-GPU-"):
        return entry
    return matches[0] if len(matches) == 1 else None


@lru_cache
def _present_devices() -> list[list[str]]:
    """UUIDs by GPU, in the driver's order: its own, or those of its MIG instances."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    devices: list[list[str]] = []
    for kind, uuid in re.findall(r"\(UUID: ((?:GPU|MIG)-)([^)\s]+)\)", listing):
        if kind == "GPU-":
            devices.append([f"GPU-{uuid}"])
        elif devices[-1][0].startswith("GPU-"):
            devices[-1] = [f"MIG-{uuid}"]
        else:
            devices[-1].append(f"MIG-{uuid}")
    return devices


@contextmanager
def _locked(devices: Sequence[str], count: int, jobs_per_gpu: int) -> Iterator[tuple[str, ...]]:
    """Wait for free places on `count` of `devices` and hold them, all at once or none."""
    started = told = time.monotonic()
    while True:
        held: dict[str, list[int]] = {}
        try:
            # All first places before any second one, so that jobs spread over the devices.
            for place, device in itertools.product(range(jobs_per_gpu), devices):
                if len(held) == count:
                    break
                if files := _try_lock(device, place, jobs_per_gpu):
                    held[device] = files
            if len(held) == count:
                yield tuple(held)
                return
        finally:
            for file in itertools.chain.from_iterable(held.values()):
                os.close(file)
        now = time.monotonic()
        if told == started or now - told >= REMIND_SECONDS:
            told = now
            waited = f", for {now - started:.0f} s now" if now - started >= 1 else ""
            wanted = "one" if count == 1 else str(count)
            print(
                f"waiting for {wanted} of {len(devices)} GPU(s){waited}",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(POLL_SECONDS)


def _try_lock(device: str, place: int, jobs_per_gpu: int) -> list[int] | None:
    """Descriptors that hold one of a device's places, or None if it is taken.

    A job that wants the device alone locks it exclusively, one that shares locks it shared and its
    place exclusively: sharing needs the consent of both.
    """
    alone = jobs_per_gpu == 1
    held: list[int] = []
    for suffix, mode in (
        ("", fcntl.LOCK_EX if alone else fcntl.LOCK_SH),
        *(() if alone else ((f".{place}", fcntl.LOCK_EX),)),
    ):
        file = _open(_folder() / f"{re.sub(r'[^A-Za-z0-9-]', '_', device)}{suffix}.lock")
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            for other in (file, *held):
                os.close(other)
            return None
        held.append(file)
    return held


def _folder() -> Path:
    """One folder for all users of the machine, because they share its devices."""
    folder = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / "replearn-leases")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    return folder


def _open(path: Path) -> int:
    # Read-only is enough for a lock, also on a file that another user made.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return os.open(path, flags)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
