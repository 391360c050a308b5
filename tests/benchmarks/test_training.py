"""The training benchmark times what a study does, both ways on the same steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.training import Case, Contest, cases, compared, configuration, switched

CASE = Case("convnet", "simclr", 16, 1, 8, 3)


def test_both_ways_make_the_same_steps(tmp_path: Path) -> None:
    contest = Contest(CASE, "cpu", tmp_path)
    assert [len(batch.index) for batch in contest.batches] == [8, 8, 8]
    weights = [p.detach().clone() for p in contest.method.parameters()]
    contest.end_to_end()
    moved = [p.detach().clone() for p in contest.method.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(weights, moved, strict=True))
    assert len((tmp_path / "1" / "history.jsonl").read_text().splitlines()) == 2
    contest.model_alone()
    after = list(contest.method.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(moved, after, strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_case_is_a_run_that_a_study_could_have(device: str) -> None:
    for case in cases(device, quick=False):
        assert configuration(case).method == case.method


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_row_has_a_ratio_of_as_many_pairs_as_were_measured(rounds: int) -> None:
    row = compared(CASE, "cpu", rounds)
    assert row.ratio is not None and len(row.ratio.pairs) == 2 * rounds
    assert set(row.values) == {"end to end", "model alone"}
    engines = switched(CASE, "cpu", rounds, {"fast": {}, "plain": {"engine": "plain"}})
    assert set(engines.values) == {"fast", "plain"}
