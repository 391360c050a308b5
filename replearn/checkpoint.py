"""Checkpoints: everything a training needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from replearn.build import load_tensors, method_tensors
from replearn.methods.base import Method


@dataclass(slots=True)
class Position:
    """Where a training stands: optimiser steps taken, bytes of history written, current neighbourhoods."""

    step: int = 0
    history_bytes: int = 0
    neighbourhoods: Tensor | None = None


class Checkpoint:
    """One file, replaced atomically, that belongs to one key.

    Args:
        path: the file.
        key: of the run; a checkpoint of another key is ignored.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def save(self, method: Method, optimizer: Optimizer, position: Position) -> None:
        """Write weights, optimiser state and position to disk."""
        tensors = {f"method.{name}": tensor for name, tensor in method_tensors(method).items()}
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
        if position.neighbourhoods is not None:
            tensors["neighbourhoods"] = position.neighbourhoods
        facts = {
            "key": self.key,
            "step": position.step,
            "history_bytes": position.history_bytes,
            "torch": torch.__version__,
        }
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(self.path, save(contiguous, metadata={"replearn": json.dumps(facts)}))

    def load(self, method: Method, optimizer: Optimizer) -> tuple[Position, str | None]:
        """Restore method and optimiser in place.

        Returns:
            The position, and the reason why a file that was there was not used (None if it was, or if
            there was none). Without a usable file nothing is changed and the position is the start.
        """
        if not self.path.is_file():
            return Position(), None
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("replearn", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            return Position(), f"{self.path.name} is damaged ({error}); starting afresh"
        if facts.get("key") != self.key:
            return Position(), f"{self.path.name} belongs to another run; starting afresh"
        if facts.get("torch") != torch.__version__:
            return (
                Position(),
                f"{self.path.name} is from torch {facts.get('torch')}; starting afresh",
            )
        load_tensors(method, _below("method.", tensors))
        _load_optimizer(optimizer, _below("optimizer.", tensors))
        neighbourhoods = tensors.get("neighbourhoods")
        return Position(facts["step"], facts["history_bytes"], neighbourhoods), None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or the next start, sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, entry = name.partition(".")
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape:
            # Fused steps pair elements by their place in memory, so the layouts must agree.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(number), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
