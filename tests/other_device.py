"""A second device without hardware: its tensors are held on the CPU, but refuse to meet the CPU's.

It finds what only a graphics card would otherwise: tensors made on the CPU by default, NumPy on a
device's tensor, and how often a computation waits for the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "meta"
"""A device type that every torch knows; within `OtherDevice` its tensors have values."""

COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
WAITS = frozenset(
    f"aten::{name}"
    for name in ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "bincount")
)
"""What needs the device's values, or a shape that depends on them, before the CPU can go on."""


class Elsewhere(Tensor):
    """A tensor of the other device, whose values are `held` on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=NAME,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on the other device, outside of its context")


class OtherDevice(TorchDispatchMode):
    """A context in which `device=NAME` computes.

    Attributes:
        waits: how often the CPU would wait for a real device, copies aside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        theirs = {id(t.held): t for t in tensors if isinstance(t, Elsewhere)}
        # A real device takes single numbers of the CPU too.
        ours = [t for t in tensors if not isinstance(t, Elsewhere) and t.ndim]
        if theirs and ours and func not in COPIES:
            raise RuntimeError(f"{func} was given tensors of two devices")
        device = kwargs.get("device")
        elsewhere = bool(theirs) if device is None else device.type == NAME
        if func is torch.ops.aten.copy_.default:
            elsewhere = isinstance(args[0], Elsewhere)
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        masked = func is torch.ops.aten.index.Tensor and any(
            mask is not None and mask.dtype == torch.bool for mask in args[1]
        )
        self.waits += bool(theirs) and (masked or func._schema.name in WAITS)
        args, kwargs = tree_map_only(Elsewhere, lambda tensor: tensor.held, (args, kwargs))
        result = func(*args, **kwargs)
        if not elsewhere:
            return result
        # An operation in place gives back the tensor that it was given.
        return tree_map_only(
            Tensor, lambda t: theirs[id(t)] if id(t) in theirs else Elsewhere(t), result
        )
