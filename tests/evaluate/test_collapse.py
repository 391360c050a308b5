from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from replearn.evaluate import collapse
from replearn.evaluate.clusters import cluster_residual, nc1, nc2
from replearn.evaluate.collapse import (
    alignment,
    alpha_req,
    components_for,
    diagnose,
    effective_rank,
    feature_std,
    marchenko_pastur,
    participation_ratio,
    rank_me,
    spectrum,
    stable_rank,
    uniformity,
)
from replearn.evaluate.lidar import between_within, lidar, lidar_null
from tests.evaluate.digits import pixels, untrained

SCALARS = (feature_std, rank_me, effective_rank, participation_ratio, stable_rank, uniformity)


def normal(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def with_variances(variances: Tensor, n: int = 400) -> Tensor:
    """n rows whose centred covariance has exactly these eigenvalues."""
    d = len(variances)
    rows = normal(n, d)
    basis = torch.linalg.qr(rows - rows.mean(0))[0] * math.sqrt(n)
    return basis * variances.sqrt() @ torch.linalg.qr(normal(d, d, seed=1))[0]


def entropy_rank(p: list[float]) -> float:
    return math.exp(-math.fsum(x * math.log(x) for x in p if x > 0))


def naive(h: Tensor) -> dict[str, float]:
    """The formulas with loops and NumPy's singular values."""
    x = h.double().numpy()
    n, d = x.shape
    unit = [row / np.linalg.norm(row) for row in x]
    deviations = [float(np.std([u[j] for u in unit])) for j in range(d)]
    s = np.linalg.svd(x, compute_uv=False).tolist()
    variances = (np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / n).tolist()
    total = math.fsum(variances)
    gaps = [
        math.exp(-2 * float(np.sum((unit[i] - unit[j]) ** 2))) for i in range(n) for j in range(i)
    ]
    return {
        "feature_std": math.sqrt(d) * math.fsum(deviations) / d,
        "rank_me": entropy_rank([v / math.fsum(s) + 1e-7 for v in s]),
        "effective_rank": entropy_rank([v / total for v in variances]),
        "participation_ratio": total**2 / math.fsum(v * v for v in variances),
        "stable_rank": total / max(variances),
        "uniformity": math.log(math.fsum(gaps) / len(gaps)),
    }


@pytest.mark.parametrize(
    "h",
    [pixels()[0][:120], untrained(0, width=8)[:150], normal(20, 50), normal(90, 3) + 4],
    ids=["pixels", "untrained", "wide", "shifted"],
)
def test_agrees_with_loops(h: Tensor) -> None:
    expected = naive(h)
    for measure in SCALARS:
        assert measure(h) == pytest.approx(expected[measure.__name__], rel=1e-6), measure.__name__
    assert diagnose(h)["rank_me"] == rank_me(h)


def test_isotropic_noise() -> None:
    h = normal(20_000, 32)
    assert feature_std(h) == pytest.approx(1, abs=0.01)
    for measure in (rank_me, effective_rank, participation_ratio):
        assert measure(h) == pytest.approx(32, rel=0.01)
    assert uniformity(h[:3000]) == pytest.approx(-4 + 8 / 32, abs=0.1)
    assert alignment(h, normal(20_000, 32, seed=1)) == pytest.approx(2, abs=0.02)


def test_orthonormal_rows() -> None:
    h = torch.eye(8, 20)
    assert rank_me(h) == pytest.approx(8, rel=1e-4)
    # Centring removes one of the eight directions.
    assert effective_rank(h) == pytest.approx(7)
    assert participation_ratio(h) == pytest.approx(7)
    assert stable_rank(h) == pytest.approx(7)
    assert uniformity(h) == pytest.approx(-4)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.3])
def test_constant_features(value: float) -> None:
    h = torch.full((200, 30), value) * torch.linspace(0.1, 1, 30)
    for measure in (feature_std, effective_rank, participation_ratio, stable_rank, uniformity):
        assert measure(h) == pytest.approx(0, abs=1e-6), measure.__name__
    assert rank_me(h) == pytest.approx(1 if value else 0, abs=1e-3)
    assert components_for(h, 0.9) == 0
    assert math.isnan(alpha_req(h))


def test_only_the_uncentred_rank_sees_a_constant_with_noise() -> None:
    h = normal(1, 512) + 1e-4 * normal(5000, 512, seed=1)
    assert effective_rank(h) > 450
    assert rank_me(h) == pytest.approx(1.01, abs=0.05)


