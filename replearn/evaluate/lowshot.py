"""Probes on a few labelled images per class."""

from __future__ import annotations

import torch
from torch import Tensor

from replearn.evaluate.linear import fit, standardisation
from replearn.randomness import generator


def low_shot_accuracies(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    classes: int,
    shots: int,
    draws: int,
    strength: float,
    standardise: bool = True,
) -> list[float] | None:
    """Test accuracy of probes fitted on `shots` images per class.

    The draws depend on the labels alone, so that all methods see the same images. Features are
    standardised by all training rows, whose labels are not needed for that.

    Args:
        train, labels: features [n, d] and int64 [n] to draw from.
        test, test_labels: [m, d] and [m].
        classes: number of classes.
        shots: labelled images per class.
        draws: how many independent draws.
        strength: C.
        standardise: centre and scale the features.

    Returns:
        One accuracy per draw; None if a class has fewer than `shots` images.
    """
    if int(torch.bincount(labels, minlength=classes).min()) < shots:
        return None
    if standardise:
        mean, scale = standardisation(train)
        train, test = (train - mean) / scale, (test - mean) / scale
    accuracies = []
    for draw in range(draws):
        rows = drawn_rows(labels, classes=classes, shots=shots, draw=draw)
        probe = fit(
            train[rows], labels[rows], classes=classes, strength=strength, standardise=False
        )
        accuracies.append(float((probe.predict(test) == test_labels).double().mean()))
    return accuracies


def drawn_rows(labels: Tensor, *, classes: int, shots: int, draw: int) -> Tensor:
    """Rows int64 [classes · shots] of the labelled images of one draw, class by class."""
    random = generator(0, "low-shot", shots, draw)
    order = torch.randperm(len(labels), generator=random).to(labels.device)
    shuffled = labels[order]
    return torch.cat([order[shuffled == c][:shots] for c in range(classes)])
