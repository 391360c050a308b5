"""Clusters and retrieval against scikit-learn and plain loops, on pixels of real digits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from replearn.evaluate.features import Features
from replearn.evaluate.kmeans import ari, kmeans, nmi
from replearn.evaluate.protocol import StructureProtocol
from replearn.evaluate.ranking import retrieval
from replearn.evaluate.structure import structure_metrics
from replearn.randomness import generator
from tests.evaluate.digits import pixels

GROUPINGS = [(50, 3, 4), (200, 10, 10), (40, 1, 3), (40, 1, 1), (6, 6, 2)]


@pytest.mark.parametrize(("count", "a", "b"), GROUPINGS)
def test_agreement_is_that_of_scikit_learn(count: int, a: int, b: int) -> None:
    random = torch.Generator().manual_seed(count)
    left = 7 * torch.randint(0, a, (count,), generator=random)
    right = torch.where(
        torch.rand(count, generator=random) < 0.5,
        left % b,
        torch.randint(0, b, (count,), generator=random),
    )
    expected = normalized_mutual_info_score(left.numpy(), right.numpy())
    assert nmi(left, right) == pytest.approx(expected, abs=1e-9)
    assert ari(left, right) == pytest.approx(
        adjusted_rand_score(left.numpy(), right.numpy()), abs=1e-9
    )
    assert nmi(left, left + 3) == pytest.approx(1)
    assert ari(left, left + 3) == 1


def inertia(rows: torch.Tensor, member: torch.Tensor) -> float:
    groups = [rows[member == number] for number in member.unique()]
    return float(sum((group - group.mean(0)).square().sum() for group in groups))


def test_clusters_are_as_tight_as_those_of_scikit_learn() -> None:
    rows = F.normalize(pixels()[0], dim=1)
    theirs = KMeans(10, n_init=5, random_state=0).fit(rows.numpy())
    ours = kmeans(rows, 10, generator(0, "k-means"))
    assert len(ours.unique()) == 10
    assert inertia(rows, ours) < 1.01 * theirs.inertia_
    assert torch.equal(ours, kmeans(rows, 10, generator(0, "k-means")))


def test_clusters_of_few_distinct_points() -> None:
    points = torch.eye(3).repeat(4, 1)
    found = kmeans(points, 3, generator(0, "three"))
    assert ari(found, torch.arange(3).repeat(4)) == 1
    assert kmeans(torch.ones(5, 2), 3, generator(0, "one")).shape == (5,)
    assert kmeans(points, 1, generator(0, "all")).tolist() == [0] * 12
    with pytest.raises(ValueError, match="13 clusters of rows"):
        kmeans(points, 13, generator(0, "more"))


def test_retrieval_is_that_of_a_loop_over_queries() -> None:
    h, labels = (part[:120].clone() for part in pixels())
    labels[7] = 99
    unit = F.normalize(h, dim=1)
    precisions, firsts = [], []
    for query in range(len(h)):
        others = [row for row in range(len(h)) if row != query]
        wanted = sum(int(labels[row]) == int(labels[query]) for row in others)
        if not wanted:
            continue
        others.sort(key=lambda row: -float(unit[query] @ unit[row]))
        right = [int(labels[row]) == int(labels[query]) for row in others[:wanted]]
        total = sum(sum(right[: i + 1]) / (i + 1) for i in range(wanted) if right[i])
        precisions.append(total / wanted)
        firsts.append(right[0])
    found = retrieval(h, labels)
    assert found is not None
    assert len(precisions) == 119
    assert found["map_at_r"] == pytest.approx(sum(precisions) / 119, abs=1e-6)
    assert found["recall_at_1"] == pytest.approx(sum(firsts) / 119, abs=1e-12)


def test_classes_far_apart_are_found_whole_and_a_constant_finds_by_chance() -> None:
    labels = torch.arange(4).repeat(30)
    assert retrieval(torch.eye(4)[labels], labels) == {"map_at_r": 1, "recall_at_1": 1}
    chance = retrieval(torch.ones(120, 3), labels)
    assert chance is not None
    assert chance["map_at_r"] < 0.3
    assert retrieval(torch.eye(4), torch.arange(4)) is None


def features(h: torch.Tensor, labels: torch.Tensor | None, error: torch.Tensor | None) -> Features:
    return Features(h, None, labels, torch.arange(len(h)), error)


def test_each_missing_number_has_its_reason() -> None:
    h, labels = (part[:50] for part in pixels())
    protocol = StructureProtocol(images=40)
    metrics, details = structure_metrics(features(h, labels, torch.arange(50.0)), protocol)
    assert metrics["reconstruction_mse"] == 24.5
    assert (details["images"], details["clusters"]) == (40, 10)
    assert None not in metrics.values()

    for other, reason in (
        (features(h, None, None), "no labels"),
        (features(h * torch.nan, labels, None), "not finite"),
        (features(h, labels * 0, None), "all of one class"),
    ):
        metrics, details = structure_metrics(other, protocol)
        assert set(metrics.values()) == {None}
        assert reason in details["reason"]
        assert "does not give images back" in details["reason_reconstruction"]
    metrics, details = structure_metrics(
        features(h[:2], torch.tensor([0, 1]), None), StructureProtocol()
    )
    assert metrics["nmi"] == 1
    assert metrics["map_at_r"] is None
    assert "no image has another" in details["reason_retrieval"]
