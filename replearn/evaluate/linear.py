"""The linear probe: multinomial logistic regression with an L2 penalty on frozen features.

The objective is scikit-learn's, C · Σ cross-entropy + ½ ‖W‖² with a free intercept, so that a
strength C means the same there. Divided by C · n it is a mean cross-entropy plus ½ λ ‖W‖² with
λ = 1 / (C · n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from replearn.evaluate.lbfgs import Problem, minimise, rotation

TOLERANCE = 1e-6
PATIENCE = 4
MAX_ITERATIONS = 1000


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted linear classifier.

    Attributes:
        weight: float64 [d, classes], for standardised features.
        bias: float64 [classes].
        mean, scale: float64 [d], of the standardisation (x − mean) / scale.
        strength: C.
        loss: mean cross-entropy on the rows it was fitted on.
        iterations: of L-BFGS.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    strength: float
    loss: float
    iterations: int

    def logits(self, features: Tensor) -> Tensor:
        """float64 [n, classes] of features [n, d]."""
        weight = self.weight / self.scale[:, None]
        return features.double() @ weight + (self.bias - self.mean @ weight)

    def predict(self, features: Tensor) -> Tensor:
        """The most likely class, int64 [n]."""
        return self.logits(features).argmax(1)


@dataclass(frozen=True, slots=True)
class Selection:
    """A strength chosen on validation images.

    Attributes:
        strength: C with the lowest validation loss; of several, the smallest.
        index: its position in the strengths.
        losses: mean cross-entropy on validation at every strength that was tried, from the first.
        accuracies: validation accuracy at the same strengths.
    """

    strength: float
    index: int
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


def select_strength(
    train: Tensor,
    labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
    *,
    classes: int,
    strengths: Sequence[float],
    standardise: bool = True,
    patience: int = PATIENCE,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    on_fit: Callable[[float, float], None] = lambda strength, accuracy: None,
) -> Selection:
    """Fit at one strength after the other and compare the losses on validation rows.

    An accuracy is a count, which rounding alone moves by a few rows, and many strengths have about
    the same; the loss is smooth in C and has a minimum (cf. the deviance of cv.glmnet: Friedman,
    Hastie & Tibshirani, 2010).

    Args:
        train: features [n, d].
        labels: int64 [n].
        validation, validation_labels: [m, d] and [m].
        classes: number of classes.
        strengths: values of C, ascending; each fit starts from the one before.
        standardise: centre and scale by the statistics of `train`.
        patience: stop after so many strengths in a row with no loss below the lowest.
        tolerance, max_iterations: as in `fit`.
        on_fit: called with the strength and its accuracy after each fit.

    Raises:
        ValueError: shapes that do not match, labels out of range, features that are not finite,
            or strengths that are empty, not positive or not ascending.
    """
    if not strengths or min(strengths) <= 0 or list(strengths) != sorted(strengths):
        raise ValueError(f"strengths must be positive and ascending, not {list(strengths)}")
    _check(validation, validation_labels, classes)
    if validation.shape[1] != train.shape[1]:
        raise ValueError(
            f"validation features are {validation.shape[1]} wide, training features"
            f" {train.shape[1]}"
        )
    prepared = _prepare(train, labels, classes, standardise)
    rows = ((validation.double() - prepared.mean) / prepared.scale) @ prepared.rotation
    losses: list[float] = []
    accuracies: list[float] = []
    best = 0
    solution = prepared.problem.start()
    for index, strength in enumerate(strengths):
        penalty = 1 / (strength * len(train))
        solution = minimise(
            prepared.problem, penalty, solution, tolerance=tolerance, max_iterations=max_iterations
        )
        logits = rows @ solution.weight[:, :-1].T + solution.weight[:, -1]
        losses.append(float(cross_entropy(logits, validation_labels)))
        accuracies.append(float((logits.argmax(1) == validation_labels).double().mean()))
        on_fit(strength, accuracies[-1])
        if losses[index] < losses[best]:
            best = index
        if index - best == patience:
            break
    return Selection(strengths[best], best, tuple(losses), tuple(accuracies))


def fit(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    strength: float,
    start: Probe | None = None,
    standardise: bool = True,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Probe:
    """Fit one probe.

    Args:
        features: [n, d] in any floating type, on any device with double precision.
        labels: int64 [n], in 0 … classes − 1; a class may be absent.
        classes: number of classes.
        strength: C; the smaller, the stronger the penalty.
        start: a probe to start from; zero weights if absent.
        standardise: centre and scale by the statistics of `features`; a constant feature is only
            centred.
        tolerance: stop when the loss is estimated to be within this share of its minimum (or of the
            gain over zero weights, if that is less).
        max_iterations: limit of L-BFGS iterations.

    Raises:
        ValueError: shapes that do not match, labels out of range, features that are not finite, or
            a strength that is not positive.
    """
    if strength <= 0:
        raise ValueError(f"strength must be positive, not {strength}")
    prepared = _prepare(features, labels, classes, standardise)
    problem, penalty = prepared.problem, 1 / (strength * len(features))
    if start is None:
        solution = problem.start()
        # A few cheap fits on the way find a good start and the curvature for the exact one.
        for factor in (1e4, 1e3, 1e2, 1e1):
            solution = minimise(
                problem,
                penalty * factor,
                solution,
                tolerance=max(tolerance, 1e-4),
                max_iterations=max_iterations,
            )
    else:
        weight = torch.cat([start.weight.T @ prepared.rotation, start.bias[:, None]], dim=1)
        solution = problem.start(weight)
    solution = minimise(
        problem, penalty, solution, tolerance=tolerance, max_iterations=max_iterations
    )
    return Probe(
        weight=prepared.rotation @ solution.weight[:, :-1].T,
        bias=solution.weight[:, -1],
        mean=prepared.mean,
        scale=prepared.scale,
        strength=strength,
        loss=solution.loss,
        iterations=solution.iterations,
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    problem: Problem
    mean: Tensor
    scale: Tensor
    rotation: Tensor


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation, float64 [d]; the deviation of a constant feature is given as 1."""
    mean = features.mean(0, dtype=torch.float64)
    scale = (features.double() - mean).pow(2).mean(0).sqrt()
    # Single-precision features repeat a constant only up to rounding.
    constant = scale <= 1e-7 * mean.abs()
    return mean, torch.where(constant | (scale == 0), torch.ones_like(scale), scale)


def _prepare(features: Tensor, labels: Tensor, classes: int, standardise: bool) -> _Prepared:
    _check(features, labels, classes)
    if standardise:
        mean, scale = standardisation(features)
    else:
        mean = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
        scale = torch.ones_like(mean)
    rows = (features.double() - mean) / scale
    directions = rotation(rows)
    return _Prepared(Problem(rows @ directions, labels, classes), mean, scale, directions)


def _check(features: Tensor, labels: Tensor, classes: int) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise ValueError(
            f"features [n, d] and labels [n] with n ≥ 1, not {list(features.shape)} and"
            f" {list(labels.shape)}"
        )
    if classes < 2:
        raise ValueError(f"a probe needs at least 2 classes, not {classes}")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels must be in 0 … {classes - 1}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features must be finite")
