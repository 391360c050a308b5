"""L-BFGS against the two-loop recursion, and against what a minimum is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from replearn.evaluate.lbfgs import MEMORY, Pairs, Problem, inverse_hessian_product, minimise


def two_loops(gradient: Tensor, pairs: Pairs, ridge: Tensor, diagonal: Tensor) -> Tensor:
    """Nocedal & Wright, algorithm 7.4, pair by pair on flat vectors."""
    ridge, diagonal = (part.expand_as(gradient).reshape(-1) for part in (ridge, diagonal))
    steps = list(pairs.steps)
    changes = [change + ridge * step for step, change in zip(steps, pairs.changes, strict=True)]
    q = gradient.reshape(-1).clone()
    shares = []
    for s, y in reversed(list(zip(steps, changes, strict=True))):
        shares.append((s @ q) / (s @ y))
        q -= shares[-1] * y
    last_s, last_y = steps[-1], changes[-1]
    r = (last_s @ last_y) / (last_y @ (last_y / diagonal)) * q / diagonal
    for s, y, share in zip(steps, changes, reversed(shares), strict=True):
        r += (share - (y @ r) / (s @ y)) * s
    return r.view_as(gradient)


def problem(rows: int = 300, width: int = 6, classes: int = 4) -> Problem:
    random = torch.Generator().manual_seed(1)
    features = torch.randn(rows, width, dtype=torch.float64, generator=random)
    teacher = torch.randn(width, classes, dtype=torch.float64, generator=random)
    return Problem(features, (features @ teacher).argmax(1), classes)


@pytest.mark.parametrize("count", [1, 2, 7, MEMORY])
def test_the_compact_form_is_the_two_loop_recursion(count: int) -> None:
    random = torch.Generator().manual_seed(count)
    shape = (3, 20)
    root = torch.randn(60, 60, dtype=torch.float64, generator=random)
    hessian = root @ root.T / 60 + torch.eye(60, dtype=torch.float64)
    steps = torch.randn(count, 60, dtype=torch.float64, generator=random)
    pairs = Pairs(steps, steps @ hessian)
    ridge = torch.rand(20, dtype=torch.float64, generator=random)
    diagonal = 0.5 + torch.rand(shape, dtype=torch.float64, generator=random)
    gradient = torch.randn(shape, dtype=torch.float64, generator=random)
    torch.testing.assert_close(
        inverse_hessian_product(gradient, pairs, ridge, diagonal),
        two_loops(gradient, pairs, ridge, diagonal),
    )


def test_without_pairs_the_diagonal_scales_the_gradient() -> None:
    none = torch.empty(0, 4, dtype=torch.float64)
    gradient = torch.tensor([[2.0, 4.0], [6.0, 8.0]], dtype=torch.float64)
    ridge = torch.ones(2, dtype=torch.float64)
    found = inverse_hessian_product(gradient, Pairs(none, none), ridge, gradient / 2)
    assert torch.equal(found, torch.full_like(gradient, 2.0))


def test_the_oldest_pairs_are_forgotten() -> None:
    pairs = Pairs(torch.empty(0, 1), torch.empty(0, 1))
    for number in range(MEMORY + 3):
        pairs = pairs.with_pair(torch.tensor([[float(number)]]), torch.tensor([[-float(number)]]))
    assert pairs.steps.flatten().tolist() == [float(number) for number in range(3, MEMORY + 3)]
    assert torch.equal(pairs.changes, -pairs.steps)


def test_at_the_minimum_the_penalised_gradient_vanishes() -> None:
    data, penalty = problem(), 1e-3
    found = minimise(data, penalty, data.start(), tolerance=1e-14, max_iterations=500)
    gradient = found.point.gradient + penalty * data.penalised * found.weight
    assert float(gradient.abs().max()) < 1e-6
    assert found.loss < data.start().loss / 2


def test_pairs_of_another_penalty_help_and_do_not_change_the_minimum() -> None:
    data = problem()
    near = minimise(data, 2e-3, data.start(), tolerance=1e-14, max_iterations=500)
    warm = minimise(data, 1e-3, near, tolerance=1e-14, max_iterations=500)
    fresh = minimise(data, 1e-3, data.start(near.weight), tolerance=1e-14, max_iterations=500)
    # The biases have no penalty: only their differences matter.
    a, b = (found.weight - found.weight.mean(0) for found in (warm, fresh))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert warm.iterations < fresh.iterations
