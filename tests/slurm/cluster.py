"""A real Slurm on this machine: munge, slurmctld and slurmd, one node with two pretend GPUs.

    python -m tests.slurm.cluster up FOLDER      # as root
    python -m tests.slurm.cluster down FOLDER

Needs Debian's packages slurm-wlm and munge. The GPUs are character devices that lead nowhere: Slurm hands
them out, and says which job holds which, as it does with real ones.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GPUS = 2
HOME = Path("/etc/slurm")
"""Where every client, also one inside a job, looks for the configuration."""
CONFIGS = ("slurm.conf", "gres.conf", "cgroup.conf")
CONFIG = """
ClusterName=pretend
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort={port}
SlurmdPort={port2}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait=30
GresTypes=gpu
NodeName=DEFAULT Sockets=1 CoresPerSocket={cpus} ThreadsPerCore=1 CPUs={cpus}
NodeName={host} NodeAddr=127.0.0.1 RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Its daemons and their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def up(self) -> None:
        """Start the daemons and wait until the node takes jobs."""
        theirs = HOME / CONFIGS[0]
        if theirs.exists() and not theirs.is_symlink():
            raise RuntimeError(f"this machine has a Slurm of its own ({theirs})")
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self._start_munge()
        devices = [self._device(number) for number in range(GPUS)]
        host = socket.gethostname().partition(".")[0]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        conf = CONFIG.format(
            host=host,
            folder=self.folder,
            port=16817,
            port2=16818,
            cpus=os.cpu_count(),
            memory=memory - 512,
            gpus=GPUS,
        )
        (self.folder / "slurm.conf").write_text(conf)
        lines = [f"NodeName={host} Name=gpu File={device}\n" for device in devices]
        (self.folder / "gres.conf").write_text("".join(lines))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        HOME.mkdir(exist_ok=True)
        for name in CONFIGS:
            (HOME / name).unlink(missing_ok=True)
            (HOME / name).symlink_to(self.folder / name)
        for daemon in ("slurmctld", "slurmd"):
            self._daemon([daemon, "-D"])
        deadline = time.monotonic() + 30
        while self.state() not in ("idle", "mixed", "allocated"):
            if time.monotonic() > deadline:
                logs = [path.read_text()[-2000:] for path in self.folder.glob("*.[lo][ou][gt]")]
                raise RuntimeError(f"the node is {self.state()!r}\n" + "\n".join(logs))
            time.sleep(0.5)

    def state(self) -> str:
        """Of the node, as sinfo has it."""
        return self.client("sinfo", "--noheader", "--format=%T").strip()

    def client(self, *command: str) -> str:
        """Output of a Slurm command."""
        return subprocess.run(command, capture_output=True, text=True).stdout

    def down(self) -> None:
        """End all jobs and daemons, and remove their configuration and devices."""
        self.client("scancel", "--user", "root", "--signal=KILL", "--full")
        pids = self.folder / "pids"
        for pid in pids.read_text().split() if pids.exists() else ():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(pid), signal.SIGKILL)
        for number in range(GPUS):
            Path(f"/dev/pretend-gpu{number}").unlink(missing_ok=True)
        for name in CONFIGS:
            (HOME / name).unlink(missing_ok=True)

    def _daemon(self, command: list[str]) -> None:
        with (self.folder / f"{command[0]}.out").open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        with (self.folder / "pids").open("a") as pids:
            pids.write(f"{process.pid}\n")

    @staticmethod
    def _device(number: int) -> Path:
        path = Path(f"/dev/pretend-gpu{number}")
        path.unlink(missing_ok=True)
        subprocess.run(["mknod", str(path), "c", "1", "3"], check=True)
        return path

    @staticmethod
    def _start_munge() -> None:
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return
        key = Path("/etc/munge/munge.key")
        if not key.exists():
            key.write_bytes(secrets.token_bytes(1024))
        shutil.chown(key, "munge", "munge")
        key.chmod(0o400)
        run = Path("/run/munge")
        run.mkdir(exist_ok=True)
        shutil.chown(run, "munge", "munge")
        run.chmod(0o755)
        subprocess.run(
            ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--force"],
            check=True,
        )


if __name__ == "__main__":
    cluster = Cluster(Path(sys.argv[2]))
    if sys.argv[1] == "up":
        cluster.up()
    else:
        cluster.down()
