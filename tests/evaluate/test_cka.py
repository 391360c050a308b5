"""Linear CKA against its definition by Gram matrices."""

from __future__ import annotations

import numpy as np
import pytest

from replearn.evaluate.cka import linear_cka, scaled


def by_gram(x: np.ndarray, y: np.ndarray) -> float:
    """tr(KHLH) / √(tr(KHKH) tr(LHLH)), K and L the Gram matrices (Kornblith et al., 2019, eq. 4)."""
    centring = np.eye(len(x)) - 1 / len(x)
    k, gram = (centring @ (m @ m.T) @ centring for m in (x.astype(float), y.astype(float)))
    return float(np.trace(k @ gram) / np.sqrt(np.trace(k @ k) * np.trace(gram @ gram)))


@pytest.mark.parametrize(("d", "k"), [(5, 3), (5, 90), (90, 70), (1, 1)])
def test_it_is_that_of_gram_matrices(d: int, k: int) -> None:
    random = np.random.default_rng(d)
    x = random.normal(size=(60, d)).astype(np.float32) + 4
    y = random.normal(size=(60, k)) + x[:, :1]
    assert linear_cka(x, y) == pytest.approx(by_gram(x, y), abs=1e-9)
    found = scaled(y)
    assert found is not None
    assert found.shape == (60, min(k, 60))


def test_rotation_scale_and_shift_do_not_matter() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(100, 8)) * np.arange(1, 9)
    rotation = np.linalg.qr(random.normal(size=(8, 8)))[0]
    assert linear_cka(x, 1e90 * (x @ rotation) + 1e90) == pytest.approx(1)
    assert linear_cka(x, x * [1, 0, 0, 0, 0, 0, 0, 0]) == pytest.approx(
        by_gram(x, x[:, :1]), abs=1e-9
    )
    apart = np.eye(4).repeat(25, 0)
    assert linear_cka(apart[:, :1] - apart[:, 1:2], apart[:, 2:3] - apart[:, 3:]) == pytest.approx(
        0
    )


def test_constant_or_infinite_features_have_none() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    assert linear_cka(x, np.full((10, 2), 0.1)) is None
    assert linear_cka(np.where(x > 1, np.inf, x), x) is None
    with pytest.raises(ValueError, match="10 and 9 rows"):
        linear_cka(x, x[:9])
