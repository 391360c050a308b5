"""Robustness against plain loops and scikit-learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from replearn.evaluate.features import Features
from replearn.evaluate.linear import fit
from replearn.evaluate.protocol import CORRUPTIONS, OPERATIONS, STRANGE, RobustnessProtocol
from replearn.evaluate.robustness import (
    auroc,
    invariance,
    neighbour_distance,
    robustness_metrics,
)
from tests.evaluate.digits import pixels

PROTOCOL = RobustnessProtocol(images=100, severities=(1, 5), k=5)


def test_area_under_the_curve_is_that_of_scikit_learn_with_ties() -> None:
    random = torch.Generator().manual_seed(0)
    positive = torch.randint(2, 9, (70,), generator=random).double()
    negative = torch.randint(0, 7, (50,), generator=random).double()
    truth = [1] * 70 + [0] * 50
    expected = roc_auc_score(truth, torch.cat([positive, negative]).numpy())
    assert auroc(positive, negative) == pytest.approx(expected, abs=1e-12)
    assert auroc(positive, positive) == 0.5


def test_distance_to_a_neighbour_is_that_of_scikit_learn() -> None:
    x = F.normalize(pixels()[0].double(), dim=1)
    search = NearestNeighbors(n_neighbors=7).fit(x[:500].numpy())
    expected = torch.from_numpy(search.kneighbors(x[500:600].numpy())[0][:, -1])
    assert torch.allclose(neighbour_distance(x[:500], 3 * x[500:600], 7), expected, atol=1e-7)
    farthest = torch.cdist(x[500:600], x[:4]).amax(1)
    assert torch.allclose(neighbour_distance(x[:4], x[500:600], 50), farthest, atol=1e-7)


def test_invariance_is_that_of_loops_over_pairs() -> None:
    random = torch.Generator().manual_seed(1)
    h, changed = (torch.randn(20, 6, generator=random) for _ in range(2))
    u, v = (F.normalize(part.double(), dim=1) for part in (h, changed))
    apart = [float((u[i] - u[j]).square().sum()) for i in range(20) for j in range(20) if i != j]
    moved = [float((u[i] - v[i]).square().sum()) for i in range(20)]
    expected = 1 - (sum(moved) / len(moved)) / (sum(apart) / len(apart))
    assert invariance(h, changed) == pytest.approx(expected, abs=1e-12)
    assert invariance(h, 2 * h) == pytest.approx(1)
    assert invariance(torch.ones(20, 6), changed) is None
    assert invariance(h[:1], changed[:1]) is None


def part(rows: slice, *, labelled: bool = True) -> Features:
    x, y = pixels()
    return Features(x[rows], None, y[rows] if labelled else None, torch.arange(len(x[rows])))


def shifts(test: Features, colour: bool = False) -> dict[str, Tensor]:
    """Corrupted features are the images' own at severity 1 and of other images at severity 5."""
    rows = torch.arange(0, 200, 2)
    h = test.h[rows]
    found = {"rows": rows}
    for name in CORRUPTIONS:
        found |= {f"corruption_{name}_1": h, f"corruption_{name}_5": h.flip(0)}
    for name in OPERATIONS:
        if colour or name not in ("saturation", "hue", "grayscale"):
            found[f"view_{name}"] = h + 0.01
    return found | {"ood_shuffled": h, "ood_noise": torch.rand(100, 64)}


def test_numbers_of_made_up_shifts() -> None:
    bank, test = part(slice(0, 1000)), part(slice(1000, 1200))
    assert bank.labels is not None and test.labels is not None
    probe = fit(bank.h, bank.labels, classes=10, strength=0.1)
    shifted = shifts(test)
    metrics, details = robustness_metrics(bank, test, shifted, PROTOCOL, probe)
    right = probe.predict(test.h[::2]) == test.labels[::2]
    mixed = probe.predict(test.h[::2].flip(0)) == test.labels[::2]
    assert metrics["clean_accuracy"] == right.double().mean().item()
    expected = torch.cat([right, mixed]).double().mean().item()
    assert metrics["corruption_contrast"] == pytest.approx(expected)
    assert metrics["corruption_accuracy"] == pytest.approx(expected)
    assert metrics["relative_robustness"] == pytest.approx(expected / metrics["clean_accuracy"])
    assert metrics["invariance_flip"] > 0.9
    assert metrics["invariance_hue"] is None
    assert metrics["ood_auroc_shuffled"] == 0.5
    assert metrics["ood_auroc_noise"] > 0.95
    assert details == {"images": 100}
    assert robustness_metrics(bank, test, shifts(test, True), PROTOCOL, probe)[0]["invariance_hue"]


def test_each_missing_number_has_its_reason() -> None:
    bank, test = part(slice(0, 1000), labelled=False), part(slice(1000, 1200), labelled=False)
    everything, details = robustness_metrics(bank, test, {}, PROTOCOL, None)
    assert set(everything.values()) == {None}
    assert "turned off" in details["reason"]
    assert {f"ood_auroc_{name}" for name in STRANGE} < set(everything)

    shifted = shifts(test)
    metrics, details = robustness_metrics(bank, test, shifted, PROTOCOL, None, no_probe="because")
    assert metrics.keys() == everything.keys()
    assert metrics["corruption_accuracy"] is None
    assert details["reason_corruption"] == "because"
    assert metrics["ood_auroc_noise"] > 0.95

    shifted["view_flip"] = shifted["view_flip"] * torch.inf
    metrics, details = robustness_metrics(bank, test, shifted, PROTOCOL, None)
    assert set(metrics.values()) == {None}
    assert "not finite" in details["reason"]
