"""Checkpoints: everything a training needs to go on as if it had never stopped.

A draw depends on the seed and on where a training stands, never on a generator's state, so there is none
to save; schedules are functions of the step. What remains is weights and buffers (averages, centres,
queues), the optimiser's state, the neighbourhoods of mining, and the losses not yet written to history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from replearn.build import load_tensors, method_tensors
from replearn.history import History
from replearn.methods.base import Method
from replearn.provenance import Spent
from replearn.wholefile import write_bytes


@dataclass(slots=True)
class Position:
    """Where a training stands.

    Attributes:
        step: optimiser steps taken.
        spent: what they took, with everything around them, in all processes so far.
        neighbourhoods: of the samples, if the method mines.
        pending: losses and scalars [k] of the last k steps, which history does not have yet.
    """

    step: int = 0
    spent: Spent = field(default_factory=Spent)
    neighbourhoods: Tensor | None = None
    pending: dict[str, Tensor] = field(default_factory=dict)


class Checkpoint:
    """The last two states of a training, in files that belong to one key.

    Each file is whole or absent, and says what it should contain; one that is damaged, of another key or
    of another version of torch is told of, and the one before it is used.

    Args:
        path: the file of the last state; the one before lies beside it.
        key: of the run.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.before = path.with_stem(f"{path.stem}-before")

    def save(
        self, method: Method, optimizer: Optimizer, position: Position, history: History
    ) -> None:
        """Write weights, optimiser state and position to disk."""
        tensors = {f"method.{name}": tensor for name, tensor in method_tensors(method).items()}
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
        tensors |= {f"pending.{name}": values for name, values in position.pending.items()}
        if position.neighbourhoods is not None:
            tensors["neighbourhoods"] = position.neighbourhoods
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        facts = {
            "key": self.key,
            "step": position.step,
            "spent": asdict(position.spent),
            "history": history.mark(),
            "torch": torch.__version__,
        }
        sealed = {**facts, "digest": _digest(facts, held)}
        content = save(held, metadata={"replearn": json.dumps(sealed)})
        write_bytes(self.path, content, keep=self.before)

    def load(
        self, method: Method, optimizer: Optimizer, history: History
    ) -> tuple[Position, list[str]]:
        """Restore method, optimiser and history in place from the last state that is whole.

        Returns:
            The position, and why files that were there were not used. Without a usable one method and
            optimiser are left alone, history is empty, and the position is the start.

        Raises:
            OSError: a file cannot be read at all; that says nothing about what it holds.
        """
        complaints = []
        for path in (self.path, self.before):
            try:
                facts, tensors = self._read(path)
                history.resume(facts["history"])
            except FileNotFoundError:
                continue
            except (SafetensorError, ValueError, KeyError, TypeError) as error:
                complaints.append(f"{path.name} is not used: {error}")
                continue
            load_tensors(method, _below("method.", tensors))
            _load_optimizer(optimizer, _below("optimizer.", tensors))
            pending = _below("pending.", tensors)
            neighbourhoods = tensors.get("neighbourhoods")
            position = Position(facts["step"], Spent(**facts["spent"]), neighbourhoods, pending)
            return position, complaints
        history.resume(None)
        return Position(), complaints

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Facts and tensors of a file.

        Raises:
            ValueError: it is not this run's, or not what was written.
        """
        if not path.is_file():
            raise FileNotFoundError(path)
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("replearn", "{}"))
            if facts.get("key") != self.key:
                raise ValueError("it belongs to another run")
            if facts.get("torch") != torch.__version__:
                raise ValueError(f"it is from torch {facts.get('torch')}, not {torch.__version__}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts.pop("digest", None) != _digest(facts, tensors):
            raise ValueError("its content is not what was written")
        return facts, tensors


def _digest(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the facts and of the tensors' names, types, shapes and contents."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
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
