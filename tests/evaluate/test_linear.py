from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from replearn.evaluate import lbfgs, linear
from replearn.evaluate.lbfgs import EXACT
from replearn.evaluate.linear import Probe, fit, select_strength
from replearn.evaluate.lowshot import drawn_rows, low_shot_accuracies
from replearn.evaluate.protocol import LinearProtocol
from tests.evaluate.digits import pixels, untrained


def objective(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor, strength: float) -> float:
    """C · Σ cross-entropy + ½ ‖W‖², from the definition."""
    logs = torch.log_softmax(x @ weight + bias, 1)
    loss = -sum(float(logs[i, c]) for i, c in enumerate(y.tolist()))
    return strength * loss + 0.5 * float(weight.square().sum())


def reference(x: Tensor, y: Tensor, strength: float) -> tuple[StandardScaler, LogisticRegression]:
    scaler = StandardScaler().fit(x.double().numpy())
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000)
    return scaler, model.fit(scaler.transform(x.double().numpy()), y.numpy())


@pytest.mark.parametrize("strength", [1e-5, 1e-2, 1.0, 100.0])
def test_agrees_with_scikit_learn(strength: float) -> None:
    x, y = pixels()
    scaler, model = reference(x[:1200], y[:1200], strength)
    probe = fit(x[:1200], y[:1200], classes=10, strength=strength)
    rows = torch.from_numpy(scaler.transform(x[:1200].double().numpy()))
    least = objective(
        torch.from_numpy(model.coef_.T),
        torch.from_numpy(model.intercept_),
        rows,
        y[:1200],
        strength,
    )
    found = objective(probe.weight, probe.bias, rows, y[:1200], strength)
    assert found <= least * (1 + 1e-4)
    expected = model.predict(scaler.transform(x[1200:].double().numpy()))
    ours, theirs = (
        float(np.mean(predicted == y[1200:].numpy()))
        for predicted in (probe.predict(x[1200:]).numpy(), expected)
    )
    # One of the 597 images is 0.17 points.
    assert abs(ours - theirs) <= 1.01 / 597


def test_coefficients_and_logits_agree_with_scikit_learn() -> None:
    x, y = pixels()
    scaler, model = reference(x[:600], y[:600], 0.1)
    probe = fit(x[:600], y[:600], classes=10, strength=0.1, tolerance=1e-13)
    assert np.allclose(probe.weight.numpy(), model.coef_.T, atol=1e-5)
    # scikit-learn's intercepts are determined up to a constant.
    assert np.allclose(
        probe.bias - probe.bias.mean(), model.intercept_ - model.intercept_.mean(), atol=1e-4
    )
    expected = torch.softmax(
        torch.from_numpy(model.decision_function(scaler.transform(x[600:].double().numpy()))), 1
    )
    assert torch.allclose(torch.softmax(probe.logits(x[600:]), 1), expected, atol=1e-5)


def test_single_precision_data_agree_with_scikit_learn() -> None:
    x, y = pixels()
    random = torch.Generator().manual_seed(0)
    many = x.repeat(10, 1) + 0.3 * torch.randn(17_970, 64, generator=random)
    labels = y.repeat(10)
    assert many.numel() > EXACT
    scaler, model = reference(many, labels, 0.05)
    probe = fit(many, labels, classes=10, strength=0.05)
    rows = torch.from_numpy(scaler.transform(many.double().numpy()))
    least = objective(
        torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_), rows, labels, 0.05
    )
    assert objective(probe.weight, probe.bias, rows, labels, 0.05) <= least * (1 + 1e-4)
    expected = torch.from_numpy(model.predict(rows.numpy()))
    assert (probe.predict(many) == expected).double().mean() > 0.999


def test_fewer_rows_than_features_and_constant_features() -> None:
    x, y = untrained(0), pixels()[1]
    x = torch.cat([x[:60], torch.full((60, 1), 3.7)], dim=1)
    scaler, model = reference(x, y[:60], 1.0)
    probe = fit(x, y[:60], classes=10, strength=1.0, tolerance=1e-10)
    rows = torch.from_numpy(scaler.transform(x.double().numpy()))
    least = objective(
        torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_), rows, y[:60], 1.0
    )
    assert objective(probe.weight, probe.bias, rows, y[:60], 1.0) == pytest.approx(least, rel=1e-6)
    assert float(probe.weight[-1].abs().max()) < 1e-9


