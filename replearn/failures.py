"""Failures as results: a run that cannot go on leaves word of it, and the rest of the study completes.

With `on_error: record`, the files that a step would have written say instead why they are empty, and the
steps after it pass that on. What the machine is to blame for (a full disk, a killed process) is never
recorded: a rerun may succeed.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from replearn.config import RunConfig
from replearn.errors import Diverged, MachineFault, UserError, understood
from replearn.jsonfile import read_json, write_json
from replearn.launch import is_rank
from replearn.provenance import provenance
from replearn.wholefile import write_bytes

WORD = "failure"
"""Metadata key of a safetensors file that holds word of a failure and nothing else."""
UNMEASURED = (
    "wall_seconds",
    "peak_memory_mb",
    "device",
    "device_name",
    "device_uuid",
    "energy_joules",
)
"""What is not said of a step that was not done: it would enter the means."""
PLANNED = ("config.json", "sources.json")
"""Files of a run that planning wrote, and that a failure leaves as they are."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run has no result.

    Attributes:
        status: "diverged" if its loss was no longer a number, else "failed".
        message: what to tell, with the step's log.
    """

    status: Literal["diverged", "failed"]
    message: str


def carry_out(
    run: RunConfig,
    work: Callable[[], None],
    outputs: Sequence[Path],
    *,
    after: Path | None = None,
    log: Path | None = None,
) -> bool:
    """Do a step of a run; if it fails and the study records failures, leave word in its outputs.

    Args:
        run: the run.
        work: the step.
        outputs: every file that the step writes.
        after: an input that may hold word of an earlier failure, which is passed on.
        log: where the step's output goes, for the message.

    Returns:
        Whether the step was done.
    """
    failure = word_in(after) if after is not None else None
    if failure is None:
        try:
            work()
            return True
        except Exception as error:
            known = understood(error)
            # A rank whose peer failed sees a broken connection; what it was is for the peer to say.
            secondary = known is None and is_rank()
            if run.on_error != "record" or isinstance(known, MachineFault) or secondary:
                raise
            failure = _failure(error, log)
    elif run.on_error == "stop":
        raise UserError(
            f"the step before has failed: {failure.message}",
            where=str(after),
            hint="An earlier start with on_error: record left word of it; replearn retry forgets it.",
        )
    print(f"recorded as a failure: {failure.message}", file=sys.stderr, flush=True)
    for path in outputs:
        _leave_word(path, run, failure)
    return False


def word_in(path: Path) -> Failure | None:
    """The failure that a file of a run tells of, None if it tells of none or is not there."""
    if not path.is_file():
        return None
    if path.suffix == ".json":
        metrics = read_json(path).get("metrics", {})
        if metrics.get("status", "ok") == "ok":
            return None
        return Failure(metrics["status"], metrics.get("message", ""))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            word = (file.metadata() or {}).get(WORD)
    except SafetensorError as error:
        raise UserError(
            f"the file is damaged ({error})",
            where=str(path),
            hint="Delete it and start again; the step that made it runs anew.",
        ) from None
    return None if word is None else Failure(**json.loads(word))


def forget(directory: Path, features: Path, evaluation: Path) -> bool:
    """Remove a run's files that tell of a failure, so that the next start tries again; True if there were.

    The checkpoint stays, unless the loss diverged: from there it would again.
    """
    told = word_in(directory / "pretrain.json")
    files = [*directory.glob("*.json*"), *directory.glob("*.safetensors")] if told else []
    files = [file for file in files if file.name not in PLANNED]
    if told and told.status == "diverged":
        files += (directory / "state").glob("checkpoint*")
    for folder in (features, evaluation):
        files += [
            file
            for file in (*folder.glob("*.json"), *folder.glob("*.safetensors"))
            if word_in(file)
        ]
    for file in files:
        file.unlink(missing_ok=True)
    return bool(files)


def _failure(error: Exception, log: Path | None) -> Failure:
    known = understood(error)
    if known is None:
        traceback.print_exception(error)
    message = known.message if known else f"{type(error).__name__}: {error}"
    if log is not None:
        message += f" (log: {log})"
    return Failure("diverged" if isinstance(error, Diverged) else "failed", message)


def _leave_word(path: Path, run: RunConfig, failure: Failure) -> None:
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        write_bytes(path, save({}, metadata={WORD: json.dumps(asdict(failure))}))
    elif path.suffix == ".jsonl":
        so_far = path.parent / "state" / path.name
        write_bytes(path, so_far.read_bytes() if so_far.is_file() else b"")
    else:
        content = {
            "schema": 1,
            "run": run.identification,
            "protocol": {},
            "metrics": asdict(failure),
            "provenance": {
                name: value
                for name, value in provenance(time.time()).items()
                if name not in UNMEASURED
            },
        }
        write_json(path, content)
