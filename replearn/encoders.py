"""Backbones: images [n, c, s, s] to features [n, width], and to features of their patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What a method needs to know about its encoder and its data."""

    width: int
    channels: int
    size: int
    classes: int


def build_encoder(
    name: str, channels: int, size: int, *, width: int, patch: int
) -> tuple[nn.Module, int]:
    """Build a freshly initialised backbone.

    Args:
        name: "convnet", "resnet18", "resnet50", "vit_tiny" or "vit_small".
        channels: of the images.
        size: height and width of the images in pixels.
        width: of the convnet's first stage; other backbones have theirs by definition.
        patch: of the vision transformers, in pixels.

    Returns:
        The module and the width of its features.
    """
    if name == "convnet":
        return ConvNet(channels, width), 4 * width
    if name.startswith("resnet"):
        return _resnet(name, channels, size)
    if name.startswith("vit"):
        return _vision_transformer(name, channels, size, patch)
    raise ValueError(f"unknown encoder {name!r}")


class ConvNet(nn.Module):
    """Three strided convolutions and average pooling: 4 × width features, for machines without a GPU.

    A strided 4×4 stem halves the image at once; on 28×28 images that makes it about twice as fast as a stem
    at full resolution, at equal width.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            _convolution(channels, width, kernel=4),
            _convolution(width, 2 * width, kernel=3),
            _convolution(2 * width, 4 * width, kernel=3),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(images).mean((2, 3))
        return features


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


SMALL_IMAGE = 64
"""Up to this size a ResNet gets the 3×3 stem without max-pooling (SimCLR, appendix B.9)."""


def _resnet(name: str, channels: int, size: int) -> tuple[nn.Module, int]:
    from torchvision.models import resnet18, resnet50

    network = {"resnet18": resnet18, "resnet50": resnet50}[name]()
    small = size <= SMALL_IMAGE
    kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
    network.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    if small:
        network.maxpool = nn.Identity()
    width: int = network.fc.in_features
    network.fc = nn.Identity()
    return network, width


def _vision_transformer(name: str, channels: int, size: int, patch: int) -> tuple[nn.Module, int]:
    from timm.models.vision_transformer import VisionTransformer

    width, heads = {"vit_tiny": (192, 3), "vit_small": (384, 6)}[name]
    if size % patch:
        raise ValueError(f"patch size {patch} does not divide images of {size} pixels")
    network = VisionTransformer(
        img_size=size,
        patch_size=patch,
        in_chans=channels,
        embed_dim=width,
        depth=12,
        num_heads=heads,
        num_classes=0,
        dynamic_img_size=True,
        dynamic_img_pad=True,
    )
    return network, width


def patch_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """Features [n, p, d] of the p places of an image that a backbone still tells apart at its end.

    A convolutional backbone averages them to its features; in a vision transformer they are the tokens
    beside the class token, which is its features.
    """
    return with_patches(encoder, images)[:, 1:]


def with_patches(encoder: nn.Module, images: Tensor) -> Tensor:
    """An encoder's features and behind them `patch_features`, in one pass: [n, 1 + p, d].

    Raises:
        ValueError: the encoder is none that `build_encoder` builds.
    """
    from torchvision.models import ResNet

    if isinstance(encoder, ConvNet):
        grid: Tensor = encoder.stages(images)
    elif isinstance(encoder, ResNet):
        stem = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(images))))
        grid = encoder.layer4(encoder.layer3(encoder.layer2(encoder.layer1(stem))))
    else:
        return _tokens(encoder, images)
    patches = grid.flatten(2).transpose(1, 2)
    return torch.cat([patches.mean(1, keepdim=True), patches], dim=1)


def _tokens(encoder: nn.Module, images: Tensor) -> Tensor:
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(encoder, VisionTransformer):
        raise ValueError(f"{type(encoder).__name__} has no patches")
    tokens: Tensor = encoder.forward_features(images)
    return tokens
