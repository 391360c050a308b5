"""How much memory is free: of the graphics card, or of the machine within the job's own limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch


def free_bytes(device: str | torch.device) -> int:
    """Bytes that can still be taken on `device`."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free, left = available(Path("/proc/meminfo")), within_limits(Path("/"))
    return free if left is None else min(free, left)


def available(meminfo: Path) -> int:
    """MemAvailable of the kernel's account: what is free, and what caches would give back."""
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise ValueError(f"{meminfo} does not name MemAvailable")


def within_limits(root: Path) -> int | None:
    """Bytes left in the tightest control group of this process (a container, a Slurm job), if any.

    Pages of files count as free: the kernel gives them up first.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    found: list[int] = []
    for group, limit, used, cached in _groups(root):
        try:
            most = (group / limit).read_text(encoding="ascii").strip()
            if most == "max":
                continue
            counts = dict(
                line.split() for line in (group / "memory.stat").read_text("ascii").splitlines()
            )
            taken = int((group / used).read_text(encoding="ascii"))
        except OSError:
            continue  # no limit at the root, and none that this process may see
        given_back = sum(int(counts.get(name, 0)) for name in cached)
        found.append(max(0, int(most) - taken + given_back))
    return min(found, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, str, str, tuple[str, str]]]:
    """Folders of this process's memory groups up to the root, with the names of their files."""
    two = ("memory.max", "memory.current", ("inactive_file", "active_file"))
    one = (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    )
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            yield (folder, *(one if controllers else two))
