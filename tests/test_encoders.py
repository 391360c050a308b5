"""Features of patches belong to the features of the image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from replearn.encoders import build_encoder, patch_features, with_patches


@pytest.mark.parametrize(
    ("name", "size", "patches"),
    [
        ("convnet", 28, 16),
        ("convnet", 16, 4),
        ("resnet18", 32, 16),
        ("resnet18", 96, 9),
        ("resnet50", 16, 4),
        ("vit_tiny", 16, 16),
        ("vit_tiny", 14, 16),
    ],
)
def test_patches_and_features_come_from_one_pass(name: str, size: int, patches: int) -> None:
    encoder, width = build_encoder(name, 3, size - size % 4, width=8, patch=4)
    encoder.eval()
    images = torch.randn(2, 3, size, size)
    found = patch_features(encoder, images)
    assert found.shape == (2, patches, width)
    h = encoder(images)
    torch.testing.assert_close(with_patches(encoder, images)[:, 0], h)
    if not name.startswith("vit"):
        torch.testing.assert_close(found.mean(1), h)


def test_a_patch_feature_stays_where_the_patch_is() -> None:
    encoder, _ = build_encoder("convnet", 1, 32, width=8, patch=4)
    encoder.eval()
    image = torch.zeros(1, 1, 32, 32)
    image[..., 28:, 28:] = 1
    change = (patch_features(encoder, image) - patch_features(encoder, 0 * image)).norm(dim=2)
    assert change.argmax() == 15 and change[0, :10].max() == 0


def test_a_network_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no patches"):
        patch_features(nn.Linear(3, 2), torch.randn(1, 3))
