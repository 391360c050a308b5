"""Gram anchoring: the loss against loops, and when the anchor is taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from replearn.build import build_method, load_tensors, method_tensors
from replearn.methods.base import Loss
from replearn.methods.dino import DINO
from replearn.methods.gram import Gram, gram_loss
from replearn.methods.options import GramOptions
from tests.methods import oracles
from tests.methods.test_contract import batch_for, manifest, run_config


def gram_method(**options: float) -> Gram:
    config = run_config("gram")
    assert isinstance(config.options, GramOptions)
    changed_options = config.options.model_copy(update=options)
    method = build_method(config.model_copy(update={"options": changed_options}), manifest())
    assert isinstance(method, Gram)
    return method.train()


def loss_at(method: Gram, progress: float) -> Loss:
    method.before_step(progress)
    return method.loss(batch_for(run_config("gram")))


def step(method: Gram, before: float, after: float) -> Loss:
    """A step of plain gradient descent between two points of the training."""
    loss = loss_at(method, before)
    loss.total.backward()
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter -= 0.5 * parameter.grad
                parameter.grad = None
    method.after_step(after)
    return loss


def anchor(method: Gram) -> Tensor:
    return torch.cat([p.detach().flatten() for p in method.anchor.parameters()])


def teacher(method: Gram) -> Tensor:
    return torch.cat([p.detach().flatten() for p in method.encoder.parameters()])


def test_the_loss_against_loops() -> None:
    x, g = torch.randn(3, 5, 4).double(), torch.randn(3, 5, 6).double()
    squares = [
        (
            oracles.cosine(x[n, i].tolist(), x[n, j].tolist())
            - oracles.cosine(g[n, i].tolist(), g[n, j].tolist())
        )
        ** 2
        for n in range(3)
        for i in range(5)
        for j in range(5)
    ]
    assert gram_loss(x, g).item() == pytest.approx(sum(squares) / len(squares), abs=1e-12)


def test_features_may_turn_and_grow_as_long_as_similarities_stay() -> None:
    x = torch.randn(2, 6, 4).double()
    turn, _ = torch.linalg.qr(torch.randn(4, 4).double())
    assert gram_loss(3 * x @ turn, x).item() == pytest.approx(0, abs=1e-12)


def test_the_anchor_gets_no_gradient() -> None:
    x, g = torch.randn(2, 3, 4).requires_grad_(), torch.randn(2, 3, 4).requires_grad_()
    gram_loss(x, g).backward()
    assert g.grad is None and x.grad is not None and x.grad.abs().sum() > 0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="needs features"):
        gram_loss(torch.rand(2, 3, 4), torch.rand(2, 5, 4))
    with pytest.raises(ValueError, match="empty"):
        gram_loss(torch.rand(0, 3, 4), torch.rand(0, 3, 4))


def test_before_the_anchor_it_is_dino() -> None:
    method = gram_method()
    loss = loss_at(method, 0.4)
    dino = DINO.loss(method, batch_for(run_config("gram")))
    assert loss.total.item() == pytest.approx(dino.total.item(), rel=1e-6)
    assert loss.scalars["gram_drift"].item() == 0


def test_the_anchor_is_the_teacher_at_the_start_and_stays() -> None:
    method = gram_method()
    initial = anchor(method)
    step(method, 0.3, 0.4)
    assert torch.equal(anchor(method), initial)
    step(method, 0.4, 0.5)
    taken = anchor(method)
    assert torch.equal(taken, teacher(method)) and not torch.equal(taken, initial)
    loss = step(method, 0.5, 0.6)
    assert torch.equal(anchor(method), taken) and not torch.equal(taken, teacher(method))
    assert loss.scalars["gram_drift"] > 0


def test_the_anchor_is_renewed() -> None:
    method = gram_method(anchor_every=0.2)
    step(method, 0.4, 0.5)
    taken = anchor(method)
    step(method, 0.5, 0.6)
    assert torch.equal(anchor(method), taken)
    step(method, 0.6, 0.75)
    assert torch.equal(anchor(method), teacher(method)) and not torch.equal(anchor(method), taken)


def test_the_weight_counts_and_without_it_the_drift_is_measured_all_the_same() -> None:
    losses = {}
    for weight in (0.0, 2.0):
        method = gram_method(gram_weight=weight)
        step(method, 0.4, 0.5)
        losses[weight] = loss_at(method, 0.5)
    drift = losses[0.0].scalars["gram_drift"].item()
    assert drift > 0 and losses[2.0].scalars["gram_drift"].item() == pytest.approx(drift)
    difference = losses[2.0].total.item() - losses[0.0].total.item()
    assert difference == pytest.approx(2 * drift, rel=1e-3)


def test_a_saved_state_knows_its_anchor() -> None:
    method = gram_method()
    step(method, 0.4, 0.5)
    step(method, 0.5, 0.6)
    resumed = gram_method()
    load_tensors(resumed, {name: t.clone() for name, t in method_tensors(method).items()})
    for _ in range(2):
        one, other = step(method, 0.6, 0.7), step(resumed, 0.6, 0.7)
        assert one.total.item() == other.total.item()
        assert one.scalars["gram_drift"].item() == other.scalars["gram_drift"].item() > 0
