"""From a run's configuration to its freshly initialised method, and method tensors to and from files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from replearn.batchnorm import with_views
from replearn.config import RunConfig
from replearn.data.prepared import Manifest
from replearn.encoders import EncoderShape, build_encoder
from replearn.errors import UserError
from replearn.methods import method_class
from replearn.methods.base import Method
from replearn.randomness import derived_seed


def build_method(config: RunConfig, manifest: Manifest) -> Method:
    """The method of a run with the initial weights of its seed; the same on every device."""
    encoder = config.encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "init"))
        try:
            backbone, width = build_encoder(
                encoder.name,
                manifest.channels,
                manifest.height,
                width=encoder.width,
                patch=encoder.patch,
            )
        except ValueError as error:
            raise UserError(str(error), where=f"{config.id}: encoder") from None
        shape = EncoderShape(width, manifest.channels, manifest.height, len(manifest.classes))
        method = method_class(config.options)
        built: Method = method(backbone, shape, config.options)  # type: ignore[call-arg]
    with_views(built)
    return built


def on_device(method: Method, device: str) -> Method:
    """The method on "cpu" or "cuda", its convolutions in channels-last order."""
    return method.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def method_tensors(method: Method) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each tensor once even if two modules share it."""
    tensors = {**dict(method.named_parameters()), **dict(method.named_buffers())}
    persistent = method.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name in persistent}


@torch.no_grad()
def load_tensors(method: Method, tensors: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into a method of the same architecture.

    Raises:
        ValueError: names or shapes do not match.
    """
    own = method_tensors(method)
    if own.keys() != tensors.keys():
        differing = sorted(own.keys() ^ tensors.keys())
        raise ValueError(f"the saved tensors do not fit the method: {', '.join(differing[:3])}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            )
        tensor.copy_(tensors[name])
