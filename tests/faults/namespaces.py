"""Commands in namespaces of their own, where they may mount file systems or be the first process."""

from __future__ import annotations

import os
import subprocess

import pytest

MOUNTS = ("--mount",)
FIRST_PROCESS = ("--mount", "--pid", "--fork", "--mount-proc")


def alone(*kinds: str) -> list[str]:
    """The words to put before a command; skips the test where the system grants no such namespace.

    Asked by a command that does nothing, so that no failure of a test's own command can pass for a refusal.
    """
    words = ["unshare", *kinds, *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = ["mount", "-t", "tmpfs", "none", "/mnt"]
    asked = subprocess.run([*words, *mount], capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"the system grants no namespaces: {asked.stderr.strip()[:200]}")
    return words