def test_known_spectrum() -> None:
    variances = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    h = with_variances(variances)
    assert torch.allclose(spectrum(h), variances)
    assert stable_rank(h) == pytest.approx(2)
    assert participation_ratio(h) == pytest.approx(256 / 86)
    assert [components_for(h, share) for share in (0.5, 0.6, 0.875, 0.9, 0.99)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.3])
def test_alpha_of_a_power_law(alpha: float) -> None:
    j = torch.arange(1, 129, dtype=torch.float64)
    assert alpha_req(with_variances(j**-alpha)) == pytest.approx(alpha, abs=1e-6)
    # Only components 10 to 100 count.
    bent = j**-alpha
    bent[:9], bent[100:] = bent[:9] * 50, bent[100:] / 7
    assert alpha_req(with_variances(bent)) == pytest.approx(alpha, abs=1e-6)


def test_alpha_by_weighted_least_squares_of_numpy() -> None:
    h = untrained(0)
    j = np.arange(10, 101)
    slope = np.polyfit(np.log(j), np.log(spectrum(h).numpy()[9:100]), 1, w=1 / np.sqrt(j))[0]
    assert alpha_req(h) == pytest.approx(-slope, rel=1e-6)


def test_alpha_is_refused_below_the_noise_floor_and_with_few_components() -> None:
    assert math.isnan(alpha_req(normal(300, 60) @ torch.diag(torch.logspace(0, -9, 60).double())))
    assert math.isnan(alpha_req(normal(300, 15)))
    assert diagnose(normal(300, 15))["alpha_req"] is None


def test_alignment_of_pairs() -> None:
    a = normal(50, 7)
    assert alignment(a, 3 * a) == pytest.approx(0, abs=1e-12)
    assert alignment(a, -a) == pytest.approx(4)
    loops = [
        float(((a[i] / a[i].norm() - a[i - 1] / a[i - 1].norm()) ** 2).sum()) for i in range(50)
    ]
    assert alignment(a, a.roll(1, 0)) == pytest.approx(sum(loops) / 50)


