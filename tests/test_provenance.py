"""Where a number comes from."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import replearn
from replearn.provenance import commit, provenance


def test_facts_of_this_process() -> None:
    before = time.time()
    facts = provenance(before - 100.0)
    assert facts["replearn"] == replearn.__version__
    assert facts["python"].split(".") == [str(part) for part in sys.version_info[:3]]
    assert facts["device"] == "cpu"
    assert facts["device_name"]
    assert facts["device_uuid"] is None
    assert 100.0 <= facts["wall_seconds"] <= 100.0 + time.time() - before + 0.01
    created = datetime.fromisoformat(facts["created"])
    assert created.tzinfo == UTC
    assert abs(created.timestamp() - before) < 60
    json.dumps(facts, allow_nan=False)


GROWS = """
import json, sys, time
from replearn.provenance import provenance
first = provenance(time.time())["peak_memory_mb"]
block = bytearray(b"x" * (200 * 2**20))
del block
print(json.dumps([first, provenance(time.time())["peak_memory_mb"], "torch" in sys.modules]))
"""


def test_peak_memory_is_the_highest_of_this_process_alone() -> None:
    heavy = bytearray(b"x" * (300 * 2**20))
    out = subprocess.run([sys.executable, "-c", GROWS], capture_output=True, text=True, check=True)
    first, peak, torch_loaded = json.loads(out.stdout)
    assert first < 150 < len(heavy) / 2**20, (
        "the memory of the process that started it does not count"
    )
    assert 200 < peak - first + 5 < 450
    assert torch_loaded is False


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_commit_is_named_and_changes_are_marked(tmp_path: Path) -> None:
    assert commit(tmp_path) is None, "not a checkout"
    git(tmp_path, "init", "-q")
    assert commit.__wrapped__(tmp_path) is None, "nothing committed yet"
    file = tmp_path / "a.py"
    file.write_text("a = 1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit.__wrapped__(tmp_path) == head
    (tmp_path / "untracked.txt").write_text("results are no change of the code")
    assert commit.__wrapped__(tmp_path) == head
    file.write_text("a = 2\n")
    assert commit.__wrapped__(tmp_path) == f"{head}-dirty"
