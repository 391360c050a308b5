"""Processes that kill themselves at a chosen touch of the file system.

    python -m tests.faults.crashing OUTPUT COMMAND...

runs a `replearn` command again and again in forked children: once to count how often it touches files below
OUTPUT, then, for each of these touches, a child that gets SIGKILL just before it, and one that has to make up
for it. After each, the files of OUTPUT must be what the undisturbed command left. A fork takes milliseconds
where a new Python takes seconds, so that every single point can be tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIXES = {".json", ".jsonl", ".safetensors", ".npy", ".csv", ".html"}
TOUCHES = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "shutil.move"}


def child(work: Callable[[], object]) -> int:
    """Wait status of a forked child that does `work`."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except SystemExit as ended:
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def watch(folder: Path, touched: Callable[[str], None]) -> None:
    """Call `touched` before each touch of a file below `folder`, in this process from now on."""
    inside = os.fspath(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in TOUCHES or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        if path.startswith(inside) and "__pycache__" not in path:
            touched(f"{event} {Path(path).name}")

    sys.addaudithook(hook)


def run(command: list[str]) -> None:
    from replearn.cli import main

    sys.argv = ["replearn", *command]
    with contextlib.suppress(ValueError):
        main(command)


def counted(folder: Path, command: list[str]) -> list[str]:
    """The touches of an undisturbed run."""
    with tempfile.TemporaryFile("w+") as told:

        def work() -> None:
            watch(folder, lambda touch: print(touch, file=told, flush=True))
            run(command)

        assert child(work) == 0, "the undisturbed command failed"
        told.seek(0)
        return told.read().splitlines()


def killed(folder: Path, command: list[str], point: int) -> bool:
    """Run the command and kill it just before its touch number `point`; whether it came that far."""

    def work() -> None:
        left = point

        def touched(touch: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        watch(folder, touched)
        run(command)

    status = child(work)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def content(folder: Path) -> dict[str, object]:
    """The files of a folder without times: bytes of safetensors, and JSON without its provenance."""
    return {str(path.relative_to(folder)): essence(path) for path in sorted(files(folder))}


def files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix in SUFFIXES and "state" not in path.parts:
            yield path


def essence(path: Path) -> object:
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        return {k: v for k, v in value.items() if k != "provenance"}
    if path.suffix == ".jsonl":
        from tests.tiny_study import TIMES

        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
    return path.read_bytes()


def main(output: Path, command: list[str], *, every: int = 1) -> dict[str, object]:
    """Kill at every `every`-th point, make up for it, and compare; what was done."""
    before = Path(tempfile.mkdtemp(dir=output.parent, prefix="before-"))
    shutil.copytree(output, before, dirs_exist_ok=True)
    touches = counted(output, command)
    wanted = content(output)
    points = range(0, len(touches), every)
    unlike = []
    for point in points:
        shutil.rmtree(output)
        shutil.copytree(before, output)
        assert killed(output, command, point), f"not killed at {point}, {touches[point]}"
        assert child(lambda: run(command)) == 0, f"no recovery from {point}, {touches[point]}"
        found = content(output)
        if found != wanted:
            changed = sorted(k for k in wanted.keys() | found if wanted.get(k) != found.get(k))
            unlike.append(f"{point}, {touches[point]}: {changed}")
    shutil.rmtree(before)
    return {"touches": len(touches), "kills": len(points), "unlike": unlike}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    step = int(os.environ.get("EVERY", "1"))
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:], every=step)))