def test_uniformity_is_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    h = normal(100, 5)
    whole = uniformity(h)
    monkeypatch.setattr(collapse, "CHUNK", 7)
    assert uniformity(h) == pytest.approx(whole, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_invariances(seed: int, scale: float) -> None:
    h = normal(60, 9, seed=seed) + 1
    rotation = torch.linalg.qr(normal(9, 9, seed=seed + 1))[0]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    for measure in SCALARS:
        value = measure(h)
        assert measure(scale * h) == pytest.approx(value, rel=1e-6), measure.__name__
        assert measure(h[order]) == pytest.approx(value, rel=1e-6), measure.__name__
        if measure is not feature_std:
            assert measure(h @ rotation) == pytest.approx(value, rel=1e-6), measure.__name__
    for measure in (effective_rank, participation_ratio, stable_rank):
        assert measure(h + 5) == pytest.approx(measure(h), rel=1e-6), measure.__name__
    views = h.reshape(4, 15, 9)
    assert lidar(scale * views @ rotation) == pytest.approx(lidar(views), rel=1e-6)
    labels = torch.arange(60) % 4
    for neural in (nc1, nc2):
        assert neural(scale * h @ rotation + 2, labels) == pytest.approx(neural(h, labels))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_ranks_are_bounded_and_ordered(n: int, d: int, seed: int) -> None:
    h = normal(n, d, seed=seed)
    centred = min(n - 1, d)
    assert stable_rank(h) * (1 + 1e-9) >= 1
    assert stable_rank(h) <= participation_ratio(h) * (1 + 1e-9)
    assert participation_ratio(h) <= effective_rank(h) * (1 + 1e-9)
    assert effective_rank(h) <= centred * (1 + 1e-9)
    # The 1e-7 that is added to each p moves the ends a little.
    assert rank_me(h) * (1 + 1e-6) >= 1
    assert rank_me(h) <= min(n, d) * (1 + 1e-3)


@pytest.mark.parametrize(("n", "d"), [(3000, 300), (300, 300), (200, 600)])
def test_marchenko_pastur_is_the_spectrum_of_noise(n: int, d: int) -> None:
    null = marchenko_pastur(n, d)
    found = spectrum(normal(n, d), centred=False)
    assert null.shape == found.shape
    assert bool((null.diff() <= 0).all())
    assert float((null - found).abs().max()) < 0.03 * float(null[0])
    assert float(null.sum()) == pytest.approx(d, rel=0.01)


def test_lidar_counts_the_directions_that_carry_content() -> None:
    content = normal(300, 6) @ torch.linalg.qr(normal(20, 20))[0][:6]
    views = content + 0.01 * normal(10, 300, 20, seed=2)
    assert lidar(views) == pytest.approx(6, rel=0.1)
    assert between_within(views) > 100
    # Noise scores high, which is why the null and the ratio stand beside it.
    noise = normal(10, 300, 20, seed=3)
    assert lidar(noise) > 18
    assert lidar(noise) == pytest.approx(lidar_null(noise), rel=0.1)
    assert between_within(noise) == pytest.approx(0.1, rel=0.2)
    assert lidar(torch.ones(3, 5, 4)) == 0


def test_lidar_from_its_definition() -> None:
    views = normal(4, 30, 5) + 2 * normal(1, 30, 5, seed=1)
    x = views.numpy()
    means = x.mean(0)
    within = sum(
        np.outer(x[k, i] - means[i], x[k, i] - means[i]) for k in range(4) for i in range(30)
    ) / (30 * 3)
    between = sum(np.outer(m - means.mean(0), m - means.mean(0)) for m in means) / 29
    within = within + 1e-4 * np.trace(within) / 5 * np.eye(5)
    values, basis = np.linalg.eigh(within)
    root = basis @ np.diag(values**-0.5) @ basis.T
    found = np.linalg.eigvalsh(root @ between @ root)
    assert lidar(views) == pytest.approx(entropy_rank((found / found.sum() + 1e-7).tolist()))


def test_neural_collapse_of_a_simplex() -> None:
    labels = torch.arange(400) % 4
    simplex = torch.eye(4, 9, dtype=torch.float64)[labels]
    assert nc1(simplex, labels) == pytest.approx(0, abs=1e-12)
    assert nc2(simplex, labels) == pytest.approx(0, abs=1e-12)
    x, y = pixels()
    assert nc1(x, y) > 0.5
    assert nc2(x, y) > 0.1
    assert math.isnan(nc1(x, torch.zeros_like(y)))


def test_nc1_from_its_definition() -> None:
    x, y = pixels()
    h = x.double().numpy()
    means = np.stack([h[y.numpy() == c].mean(0) for c in range(10)])
    residual = h - means[y.numpy()]
    within = residual.T @ residual / len(h)
    centred = means - means.mean(0)
    expected = np.trace(within @ np.linalg.pinv(centred.T @ centred / 10, rcond=1e-10)) / 10
    assert nc1(x, y) == pytest.approx(expected, rel=1e-6)


def test_cluster_residual_sees_points_and_not_lines() -> None:
    centres = normal(5, 40)
    points = centres[torch.arange(1000) % 5]
    few = cluster_residual(points + 0.01 * normal(1000, 40, seed=1))
    line = cluster_residual(normal(1000, 1) * normal(1, 40, seed=1))
    natural = cluster_residual(pixels()[0])
    assert few is not None
    assert line is not None
    assert natural is not None
    assert few < 1e-3 < line < 0.02 < 0.3 < natural
    assert cluster_residual(torch.ones(1000, 3)) is None
    assert cluster_residual(normal(50, 3)) is None


def test_diagnose_names_everything_and_says_what_it_cannot_know() -> None:
    h = untrained(0)
    bare, full = diagnose(h), diagnose(h, views=torch.stack([h, h + 0.1]), labels=pixels()[1])
    assert tuple(bare) == tuple(full) == collapse.NAMES
    unknown = {name for name, value in bare.items() if value is None}
    assert unknown == {"alignment", "lidar", "lidar_null", "between_within", "nc1", "nc2"}
    assert all(value is not None for value in full.values())
    broken = diagnose(torch.full((5, 2), torch.nan))
    assert broken["finite"] == 0
    assert broken["rank_me"] is None


def test_diagnose_averages_alignment_over_all_pairs_of_views() -> None:
    views = normal(3, 40, 5)
    expected = sum(alignment(views[i], views[j]) for i, j in ((0, 1), (0, 2), (1, 2))) / 3
    assert diagnose(views[0], views=views)["alignment"] == pytest.approx(expected)


@pytest.mark.parametrize("h", [torch.ones(3), torch.ones(0, 3), torch.ones(2, 3, 4)])
def test_refuses_other_shapes(h: Tensor) -> None:
    for measure in SCALARS:
        with pytest.raises(ValueError, match=r"\[n, d\]"):
            measure(h)


def test_refuses_unequal_pairs() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        alignment(torch.ones(3, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="at least 2 rows"):
        uniformity(torch.ones(1, 2))
    with pytest.raises(ValueError, match="views are"):
        lidar(torch.ones(1, 5, 2))
