"""Feature files, read for an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from replearn.errors import MachineFault, UserError
from replearn.wholefile import replacing


@dataclass(frozen=True, slots=True)
class Features:
    """Frozen features of one part of a dataset.

    Attributes:
        h: of the encoder [n, d].
        z: of the projector [n, k], if the method has one.
        labels: int64 [n], if the dataset has them.
        index: int64 [n], rows of the prepared split.
        reconstruction_error: mean squared error of each image as the method gives it back [n]; only
            of test images, and of methods that decode.
    """

    h: Tensor
    z: Tensor | None
    labels: Tensor | None
    index: Tensor
    reconstruction_error: Tensor | None = None

    def network(self, name: str) -> Tensor | None:
        """The features called "h" or "z"."""
        return self.h if name == "h" else self.z


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; a missing or damaged one is a `UserError` that names it."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise MachineFault("file not found", where=str(path)) from None
    except (SafetensorError, OSError) as error:
        raise MachineFault(
            f"not a readable file of tensors ({error})",
            where=str(path),
            hint="Delete it and start again; the step that made it runs anew.",
        ) from None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file so that a reader, or the next start, sees all of it or none.

    It goes from the tensors to the file without a copy in memory. A full disk is a `UserError`.
    """
    held = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(held, temporary)
    except SafetensorError as error:  # of a full disk, for instance: it passes on no errno
        raise MachineFault(f"cannot write the file ({error})", where=str(path)) from error


def read_features(path: Path, device: str = "cpu") -> Features:
    """Features of one part.

    Raises:
        UserError: the file is missing, damaged, or lacks features.
    """
    tensors = {name: tensor.to(device) for name, tensor in read_tensors(path).items()}
    if "h" not in tensors or not len(tensors["h"]):
        raise UserError("the file has no encoder features 'h'", where=str(path))
    h = tensors["h"]
    index = tensors.get("index", torch.arange(len(h), device=device))
    for name in ("z", "labels", "index", "reconstruction_error"):
        if name in tensors and len(tensors[name]) != len(h):
            raise UserError(
                f"{len(tensors[name])} rows of '{name}' for {len(h)} of 'h'", where=str(path)
            )
    return Features(
        h, tensors.get("z"), tensors.get("labels"), index, tensors.get("reconstruction_error")
    )


def evenly_spaced(count: int, most: int) -> Tensor:
    """At most so many of `count` rows, int64, the first and the last among them."""
    return torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).long()


def joined(a: Features, b: Features) -> Features:
    """The rows of both; labels only if both have them."""
    return Features(
        h=torch.cat([a.h, b.h]),
        z=None if a.z is None or b.z is None else torch.cat([a.z, b.z]),
        labels=None if a.labels is None or b.labels is None else torch.cat([a.labels, b.labels]),
        index=torch.cat([a.index, b.index]),
    )
