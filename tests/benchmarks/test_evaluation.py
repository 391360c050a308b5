from __future__ import annotations

from benchmarks.evaluation import COMPARED, knn, made_up, probe_path, timed_pairs
from replearn.evaluate.protocol import LinearProtocol


def test_pairs_run_in_the_order_a_b_b_a() -> None:
    order: list[str] = []
    ours, theirs = timed_pairs(
        lambda: order.append("a"), lambda: order.append("b"), device="cpu", pairs=3
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert len(ours) == len(theirs) == 3


def test_both_find_the_same_on_features_that_are_neither_easy_nor_hopeless() -> None:
    task = made_up(1200, 400, 32)
    search = knn(task, device="cpu", pairs=1)
    assert search.difference <= 0.005
    assert search.ratio == search.theirs[0] / search.ours[0]
    path = probe_path(task, device="cpu", pairs=1)
    assert path.difference <= 0.01
    assert len(LinearProtocol().strengths) > COMPARED
