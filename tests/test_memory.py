"""Free memory, as the kernel and the control groups tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from replearn.memory import available, free_bytes, within_limits


def test_this_machine_has_some() -> None:
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert 0 < free_bytes("cpu") <= total


def test_available_is_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemFree:  7 kB\nMemAvailable:   40 kB\n")
    assert available(tmp_path / "meminfo") == 40 * 1024
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\n")
    with pytest.raises(ValueError, match="MemAvailable"):
        available(tmp_path / "meminfo")


def group(folder: Path, version: int, limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        2: ("memory.max", "memory.current", ""),
    }[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon 5\n{names[2]}inactive_file {cached}\n{names[2]}active_file 1\n"
    )


def belongs(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    belongs(tmp_path, "0::/slurm/job7")
    group(tmp_path / "sys/fs/cgroup/slurm/job7", 2, "max", 800, 0)
    assert within_limits(tmp_path) is None
    group(tmp_path / "sys/fs/cgroup/slurm", 2, "1000", 800, 99)
    assert within_limits(tmp_path) == 300
    group(tmp_path / "sys/fs/cgroup/slurm/job7", 2, "400", 300, 20)
    assert within_limits(tmp_path) == 121
    group(tmp_path / "sys/fs/cgroup/slurm/job7", 2, "400", 900, 0)
    assert within_limits(tmp_path) == 0


def test_a_container_of_the_first_version(tmp_path: Path) -> None:
    belongs(tmp_path, "9:name=systemd:/", "4:memory:/docker/abc", "0::/")
    # Within the container its own group is mounted as the root.
    group(tmp_path / "sys/fs/cgroup/memory", 1, "500", 300, 49)
    assert within_limits(tmp_path) == 250


def test_no_groups_are_no_limit(tmp_path: Path) -> None:
    assert within_limits(tmp_path) is None
