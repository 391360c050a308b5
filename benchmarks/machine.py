"""What a timing depends on: the machine, the versions, the commit, and how busy it was."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import psutil
import torch

from replearn.provenance import CHECKOUT, commit, cpu_name

PACKAGES = ("torch", "torchvision", "numpy")


def facts(device: str, peers: Sequence[str] = ()) -> dict[str, Any]:
    """Everything a reader needs to repeat a measurement or to doubt it.

    Args:
        device: "cpu" or "cuda".
        peers: packages that are measured beside replearn, for their versions.
    """
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "busy_cores": busy_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "driver": _driver() if device == "cuda" else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in (*PACKAGES, *peers)},
        "commit": commit(CHECKOUT),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
    }


def busy_cores(seconds: float = 2) -> float:
    """How many cores other processes keep busy, watched for some seconds while this one waits.

    Not the load average: that remembers what ran a minute ago, the benchmark before this one for example.
    """
    share = psutil.cpu_percent(interval=seconds) / 100
    return round(share * (psutil.cpu_count() or 1), 2)


def busy(found: dict[str, Any]) -> bool:
    """Whether other work may have slowed the measurement down: it kept more than half the cores busy."""
    return bool(found["busy_cores"] > found["cores"] / 2)


def command() -> str:
    """The command line of this process as one would type it again."""
    main = sys.modules["__main__"].__spec__
    program = f"python -m {main.name}" if main else sys.argv[0]
    return shlex.join([*program.split(), *sys.argv[1:]])


def sentence(found: dict[str, Any]) -> str:
    """The facts that belong under a table, as one line."""
    parts = [found["cpu"], f"{found['cores']} cores", f"{found['threads']} threads"]
    if found["gpu"]:
        parts = [found["gpu"], f"driver {found['driver']}", *parts]
    parts += [f"{found['busy_cores']} busy before", f"torch {found['torch']}"]
    return ", ".join([*parts, f"replearn {(found['commit'] or 'without a commit')[:7]}"])


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0]
