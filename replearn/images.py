"""Interim."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class ResidentImages:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return len(self.tensor)

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def batches(
        self, order: Tensor, batch_size: int, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = order.to(self.device)
        for index in order.split(batch_size)[start:]:
            if len(index) == batch_size:
                yield index, self.tensor[index]

    def chunks(self, size: int) -> Iterator[Tensor]:
        yield from self.tensor.split(size)


TrainingImages = ResidentImages
