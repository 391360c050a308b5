"""Energy between two moments, where the machine tells: a GPU's own counter, or RAPL's of the processors.

RAPL counts whole packages, every other job on them included, and is readable by root alone on most systems;
a GPU's counter counts the whole card. Where nothing can be read, the energy is None, the normal case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
HIGHEST_WATTS = 400.0
"""More than a processor package draws; what its counter holds at this power is how long it is trusted."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters in joules at one moment: by package, as (counted, where it wraps), and by GPU's UUID."""

    time: float
    packages: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    gpus: Mapping[str, float] = field(default_factory=dict)


def read(powercap: Path = POWERCAP) -> Reading:
    """Every counter that can be read now."""
    packages = {}
    for zone in sorted(powercap.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") == 1:  # its parts, "intel-rapl:0:0", are counted in it
            with suppress(OSError, ValueError):
                counted, most = (
                    int((zone / name).read_text()) / 1e6
                    for name in ("energy_uj", "max_energy_range_uj")
                )
                packages[zone.name] = counted, most
    return Reading(time.time(), packages, _gpus())


def between(first: Reading, last: Reading, gpu: str | None = None) -> float | None:
    """Joules from one reading to another: of the GPU with this UUID, else of all packages; None if unknown.

    None too where a package's counter may have wrapped more than once, and where several ranks share a
    training, for this process sees one card of several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return None
    if gpu is not None:
        known = gpu in first.gpus and gpu in last.gpus
        return round(last.gpus[gpu] - first.gpus[gpu], 1) if known else None
    seconds = last.time - first.time
    if not last.packages or first.packages.keys() != last.packages.keys():
        return None
    if any(seconds > most / HIGHEST_WATTS for _, most in last.packages.values()):
        return None
    spent = [
        (last.packages[zone][0] - first.packages[zone][0], most)
        for zone, (_, most) in last.packages.items()
    ]
    return round(sum(joules if joules >= 0 else joules + most for joules, most in spent), 1)


def _gpus() -> dict[str, float]:
    """Joules of each GPU since its driver was loaded, by UUID; empty without pynvml or a driver."""
    found: dict[str, float] = {}
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return found
    with suppress(nvml.NVMLError):
        nvml.nvmlInit()
        for number in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
            uuid = nvml.nvmlDeviceGetUUID(handle)
            found[uuid] = nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
    return found
