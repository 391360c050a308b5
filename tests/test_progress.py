"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import os
import pty
import time

from replearn.progress import Progress, duration


def test_a_log_gets_plain_lines_with_share_rate_and_eta() -> None:
    log = io.StringIO()
    with Progress(200, "simclr", stream=log, interval=0.0) as progress:
        progress.advance(50, loss=1.5)
    lines = log.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("simclr  25%  50/200 images  loss 1.5")
    assert "images/s" in lines[0] and "ETA" in lines[0]
    assert "\r" not in log.getvalue()


def test_a_quick_job_writes_one_line() -> None:
    log = io.StringIO()
    with Progress(3, "embed", stream=log) as progress:
        for _ in range(3):
            progress.advance()
    assert log.getvalue().count("\n") == 1
    assert "100%" in log.getvalue() and "ETA" not in log.getvalue()


def test_patience_keeps_quick_work_silent() -> None:
    log = io.StringIO()
    with Progress(3, "hash", stream=log, interval=0.0, patience=60.0) as progress:
        progress.advance(3)
    assert log.getvalue() == ""
    with Progress(3, "hash", stream=log, interval=0.0, patience=0.01) as progress:
        time.sleep(0.02)
        progress.advance(3)
    assert log.getvalue().count("100%") == 1


def test_work_of_an_earlier_process_does_not_count_in_the_rate() -> None:
    progress = Progress(100, "x", done=90, stream=io.StringIO())
    assert "images/s" not in progress.line()
    assert " 90%" in progress.line()


def test_a_look_at_finished_work_does_not_count_in_the_rate() -> None:
    progress = Progress(1000, "x", done=500, stream=io.StringIO())
    time.sleep(0.2)
    progress.checked()
    assert "images/s" not in progress.line()
    progress.advance(100)
    rate = next(part for part in progress.line().split("  ") if part.endswith("images/s"))
    assert float(rate.split()[0].replace(",", "")) > 100 / 0.2


def test_slow_work_has_an_eta_but_no_rate_of_noughts() -> None:
    progress = Progress(3, "benchmark", "cases", stream=io.StringIO())
    progress._working -= 60
    progress.advance()
    assert "ETA 2m00s" in progress.line() and "cases/s" not in progress.line()


def test_a_terminal_redraws_one_line() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, Progress(10, "byol", stream=terminal) as progress:
        progress.interval = 0.0
        progress.note("resuming")
        progress.advance(5)
        progress.advance(5)
        terminal.flush()
        shown = os.read(leader, 4096).decode()
    os.close(leader)
    assert shown.count("\r") >= 3
    assert "byol: resuming" in shown


def test_durations_read_well() -> None:
    assert [duration(s) for s in (0, 8.4, 59, 200, 7500)] == ["0s", "8s", "59s", "3m20s", "2h05m"]


def test_nothing_to_count_is_simply_done() -> None:
    assert Progress(0, "random_init", stream=io.StringIO()).line() == "random_init done  elapsed 0s"
