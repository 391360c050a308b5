"""L-BFGS for penalised softmax regression, preconditioned, and reusing its curvature along a path.

Three things make a path over many penalties cheap:
- In the basis of the principal directions the Hessian is nearly diagonal: its diagonal is about
  c_k Λ_j + λ, with Λ the variances and c_k the mean of p_k (1 − p_k). It scales every step.
- Two penalties differ in the known quadratic term alone, so the curvature pairs that L-BFGS has
  gathered stay valid when that term is exchanged.
- Classes are the first dimension of every array, which makes softmax and both products fast, and the
  pairs act through a few matrix products, however many they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MEMORY = 30
"""Curvature pairs kept."""

EXACT = 2**20
"""Up to this many matrix entries the data are held in double precision, beyond in single."""

BASIS_ROWS = 16_384
"""At most this many rows, evenly spaced, determine the basis; it need only be about principal."""

NOISE = 0.01
"""A decrease below this share of the last digit is no decrease: gradients are that precise."""

SHORTEST_STEP = 2.0**-12


class Problem:
    """Mean cross-entropy of logits W x + b as a function of the weights.

    Args:
        rows: float64 [n, d], features in their principal basis.
        labels: int64 [n].
        classes: number of classes.
    """

    def __init__(self, rows: Tensor, labels: Tensor, classes: int) -> None:
        count, width = rows.shape
        self.classes, self.count = classes, count
        dtype = torch.float64 if count * width <= EXACT else torch.float32
        self.data = torch.ones(width + 1, count, dtype=dtype, device=rows.device)
        self.data[:-1] = rows.T
        self.variances = self.data.pow(2).mean(1, dtype=torch.float64)
        self.labels = labels[None]
        self.penalised = torch.ones(width + 1, dtype=torch.float64, device=rows.device)
        self.penalised[-1] = 0.0
        self.epsilon = torch.finfo(dtype).eps

    def evaluate(self, weight: Tensor) -> Point:
        """Loss, gradient and curvature at weights float64 [classes, d + 1], the bias last."""
        logs = torch.log_softmax(weight.to(self.data.dtype) @ self.data, dim=0)
        loss = -logs.gather(0, self.labels).mean(dtype=torch.float64)
        residual = logs.exp_()
        spread = (residual * (1 - residual)).mean(1, dtype=torch.float64)
        one = torch.ones_like(self.labels, dtype=residual.dtype)
        residual.scatter_add_(0, self.labels, -one)
        gradient = (residual @ self.data.T).double() / self.count
        return Point(weight, float(loss), gradient, spread)

    def start(self, weight: Tensor | None = None) -> Solution:
        """Where a minimisation begins: given weights, or zero."""
        if weight is None:
            weight = self.variances.new_zeros(self.classes, len(self.variances))
        none = weight.new_empty(0, weight.numel())
        return Solution(self.evaluate(weight), Pairs(none, none))


@dataclass(frozen=True, slots=True)
class Point:
    """Weights with the unpenalised loss, its gradient, and the mean of p (1 − p) per class."""

    weight: Tensor
    loss: float
    gradient: Tensor
    spread: Tensor


@dataclass(frozen=True, slots=True)
class Pairs:
    """Steps and the changes of the unpenalised gradient over them [m, weights], oldest first."""

    steps: Tensor
    changes: Tensor

    def with_pair(self, step: Tensor, change: Tensor) -> Pairs:
        """One more pair; the oldest beyond `MEMORY` are forgotten."""
        kept = slice(max(0, len(self.steps) + 1 - MEMORY), None)
        return Pairs(
            torch.cat([self.steps[kept], step.reshape(1, -1)]),
            torch.cat([self.changes[kept], change.reshape(1, -1)]),
        )


@dataclass(frozen=True, slots=True)
class Solution:
    """A minimum, and what helps to find the next one."""

    point: Point
    pairs: Pairs
    iterations: int = 0

    @property
    def weight(self) -> Tensor:
        return self.point.weight

    @property
    def loss(self) -> float:
        return self.point.loss


def minimise(
    problem: Problem, penalty: float, start: Solution, *, tolerance: float, max_iterations: int
) -> Solution:
    """Minimise mean cross-entropy + ½ · penalty · ‖W‖².

    Args:
        problem: the data.
        penalty: λ > 0, of the weights but not of the bias.
        start: from `problem.start`, or the solution at another penalty.
        tolerance: stop when half the squared Newton decrement, by the L-BFGS estimate, is within
            this share of the objective (or of its decrease below ln classes, if that is less).
        max_iterations: limit of iterations.

    Returns:
        The solution; also if rounding allows no further decrease, or the limit is reached.
    """
    ridge = penalty * problem.penalised
    point, pairs = start.point, start.pairs
    reference = math.log(problem.classes)
    value = _objective(point, ridge)
    iterations = 0
    # The diagonal must stay fixed while pairs are combined with it, so it belongs to the penalty.
    diagonal = point.spread[:, None] * problem.variances + ridge + 1e-12
    while iterations < max_iterations:
        gradient = point.gradient + ridge * point.weight
        direction = inverse_hessian_product(gradient, pairs, ridge, diagonal)
        decrement = float((gradient * direction).sum()) / 2
        goal = tolerance * min(value, max(reference - value, decrement))
        if decrement <= max(goal, NOISE * problem.epsilon * value):
            break
        step = 1.0
        while step >= SHORTEST_STEP:
            candidate = problem.evaluate(point.weight - step * direction)
            reached = _objective(candidate, ridge)
            if reached <= value - 1e-4 * step * decrement + 8 * problem.epsilon * value:
                break
            step /= 2
        else:
            break
        change = candidate.gradient - point.gradient
        moved = candidate.weight - point.weight
        if float((moved * change).sum()) > 0:
            pairs = pairs.with_pair(moved, change)
        point, value = candidate, reached
        iterations += 1
    return Solution(point, pairs, iterations)


def rotation(rows: Tensor) -> Tensor:
    """Orthonormal directions [d, min(n, d)], about the principal ones of `rows` [n, d].

    With fewer rows than features the solution lies in the span of the rows; so do the directions.
    """
    directions: Tensor
    if len(rows) < rows.shape[1]:
        directions = torch.linalg.svd(rows, full_matrices=False)[2].T
        return directions
    stride = max(1, len(rows) // BASIS_ROWS)
    sample = rows[::stride].float()
    directions = torch.linalg.eigh((sample.T @ sample).double())[1]
    return directions


def inverse_hessian_product(
    gradient: Tensor, pairs: Pairs, ridge: Tensor, diagonal: Tensor
) -> Tensor:
    """H · gradient, H the inverse Hessian by L-BFGS (Byrd, Nocedal & Schnabel, 1994, theorem 2.2).

    With steps S, changes Y, R the upper triangle of S Yᵀ and D its diagonal, H is
    γ diag⁻¹ + Sᵀ R⁻ᵀ (D + γ Y diag⁻¹ Yᵀ) R⁻¹ S − γ Sᵀ R⁻ᵀ Y diag⁻¹ − γ diag⁻¹ Yᵀ R⁻¹ S.
    """
    steps = pairs.steps
    preconditioned = gradient / diagonal
    if not len(steps):
        return preconditioned
    changes = pairs.changes + ridge.expand_as(gradient).reshape(-1) * steps
    scaled = changes / diagonal.reshape(-1)
    triangle, squares = (steps @ changes.T).triu(), changes @ scaled.T
    curvature = triangle.diagonal()
    scale = curvature[-1] / squares[-1, -1]
    inner = torch.linalg.solve_triangular(triangle, steps @ gradient.reshape(-1, 1), upper=True)
    outer = torch.linalg.solve_triangular(
        triangle.T,
        curvature[:, None] * inner
        + scale * (squares @ inner - changes @ preconditioned.reshape(-1, 1)),
        upper=False,
    )
    combined: Tensor = steps.T @ outer - scale * (scaled.T @ inner)
    return scale * preconditioned + combined.view_as(gradient)


def _objective(point: Point, ridge: Tensor) -> float:
    return point.loss + 0.5 * float((ridge * point.weight * point.weight).sum())
