"""What benchmarks note about the machine."""

import subprocess
import sys

from benchmarks.machine import busy_cores


def test_a_process_that_works_keeps_a_core_busy() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as working:
        try:
            assert busy_cores(1) > 0.4
        finally:
            working.kill()
