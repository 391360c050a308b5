"""The benchmark of the workflow's start: what was measured before an interrupt stays, and what it offers."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import dag
from benchmarks.harness import Row


def test_an_interrupt_leaves_the_starts_that_were_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(command: list[str], folder: Path) -> tuple[float, str]:
        if "--dry-run" in command:
            raise KeyboardInterrupt
        return (0.5 if "--version" in command else 1.25), ""

    monkeypatch.setattr(dag, "_timed", timed)
    tables = dag.measure(Namespace(quick=True))
    whole, starts = next(tables), next(tables)
    with pytest.raises(KeyboardInterrupt):
        next(tables)
    assert whole.rows == []
    assert [row.values["time"] for row in starts.rows] == [1.25, 0.5]


@pytest.mark.slow
def test_the_bare_workflow_has_the_jobs_and_the_files_of_ours(tmp_path: Path) -> None:
    counted, written = [], []
    for name, snakefile in dag.SNAKEFILES.items():
        folder = tmp_path / name
        folder.mkdir()
        counts = dag.jobs(snakefile, folder, seeds=1)
        counted.append({rule: n for rule, n in counts.items() if rule not in ("all", "study")})
        _, summary = dag.snakemake(snakefile, folder, dag.study(1), "--summary")
        written.append(Counter(re.findall(r"^\S*/(\S+)\t", summary, re.MULTILINE)))
    assert counted[0] == counted[1]
    assert written[0] == written[1]
    assert written[0]["knn.json"] == len(dag.study(1)["methods"])


def test_dry_runs_are_timed_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def timed(command: list[str], folder: Path) -> tuple[float, str]:
        called.append(folder.name)
        return (3.0 if folder.name == "replearn-4" else 2.0), "prepare      1\ntotal  38\n"

    monkeypatch.setattr(dag, "_timed", timed)
    count, row = dag.dry_runs(tmp_path, seeds=4, rounds=1)
    assert called == [
        f"{name}-4" for name in ["replearn", "bare", "replearn", "bare", "bare", "replearn"]
    ]
    assert (count, row.case, row.values) == (38, "38 jobs", {"replearn": 3.0, "bare": 2.0})
    assert row.ratio is not None and row.ratio.pairs == (1.5, 1.5)


def test_a_line_is_laid_through_the_times() -> None:
    counts = [500, 2000]
    rows = [
        Row(f"{n:,} jobs", {"replearn": 1 + n / 500, "bare": 1 + n / 1000}, "s") for n in counts
    ]
    (_, ours, bare, _) = dag.lines(counts, rows)
    assert ours == "replearn: 1.0 s and 2.00 ms for each job, 9.4 s for 4,200"
    assert bare == "bare: 1.0 s and 1.00 ms for each job, 5.2 s for 4,200"


@pytest.mark.parametrize("option", ["--device", "--threads"])
def test_it_offers_neither_a_device_nor_threads(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["dag", option, "2"])
    with pytest.raises(SystemExit, match="2"):
        dag.main()
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