def test_gradient_vanishes_at_the_solution_by_autograd() -> None:
    x, y = pixels()
    probe = fit(x[:400], y[:400], classes=10, strength=1.0, tolerance=1e-14)
    rows = (x[:400].double() - probe.mean) / probe.scale
    weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(rows @ weight + bias, y[:400], reduction="sum")
    (loss + 0.5 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert float(weight.grad.abs().max()) < 1e-3
    assert float(bias.grad.abs().max()) < 1e-3


def test_a_start_saves_iterations_and_leads_to_the_same_probe() -> None:
    x, y = pixels()
    cold = fit(x, y, classes=10, strength=1.0, tolerance=1e-10)
    warm = fit(x, y, classes=10, strength=1.0, tolerance=1e-10, start=cold)
    assert warm.iterations <= 2
    assert torch.allclose(cold.weight, warm.weight, atol=1e-4)


def test_selection_has_the_lowest_loss_of_independent_fits() -> None:
    x, y = pixels()
    strengths = [10.0**e for e in range(-6, 4)]
    chosen = select_strength(
        x[:900],
        y[:900],
        x[900:1300],
        y[900:1300],
        classes=10,
        strengths=strengths,
        patience=len(strengths),
        tolerance=1e-9,
    )
    losses, accuracies = [], []
    for strength in strengths:
        probe = fit(x[:900], y[:900], classes=10, strength=strength, tolerance=1e-9)
        logs = torch.log_softmax(probe.logits(x[900:1300]), 1)
        losses.append(-float(logs[torch.arange(400), y[900:1300]].mean()))
        accuracies.append((logs.argmax(1) == y[900:1300]).double().mean().item())
    assert np.allclose(chosen.losses, losses, rtol=1e-3)
    assert np.allclose(chosen.accuracies, accuracies, atol=2.6e-3)
    assert chosen.index == int(np.argmin(losses))
    assert chosen.strength == strengths[chosen.index]


@pytest.mark.parametrize(
    ("losses", "patience", "index", "tried"),
    [
        ([3.0, 1.0, 2.0], 4, 1, 3),
        ([3.0, 1.0, 1.0, 1.0], 4, 1, 4),
        ([1.0, 1.0, 1.0, 1.0], 2, 0, 3),
        ([3.0, 1.0, 2.0, 2.0, 0.5, 2.0], 3, 4, 6),
        ([3.0, 1.0, 2.0, 2.0, 0.5, 2.0], 2, 1, 4),
        ([4.0, 3.0, 2.0, 1.0], 1, 3, 4),
    ],
)
def test_the_smallest_strength_of_the_lowest_loss_until_patience_ends(
    monkeypatch: pytest.MonkeyPatch, losses: list[float], patience: int, index: int, tried: int
) -> None:
    made_up = iter(losses)
    monkeypatch.setattr(linear, "cross_entropy", lambda logits, labels: next(made_up))
    x, y = (part[:50] for part in pixels())
    strengths = [10.0**e for e in range(len(losses))]
    chosen = select_strength(x, y, x, y, classes=10, strengths=strengths, patience=patience)
    assert (chosen.index, chosen.strength) == (index, strengths[index])
    assert chosen.losses == tuple(losses[:tried])
    assert len(chosen.accuracies) == tried


def test_the_choice_does_not_depend_on_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbfgs, "EXACT", 0)
    x, y = pixels()
    protocol = LinearProtocol()
    found = []
    for seed in range(6):
        order = torch.randperm(900, generator=torch.Generator().manual_seed(seed))
        found.append(
            select_strength(
                x[order, ::4],
                y[order],
                x[900:, ::4],
                y[900:],
                classes=10,
                strengths=protocol.strengths,
                tolerance=protocol.path_tolerance,
            )
        )
    assert len({chosen.index for chosen in found}) == 1
    assert len({chosen.accuracies for chosen in found}) > 1, "rounding moved nothing"


def test_an_absent_class_is_never_predicted_with_confidence() -> None:
    x, y = pixels()
    some = y != 4
    probe = fit(x[some], y[some], classes=11, strength=1.0)
    assert not set(probe.predict(x).tolist()) & {4, 10}


def test_invariant_to_shift_and_scale_of_features() -> None:
    x, y = (t[:500] for t in pixels())
    random = torch.Generator().manual_seed(1)
    scale, shift = torch.rand(2, 64, generator=random, dtype=torch.float64) + 0.5
    a = fit(x.double(), y, classes=10, strength=0.1, tolerance=1e-12)
    b = fit(x.double() * scale + shift, y, classes=10, strength=0.1, tolerance=1e-12)
    assert torch.allclose(a.weight, b.weight, atol=1e-5)


def test_low_shot_draws_are_balanced_and_depend_on_the_labels_alone() -> None:
    x, y = pixels()
    rows = drawn_rows(y, classes=10, shots=7, draw=0)
    assert torch.bincount(y[rows]).tolist() == [7] * 10
    assert len(rows.unique()) == 70
    assert not torch.equal(rows, drawn_rows(y, classes=10, shots=7, draw=1))
    few = low_shot_accuracies(
        x[:900], y[:900], x[900:], y[900:], classes=10, shots=10, draws=3, strength=1.0
    )
    one = low_shot_accuracies(
        x[:900], y[:900], x[900:], y[900:], classes=10, shots=1, draws=3, strength=1.0
    )
    assert few is not None
    assert one is not None
    assert 0.3 < sum(one) / 3 < sum(few) / 3 < 0.97
    assert (
        low_shot_accuracies(x[:20], y[:20], x, y, classes=10, shots=10, draws=1, strength=1.0)
        is None
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.ones(3, 2)}, r"not \[3, 2\] and \[4\]"),
        ({"features": torch.tensor([[1.0], [2.0], [torch.nan], [0.0]])}, "finite"),
        ({"labels": torch.tensor([0, 1, 2, 9])}, "0 … 2"),
        ({"strength": 0.0}, "strength must be positive"),
        ({"classes": 1, "labels": torch.zeros(4).long()}, "at least 2 classes"),
    ],
)
def test_refuses(change: dict[str, object], message: str) -> None:
    arguments = {
        "features": torch.eye(4),
        "labels": torch.tensor([0, 1, 2, 2]),
        "classes": 3,
        "strength": 1.0,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        fit(**arguments)  # type: ignore[arg-type]


def test_refuses_strengths_out_of_order() -> None:
    x, y = torch.eye(4), torch.tensor([0, 1, 2, 2])
    for strengths in ([], [1.0, 0.1], [0.0, 1.0]):
        with pytest.raises(ValueError, match="ascending"):
            select_strength(x, y, x, y, classes=3, strengths=strengths)


def test_identical_features_predict_the_most_frequent_class() -> None:
    y = torch.tensor([0, 1, 1, 1, 2])
    probe: Probe = fit(torch.ones(5, 3), y, classes=3, strength=1.0)
    assert probe.predict(torch.ones(2, 3)).tolist() == [1, 1]
