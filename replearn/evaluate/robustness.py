"""The family "robustness": what becomes of features when images are not as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from replearn.evaluate.features import Features, evenly_spaced
from replearn.evaluate.knn import neighbours
from replearn.evaluate.linear import Probe
from replearn.evaluate.measure import NOT_FINITE, Json, accuracy
from replearn.evaluate.protocol import CORRUPTIONS, OPERATIONS, STRANGE, RobustnessProtocol

OFF = "turned off (robustness.images is 0)"
CONSTANT = 1e-12
"""Features whose mean squared distance is below this are one point up to rounding."""


def robustness_metrics(
    bank: Features,
    test: Features,
    shifted: Mapping[str, Tensor],
    protocol: RobustnessProtocol,
    probe: Probe | None,
    *,
    no_probe: str | None = None,
) -> tuple[Json, Json]:
    """Accuracy on corrupted images, invariance, detection of strange images; why one is missing.

    Args:
        bank: training features.
        test: features of the test images as they are.
        shifted: tensors of shifted.safetensors.
        protocol: the parameters.
        probe: the main linear probe.
        no_probe: why there is none.
    """
    metrics: Json = dict.fromkeys(
        (
            "clean_accuracy",
            "corruption_accuracy",
            "relative_robustness",
            *(f"corruption_{name}" for name in CORRUPTIONS),
            *(f"invariance_{name}" for name in OPERATIONS),
            *(f"ood_auroc_{name}" for name in STRANGE),
        )
    )
    if "rows" not in shifted:
        return metrics, {"reason": OFF}
    rows = shifted["rows"]
    h = test.h[rows]
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (bank.h, h, *shifted.values())):
        return metrics, {"reason": NOT_FINITE}
    details: Json = {"images": len(rows)}
    if probe is None or test.labels is None:
        details["reason_corruption"] = no_probe
    else:
        metrics |= _corruption_accuracies(probe, h, test.labels[rows], shifted, protocol.severities)
    metrics |= {
        f"invariance_{name}": invariance(h, shifted[f"view_{name}"])
        for name in OPERATIONS
        if f"view_{name}" in shifted
    }
    known = bank.h[evenly_spaced(len(bank.h), protocol.bank).to(bank.h.device)]
    usual = neighbour_distance(known, h, protocol.k)
    for name in STRANGE:
        distance = neighbour_distance(known, shifted[f"ood_{name}"], protocol.k)
        metrics[f"ood_auroc_{name}"] = auroc(distance, usual)
    return metrics, details


def invariance(h: Tensor, changed: Tensor) -> float | None:
    """1 − E‖u − u⁺‖² / E‖u − v‖², u and v normalised features of different images, u⁺ of u changed.

    1: the change does not move the features; 0: as far as to another image; negative: further.

    Args:
        h: features of the images as they are [n, d].
        changed: of the same images after the change [n, d].

    Returns:
        None for fewer than two images, or if all features are one point.
    """
    u, moved = (F.normalize(features.double(), dim=1) for features in (h, changed))
    if len(u) < 2:
        return None
    # Over all pairs of different rows: twice the unbiased variance.
    apart = 2 * float((u - u.mean(0)).square().sum()) / (len(u) - 1)
    if apart < CONSTANT:
        return None
    return 1 - float((u - moved).square().sum(1).mean()) / apart


def neighbour_distance(bank: Tensor, queries: Tensor, k: int) -> Tensor:
    """Distance of normalised rows [m, d] to their k-th nearest of the bank [n, d] (Sun et al., 2022).

    Of a bank with fewer than k rows, to the farthest. Float64 [m], 0 … 2.
    """
    similarity = neighbours(bank, queries, k)[0][:, -1].double()
    return (2 - 2 * similarity).clamp_min(0).sqrt()


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive scores above a negative, equal scores counting half.

    The area under the ROC curve as Mann and Whitney's U / (n m), of scores [n] and [m].
    """
    ordered = negative.sort()[0]
    below = torch.searchsorted(ordered, positive, right=False)
    not_above = torch.searchsorted(ordered, positive, right=True)
    return float((below + not_above).double().mean()) / (2 * len(negative))


def _corruption_accuracies(
    probe: Probe,
    h: Tensor,
    labels: Tensor,
    shifted: Mapping[str, Tensor],
    severities: Sequence[int],
) -> Json:
    """Of each corruption, a mean over severities, beside that of the same images as they are."""
    found: Json = {}
    for name in CORRUPTIONS:
        features = torch.cat([shifted[f"corruption_{name}_{severity}"] for severity in severities])
        found[f"corruption_{name}"] = accuracy(
            probe.predict(features), labels.repeat(len(severities))
        )
    mean = sum(found.values()) / len(found)
    clean = accuracy(probe.predict(h), labels)
    return found | {
        "clean_accuracy": clean,
        "corruption_accuracy": mean,
        "relative_robustness": mean / clean if clean else None,
    }
