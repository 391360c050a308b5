"""A real Slurm on this machine: munge, slurmctld and slurmd, one node with two pretend GPUs.

    python -m tests.slurm.cluster up FOLDER      # as root; prints the variables that clients need
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
NodeName=DEFAULT NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket={cpus} ThreadsPerCore=1 CPUs={cpus}
NodeName={host} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Its daemons and their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """For clients such as sbatch."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def up(self) -> None:
        """Start the daemons and wait until the node takes jobs."""
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
        for daemon in ("slurmctld", "slurmd"):
            self._daemon([daemon, "-D", "-f", str(self.folder / "slurm.conf")])
        deadline = time.monotonic() + 60
        while self.state() not in ("idle", "mixed", "allocated"):
            if time.monotonic() > deadline:
                logs = [
                    (self.folder / f"{d}.log").read_text()[-2000:] for d in ("slurmctld", "slurmd")
                ]
                raise RuntimeError(f"the node is {self.state()!r}\n" + "\n".join(logs))
            time.sleep(0.5)

    def state(self) -> str:
        """Of the node, as sinfo has it."""
        return self.client("sinfo", "--noheader", "--format=%T").strip()

    def client(self, *command: str) -> str:
        """Output of a Slurm command."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.stdout

    def down(self) -> None:
        """End all jobs and daemons, and remove the devices."""
        self.client("scancel", "--user", "root", "--signal=KILL", "--full")
        pids = self.folder / "pids"
        for pid in pids.read_text().split() if pids.exists() else ():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(pid), signal.SIGKILL)
        for number in range(GPUS):
            Path(f"/dev/pretend-gpu{number}").unlink(missing_ok=True)

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
        for name, value in cluster.environment.items():
            print(f"export {name}={value}")
    else:
        cluster.down()
