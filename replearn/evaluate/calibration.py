"""Whether a classifier's probabilities mean what they say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15
"""Bins of the confidence (Guo et al., 2017, section 5)."""


def calibration(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The three numbers below from logits [n, classes] and labels int64 [n].

    A label that no logit stands for had probability 0: its likelihood is infinite.
    """
    unknown = max(0, int(labels.max()) + 1 - logits.shape[1])
    log_p = F.log_softmax(F.pad(logits.double(), (0, unknown), value=-torch.inf), dim=1)
    p = log_p.exp()
    return {
        "ece": expected_calibration_error(p, labels),
        "nll": float(F.nll_loss(log_p, labels)),
        "brier": brier_score(p, labels),
    }


def expected_calibration_error(p: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Σ_b n_b / n · |accuracy_b − confidence_b|, bins of equal width (Guo et al., 2017, eq. 3).

    Args:
        p: probabilities [n, classes]; the confidence is the highest of a row.
        labels: int64 [n].
        bins: of the confidence; ((b − 1) / bins, b / bins] is the b-th.

    Returns:
        0 … 1.
    """
    confidence, predicted = p.double().max(1)
    number = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    excess = (predicted == labels).double() - confidence
    member = F.one_hot(number, bins).double()
    return float((member.T @ excess).abs().sum()) / len(labels)


def brier_score(p: Tensor, labels: Tensor) -> float:
    """Mean over rows of Σ_c (p_c − [c = label])², 0 … 2 (Brier, 1950)."""
    return float((p - F.one_hot(labels, p.shape[1])).square().sum(1).mean())
