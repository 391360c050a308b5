"""The augmentation benchmark runs, and its contestants make the same views."""

from __future__ import annotations

import torch
from PIL import Image

from benchmarks.augmentation import CASES, measure, ours
from benchmarks.harness import options


def test_a_quick_run_measures_every_contestant_and_operation() -> None:
    throughput, costs = measure(
        options("").parse_args(["--quick", "--device", "cpu", "--threads", "1"])
    )
    (row,) = throughput.rows
    assert next(iter(row.values)) == "replearn"
    assert len(row.values) == 4
    assert min(row.values.values()) > 0
    assert row.ratio is not None
    assert len(costs.rows) == 6
    assert all(row.values["cost"] > 0 for row in costs.rows)


def test_replearn_and_torchvision_have_the_same_recipe() -> None:
    """Means of views agree to four standard errors of their difference, image by image."""
    case = CASES[0]
    coarse = case.images()[:, :, ::8, ::8]  # crops of coarse images differ, those of noise don't
    images = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.manual_seed(0)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    theirs = torch.stack([case.transform(picture) for picture in pictures])
    mine = ours(images, case.view)
    assert mine.shape == theirs.shape
    assert mine.dtype == theirs.dtype
    for power in (1, 2):
        difference = ((mine**power) - (theirs**power)).mean((2, 3))
        error = difference.std(0) / len(images) ** 0.5
        assert bool((difference.mean(0).abs() < 4 * error + 0.01).all())
