"""Leases of graphics cards, with a stand-in for nvidia-smi and real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from replearn.devices import _present_devices, lease, visible_devices
from replearn.errors import UserError

TWO = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa1111-0000-4000-8000-000000000000)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb2222-0000-4000-8000-000000000000)
"""
CUT = """GPU 0: NVIDIA A100 (UUID: GPU-aaaa1111)
  MIG 1g.10gb     Device  0: (UUID: MIG-cccc)
  MIG 1g.10gb     Device  1: (UUID: MIG-dddd)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb2222)
"""
A = "GPU-aaaa1111-0000-4000-8000-000000000000"
B = "GPU-bbbb2222-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose driver lists two cards, and no environment that says otherwise."""
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REPLEARN_LEASES", str(tmp_path / "leases"))
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    drives(tools, TWO)
    return tools


def drives(tools: Path, listing: str) -> None:
    _present_devices.cache_clear()
    (tools / "listing").write_text(listing)
    command = tools / "nvidia-smi"
    command.write_text(f'#!/bin/sh\ncat "{tools}/listing"\n')
    command.chmod(0o755)


def no_driver(tools: Path) -> None:
    _present_devices.cache_clear()
    (tools / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found' >&2\nexit 6\n")


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        (None, [A, B]),
        ("", []),
        ("1", [B]),
        ("1,0", [B, A]),
        ("GPU-bbbb", [B]),
        (f" {B} , {A} ", [B, A]),
        ("0,7,1", [A]),
        ("-1", []),
        ("GPU-", []),
        ("NoDevFiles", []),
    ],
)
def test_the_inherited_list_is_read_as_cuda_reads_it(
    inherited: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert visible_devices() == expected


def test_instances_of_a_cut_card_are_devices(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drives(machine, CUT)
    assert visible_devices() == ["MIG-cccc", "MIG-dddd", "GPU-bbbb2222"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-dddd,MIG-GPU-aaaa1111/1/0")
    assert visible_devices() == ["MIG-dddd", "MIG-GPU-aaaa1111/1/0"]


def test_a_lease_shows_one_device_and_restores_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    with lease("auto") as held:
        assert (held.device, held.names) == ("cuda", (B,))
        assert os.environ["CUDA_VISIBLE_DEVICES"] == B
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,0"


def test_no_card_means_the_cpu_or_a_message(machine: Path) -> None:
    no_driver(machine)
    with lease("auto") as settled:
        assert settled.device == "cpu"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with pytest.raises(UserError, match=r"this machine shows none\n.*device: auto"), lease("cuda"):
        pass


def test_a_grant_of_none_means_the_cpu() -> None:
    with lease("auto", gpus=0) as settled:
        assert settled.device == "cpu"
    with pytest.raises(UserError, match="Snakemake was given none"), lease("cuda", gpus=0):
        pass
    with lease("cpu") as settled:
        assert settled.device == "cpu"


def test_slurm_has_assigned_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert visible_devices() == [], "a job that was given no GPU takes none"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with lease("auto") as first, lease("auto") as second:
        assert first.device == second.device == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with lease("auto") as shared:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == shared.names[0] == A


WORKER = """
import os, sys, time
from pathlib import Path
from replearn.devices import lease
assert "torch" not in sys.modules
log, seconds, jobs = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
with lease("cuda", jobs_per_gpu=jobs) as held:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == held.names[0]
    with log.open("a") as file:
        file.write(f"{held.names[0]} + {os.getpid()}\\n")
    time.sleep(seconds)
    with log.open("a") as file:
        file.write(f"{held.names[0]} - {os.getpid()}\\n")
assert "torch" not in sys.modules
"""


def start(log: Path, seconds: float, jobs: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(log), str(seconds), str(jobs)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def most_at_once(log: Path) -> dict[str, int]:
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    for line in log.read_text().splitlines():
        name, sign, _ = line.split()
        now[name] = now.get(name, 0) + (1 if sign == "+" else -1)
        most[name] = max(most.get(name, 0), now[name])
    return most


def wait_for_lines(log: Path, count: int) -> None:
    while not log.exists() or len(log.read_text().splitlines()) < count:
        time.sleep(0.02)


def test_sixteen_jobs_never_share_two_cards(tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [start(log, 0.05) for _ in range(16)]
    complaints = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 16, complaints
    assert most_at_once(log) == {A: 1, B: 1}, "both are used, each by one job at a time"


def test_waiting_is_told_and_a_killed_job_frees_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    log = tmp_path / "log"
    holder = start(log, 600)
    wait_for_lines(log, 1)
    waiting = start(log, 0)
    assert waiting.stderr is not None
    assert "waiting for one of 1 GPU(s)" in waiting.stderr.readline()
    holder.kill()
    assert waiting.wait() == 0
    assert log.read_text().splitlines()[1].startswith(A)
    for process in (holder, waiting):
        process.communicate()


def test_cards_are_shared_on_request_and_only_among_those_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    sharing = [start(log, 600, jobs=2) for _ in range(4)]
    wait_for_lines(log, 4)
    assert most_at_once(log) == {A: 2, B: 2}
    fifth, alone = start(log, 0, jobs=2), start(log, 0)
    for waiting in (fifth, alone):
        assert waiting.stderr is not None
        assert "waiting" in waiting.stderr.readline()
    holders = dict(line.split()[::2][::-1] for line in log.read_text().splitlines())
    first = [job for job in sharing if holders[str(job.pid)] == A]
    first[0].kill()
    assert fifth.wait() == 0, "a place is free again for one that shares"
    assert alone.poll() is None, "but not for one that wants a card of its own"
    first[1].kill()
    assert alone.wait() == 0
    for job in sharing:
        job.kill()
    for job in (*sharing, fifth, alone):
        job.communicate()


SEVERAL = """
import os, sys, time
from pathlib import Path
from replearn.devices import lease
log, wanted = Path(sys.argv[1]), int(sys.argv[2])
with lease("cuda", gpus=wanted) as held:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(held.names)
    with log.open("a") as file:
        file.write("".join(f"{name} + {os.getpid()}\\n" for name in held.names))
    time.sleep(0.05)
    with log.open("a") as file:
        file.write("".join(f"{name} - {os.getpid()}\\n" for name in held.names))
"""


def test_a_job_takes_several_cards_at_once_or_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [
        subprocess.Popen([sys.executable, "-c", SEVERAL, str(log), str(1 + number % 2)])
        for number in range(10)
    ]
    assert [job.wait() for job in jobs] == [0] * 10
    assert most_at_once(log) == {A: 1, B: 1}


def test_more_cards_than_there_are_become_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with lease("auto", gpus=4) as held:
        assert held.names == (A, B)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with lease("auto", gpus=2) as first, lease("auto", gpus=2) as second:
        assert first.names == second.names == (A, B), "Slurm has assigned them"
