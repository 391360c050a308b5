from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from replearn.evaluate import knn
from replearn.evaluate.knn import knn_predict, most_similar, neighbours, vote
from tests.evaluate.digits import pixels


def naive(train: Tensor, labels: Tensor, test: Tensor, classes: int, k: int, t: float) -> list[int]:
    """The definition in loops over Python floats."""

    def cosine(a: list[float], b: list[float]) -> float:
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))

    rows = train.double().tolist()
    predicted = []
    for query in test.double().tolist():
        ranked = sorted((-cosine(query, row), i) for i, row in enumerate(rows))[:k]
        votes = [0.0] * classes
        for negative, i in ranked:
            votes[int(labels[i])] += math.exp((-negative + ranked[0][0]) / t)
        predicted.append(max(range(classes), key=lambda c: (votes[c], -c)))
    return predicted


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (7, 1.0), (20, 0.01)])
def test_agrees_with_loops(k: int, temperature: float) -> None:
    x, y = pixels()
    found = knn_predict(x[:150], y[:150], x[150:190], classes=10, k=k, temperature=temperature)
    assert found.dtype == torch.int64
    assert found.tolist() == naive(x[:150], y[:150], x[150:190], 10, k, temperature)


def test_agrees_with_scikit_learn_on_all_digits() -> None:
    x, y = (t.double() if t.is_floating_point() else t for t in pixels())
    reference = KNeighborsClassifier(
        20, metric="cosine", weights=lambda d: torch.exp(-torch.as_tensor(d) / 0.07).numpy()
    ).fit(x[:1200].numpy(), y[:1200].numpy())
    found = knn_predict(x[:1200], y[:1200], x[1200:], classes=10)
    assert found.tolist() == reference.predict(x[1200:].numpy()).tolist()
    assert (found == y[1200:]).double().mean() > 0.95


def test_is_the_same_in_chunks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pixels()
    whole = knn_predict(x[:300], y[:300], x[300:400], classes=10)
    monkeypatch.setattr(knn, "BUDGET", 10)
    assert torch.equal(whole, knn_predict(x[:300], y[:300], x[300:400], classes=10))


def test_one_query_and_a_class_that_no_query_has() -> None:
    x, y = pixels()
    nines = x[500:][y[500:] == 9]
    found = knn_predict(x[:500], y[:500], nines[:1], classes=12)
    assert found.tolist() == [9]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_with_norms_beyond_its_range(dtype: torch.dtype) -> None:
    x, y = pixels()
    large = (x * 3e4).to(dtype)
    assert torch.isinf((large[0] * large[0]).sum()) or dtype == torch.bfloat16
    found = knn_predict(large[:500], y[:500], large[500:700], classes=10)
    exact = knn_predict(large[:500].double(), y[:500], large[500:700].double(), classes=10)
    assert (found == exact).double().mean() > 0.99


def test_identical_embeddings_vote_by_the_first_rows() -> None:
    bank = torch.ones(50, 8)
    labels = torch.cat([torch.full((5,), 3), torch.full((45,), 1)])
    similarity, index = neighbours(bank, torch.ones(4, 8), 9)
    assert torch.equal(index, torch.arange(9).expand(4, 9))
    assert torch.allclose(similarity, torch.ones(4, 9))
    assert knn_predict(bank, labels, torch.ones(4, 8), classes=5, k=9).tolist() == [3] * 4


def test_ties_at_the_last_place_go_to_the_lowest_rows() -> None:
    bank = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [5.0, 0.0], [1.0, 1.0]])
    _, index = neighbours(bank, torch.tensor([[4.0, 0.0]]), 2)
    assert index.tolist() == [[1, 2]]
    _, index = neighbours(bank, torch.tensor([[4.0, 0.0]]), 5)
    assert index.tolist() == [[1, 2, 4, 5, 0]]


@given(
    columns=st.integers(1, 400),
    k=st.integers(1, 12),
    values=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_the_most_similar_are_those_of_a_stable_sort(
    columns: int, k: int, values: int, seed: int
) -> None:
    """Few values make many ties; many columns for a k are looked at in groups."""
    random = torch.Generator().manual_seed(seed)
    similarity = torch.randint(values, (3, columns), generator=random) / values
    similarity[0, columns // 2 :] = -torch.inf
    k = min(k, columns)
    value, index = similarity.sort(dim=1, descending=True, stable=True)
    found = most_similar(similarity, k)
    assert torch.equal(found[0], value[:, :k])
    assert torch.equal(found[1], index[:, :k])


def test_equal_votes_are_equal_in_whatever_order_they_are_added() -> None:
    random = torch.Generator().manual_seed(0)
    similarity = torch.rand(200, 9, generator=random, dtype=torch.float64).sort(1).values.flip(1)
    similarity = similarity.repeat_interleave(2, 1)
    labels = torch.tensor([0, 1])
    index = torch.arange(2).repeat(200, 9)
    for _ in range(5):
        later = 1 + torch.randperm(17, generator=random)
        order = torch.cat([torch.zeros(1).long(), later])
        found = vote(similarity[:, order], index[:, order], labels, classes=2, temperature=0.07)
        assert found.tolist() == [0] * 200


def test_a_small_bank_votes_as_a_whole() -> None:
    bank, labels = torch.eye(3), torch.tensor([0, 1, 1])
    similarity, index = neighbours(bank, torch.eye(3)[:1], 20)
    assert similarity.shape == index.shape == (1, 3)
    assert knn_predict(bank, labels, torch.eye(3), classes=2).tolist() == [0, 1, 1]


def test_zero_vectors_are_similar_to_nothing() -> None:
    similarity, _ = neighbours(torch.eye(3), torch.zeros(1, 3), 3)
    assert similarity.tolist() == [[0.0, 0.0, 0.0]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.integers(1, 12))
def test_scale_and_rotation_change_nothing(seed: int, scale: float, k: int) -> None:
    random = torch.Generator().manual_seed(seed)
    bank, queries = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (40, 9))
    labels = torch.randint(3, (40,), generator=random)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=random, dtype=torch.float64))[0]
    found = knn_predict(bank, labels, queries, classes=3, k=k)
    assert torch.equal(
        found, knn_predict(scale * bank @ basis, labels, queries @ basis, classes=3, k=k)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": torch.ones(2, 3)}, r"not \[4, 2\] and \[2, 3\]"),
        ({"train": torch.ones(0, 2)}, "0 rows in the bank"),
        ({"test": torch.ones(0, 2)}, "0 queries"),
        ({"train_labels": torch.tensor([0, 1])}, "2 labels are fewer"),
        ({"train_labels": torch.tensor([0, 1, 2, 5])}, "0 … 2"),
        ({"k": 0}, "k must be at least 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_refuses(change: dict[str, object], message: str) -> None:
    arguments = {
        "train": torch.eye(4)[:, :2],
        "train_labels": torch.tensor([0, 1, 2, 2]),
        "test": torch.ones(2, 2),
        "classes": 3,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        knn_predict(**arguments)  # type: ignore[arg-type]
