"""Several processes for one training: started here, by torchrun, or on the nodes of a Slurm job.

A process that finds torch's variables (RANK, WORLD_SIZE, MASTER_ADDR, …) in its environment is a rank and
joins the others, whoever started it. One that doesn't, and was granted several GPUs, starts the ranks
through torch's launcher, which ends all of them if one fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NoReturn

AGENT = "REPLEARN_AGENT"
"""Set in the processes that srun starts on the nodes of a job, one on each."""
SAVING_SECONDS = 120
"""How long ranks may take to save their state after SIGTERM."""
PORTS = range(20_000, 40_000)
"""Where ranks of several nodes meet; each job has a port of its own, since jobs may share a node."""
RECORDED = 86
"""Exit status of a rank that failed and left word of it, as the study asks for."""


def is_rank() -> bool:
    """Whether this process is one of several that share a training."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def leads() -> bool:
    """Whether this process is the first of its training, or the only one; the one that talks and writes."""
    return not is_rank() or os.environ["RANK"] == "0"


@contextmanager
def joined(device: Literal["cpu", "cuda"]) -> Iterator[Literal["cpu", "cuda"]]:
    """Within the context, this process is a rank among its peers; on "cuda", with a GPU of its own.

    A rank that fails leaves without a goodbye: its peers may be waiting for it elsewhere, and the launcher
    ends them when it is gone.
    """
    import torch
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    yield device
    dist.destroy_process_group()


def shareable(batch_size: int, devices: int) -> int:
    """How many of `devices` ranks divide a batch evenly: the most that do."""
    return max(ranks for ranks in range(1, max(devices, 1) + 1) if batch_size % ranks == 0)


def run_ranks(arguments: Sequence[str], ranks: int) -> None:
    """Run `replearn` with these arguments in `ranks` processes on each node, and wait for all of them.

    Raises:
        SystemExit: with the status of the rank that failed first, unless that left word of it; or 128 + the
            number of the signal that ended this process; the ranks got it too and saved their state.
    """
    import logging
    from tempfile import TemporaryDirectory

    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    nodes = slurm_nodes()
    if len(nodes) > 1 and AGENT not in os.environ:
        _start_on(nodes)
    # A rank has said what went wrong; the launcher would say it again, at length.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    job = os.environ.get("SLURM_JOB_ID", str(os.getpid()))
    meeting = f"{nodes[0]}:{PORTS[int(job) % len(PORTS)]}"
    # The launcher notes there why a rank failed, and leaves it behind.
    with TemporaryDirectory() as notes:
        config = LaunchConfig(
            min_nodes=len(nodes),
            max_nodes=len(nodes),
            nproc_per_node=ranks,
            run_id=job,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0" if len(nodes) == 1 else meeting,
            max_restarts=0,
            shutdown_timeout=SAVING_SECONDS,
            logs_specs=DefaultLogsSpecs(notes),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "replearn", *arguments)
        except ChildFailedError as error:
            first = min(error.failures.values(), key=lambda failure: failure.timestamp)
            if first.exitcode != RECORDED:
                raise SystemExit(first.exitcode if first.exitcode > 0 else 1) from None
        except SignalException as signalled:
            raise SystemExit(128 + signalled.sigval) from None


def slurm_nodes() -> list[str]:
    """Names of the nodes of this Slurm job, one name outside Slurm."""
    if int(os.environ.get("SLURM_JOB_NUM_NODES", "1")) == 1:
        return ["localhost"]
    listed = os.environ["SLURM_JOB_NODELIST"]
    command = ["scontrol", "show", "hostnames", listed]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _start_on(nodes: Sequence[str]) -> NoReturn:
    """Become an srun that runs this very command once on each node."""
    command = ["srun", f"--nodes={len(nodes)}", f"--ntasks={len(nodes)}", "--ntasks-per-node=1"]
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
        command.append(f"--cpus-per-task={cores}")  # srun does not take it over from the job
    command += ["--overlap", "--kill-on-bad-exit=1"]
    command += [sys.executable, "-m", "replearn", *sys.argv[1:]]
    os.execvpe(command[0], command, {**os.environ, AGENT: "1"})
