"""Sums of pixels against NumPy's own mean and standard deviation."""

from __future__ import annotations

import numpy as np
import pytest

from replearn.data import moments
from replearn.data.moments import image_sums, mean_and_std

from .conftest import pixels


@pytest.mark.parametrize("block", [1, 100, 2**20])
def test_sums_are_exact_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "BLOCK", block)
    images = pixels(0, (9, 3, 5, 7))
    sums = image_sums(images)
    values = images.astype(object)
    assert sums[:, 0].tolist() == values.sum(axis=(2, 3)).tolist()
    assert sums[:, 1].tolist() == (values**2).sum(axis=(2, 3)).tolist()


def test_the_brightest_image_does_not_overflow() -> None:
    white = np.full((1, 1, 1024, 1024), 255, np.uint8)
    assert image_sums(white)[0, :, 0].tolist() == [255 * 2**20, 255**2 * 2**20]


def test_mean_and_std_are_those_of_the_pixels() -> None:
    images = pixels(1, (20, 3, 8, 8))
    mean, std = mean_and_std(image_sums(images).sum(axis=0), 20 * 64)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_has_no_deviation() -> None:
    images = np.full((3, 1, 7, 7), 77, np.uint8)
    assert mean_and_std(image_sums(images).sum(axis=0), 3 * 49) == ((77 / 255,), (0.0,))
