"""The evaluation benchmark compares like with like."""

from __future__ import annotations

from benchmarks.evaluation import COMPARED, knn, made_up, probe_path
from replearn.evaluate.protocol import LinearProtocol


def test_both_find_the_same_on_features_that_are_neither_easy_nor_hopeless() -> None:
    task = made_up(1200, 400, 32)
    search = knn(task, 20, "cpu", 1)
    assert search.difference <= 0.005
    assert len(search.ours) == len(search.theirs) == 2
    path = probe_path(task, "cpu", 1)
    assert path.difference <= 0.01
    assert len(LinearProtocol().strengths) > COMPARED
