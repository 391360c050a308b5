"""Where a number comes from: versions, commit, device, time and memory, for every metrics file."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import replearn
from replearn import energy

CHECKOUT = Path(__file__).resolve().parents[1]
READINGS = [energy.read()]
"""Energy counters when this process loaded, and at the end of each piece of work since."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work has taken: seconds by the clock, and joules, None where they cannot be read."""

    seconds: float = 0.0
    joules: float | None = 0.0

    def __add__(self, other: Spent) -> Spent:
        if self.joules is None or other.joules is None:
            return Spent(self.seconds + other.seconds, None)
        return Spent(self.seconds + other.seconds, round(self.joules + other.joules, 1))


def spent(started: float, device: str = "cpu") -> Spent:
    """What this process has taken since `started`; joules from the last reading before it on."""
    uuid = _cuda_facts()[1] if device == "cuda" else None
    before = [reading for reading in READINGS if reading.time <= started] or READINGS[:1]
    READINGS.append(energy.read())
    return Spent(time.time() - started, energy.between(before[-1], READINGS[-1], uuid))


def provenance(started: float, device: str = "cpu", earlier: Spent = Spent()) -> dict[str, Any]:
    """What a metrics file says about the process that made it; only here are times.

    Args:
        started: when the work began, as `time.time()` gave it.
        device: "cpu" or "cuda".
        earlier: what it took in processes before this one, if it was interrupted.

    Returns:
        Versions, commit (None outside a checkout), device, wall time in seconds, peak memory in MB
        (the GPU's own on "cuda", else this process's resident memory), energy in joules where it can be
        read, time of writing (UTC).
    """
    taken = earlier + spent(started, device)
    name, uuid, peak = _cuda_facts() if device == "cuda" else (cpu_name(), None, _peak_memory_mb())
    return {
        "replearn": replearn.__version__,
        "commit": commit(CHECKOUT),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "device": device,
        "device_name": name,
        "device_uuid": uuid,
        "wall_seconds": round(taken.seconds, 3),
        "peak_memory_mb": peak,
        "energy_joules": taken.joules,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@lru_cache
def commit(checkout: Path) -> str | None:
    """The commit of `checkout`, marked "-dirty" if tracked files differ; None without one."""
    if not (checkout / ".git").exists():
        return None
    head = _git(checkout, "rev-parse", "HEAD")
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changed else head


@lru_cache
def cpu_name() -> str:
    """The processor's model name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _cuda_facts() -> tuple[str, str | None, float]:
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    uuid = getattr(properties, "uuid", None)
    peak = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return properties.name, f"GPU-{uuid}" if uuid else None, peak


def _peak_memory_mb() -> float:
    # getrusage would count the memory of the parent that this process was forked from.
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(checkout: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(checkout), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
