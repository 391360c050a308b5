"""The contract between a method and the rest: a batch in, a loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, ParamSpec

import torch
from torch import Tensor, nn

from replearn.batchnorm import forward_apart
from replearn.encoders import EncoderShape

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch of n images.

    Attributes:
        views: each [n, c, h, w], normalised; global crops first.
        index: int64 [n], row of each sample in the training set.
        draws: float [n, 2], fresh uniform numbers for methods that choose at random.
        labels: int64 [n], only for methods whose `needs` name them.
        tokens: int64 [m, t], the captions of the batch as tokens, likewise.
        caption: int64 [n], row of each sample's caption in `tokens`.
    """

    views: tuple[Tensor, ...]
    index: Tensor
    draws: Tensor
    labels: Tensor | None = None
    tokens: Tensor | None = None
    caption: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss to minimise, and detached scalars worth a curve of their own."""

    total: Tensor
    scalars: Mapping[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """A way to learn a representation: networks and a loss; no optimiser, device, file or logger.

    A subclass is built as `Method(encoder, shape, options)` and leaves the evaluated network in
    `self.encoder`, its projection head (if any) in `self.projector`.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """What a batch must carry beside views: any of "labels", "tokens"."""

    views_at_once: bool = True
    """Whether `apart` takes one pass for all views; one pass for each gives the same, more slowly."""

    encoder: nn.Module
    projector: nn.Module | None

    def __init__(self, encoder: nn.Module, shape: EncoderShape) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = None
        self.shape = shape

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The training loss of one batch."""

    def before_step(self, progress: float) -> None:
        """Called before each step with the share of the training that is done, 0 to 1.

        Here a schedule sets what `loss` reads: it fills a buffer of the method. For a number of Python's own
        torch.compile would compile anew when it changes; CUDA graphs would record anew for another tensor.
        """

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step; `progress` runs from 0 to 1 over the training."""

    def fit(self, images: Tensor) -> None:
        """Compute what is not trained, once, from normalised training images [n, c, h, w]."""

    def learn_from(self, teacher: Method) -> None:
        """Called before training with a trained method if the run has a teacher.

        It is frozen, in evaluation mode and on the device. Keep what it computes, not the module: it is no
        part of what is trained and saved.
        """

    def frozen(self, progress: float) -> tuple[nn.Parameter, ...]:
        """Parameters that get no gradient step at this point of the training."""
        return ()

    def neighbourhoods(self, embeddings: Tensor, generator: torch.Generator) -> Tensor | None:
        """Group the training set for the next epochs: int64 [n], or None for uniformly drawn batches.

        Called every `neighbourhood_interval` epochs with the current embeddings [n, d].
        """
        return None

    neighbourhood_interval: int = 0

    def apart(self, network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of `network` for each view, BatchNorm's statistics staying within a view."""
        if self.views_at_once:
            return forward_apart(network, views)
        return [network(view) for view in views]

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What evaluation sees: h [n, d] of the encoder, and z [n, k] of the projector or None."""
        h = self.encoder(images)
        return h, None if self.projector is None else self.projector(h)

    def reconstruct(self, images: Tensor) -> Tensor | None:
        """The images [n, c, h, w] as the method gives them back; None if it does not decode."""
        return None


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Compute a loss outside autocast, with half-precision arguments as float32 and float64 as it is.

    A softmax at temperature 0.01 amplifies the rounding of bfloat16 a hundredfold.
    """

    @wraps(loss)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return loss(*map(_upcast, args), **{name: _upcast(a) for name, a in kwargs.items()})

    return computed


def _upcast(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    if isinstance(value, list | tuple):
        return [_upcast(item) for item in value]
    return value


def check_embeddings(name: str, *tensors: Tensor) -> None:
    """Raise ValueError unless all `tensors` are [n, d] of one shape with n > 0."""
    shapes = [tuple(t.shape) for t in tensors]
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"{name} needs embeddings [n, d], not shapes {shapes}")
    if len(set(shapes)) > 1:
        raise ValueError(f"{name} needs embeddings of one shape, not {shapes}")
    if tensors[0].shape[0] == 0:
        raise ValueError(f"{name} got an empty batch")


def check_temperature(name: str, value: float | Tensor) -> None:
    """Raise ValueError unless a temperature is positive; to look at a tensor would wait for its device."""
    if not isinstance(value, Tensor) and not value > 0:
        raise ValueError(f"{name} needs a temperature above 0, not {value}")
