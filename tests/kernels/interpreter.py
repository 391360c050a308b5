"""The kernels that torch.compile writes for a graphics card, run on a CPU by Triton's interpreter.

A pytest plugin (`pytest -p tests.kernels.interpreter`), which has to be there before Triton is imported. With
it torch.compile takes the CPU for an H100: it decides as for one and writes Triton instead of C++. NumPy then
executes a kernel's source, program by program in reverse order. Convolutions and large products are
PyTorch's, on a card as here.

What remains for a card to show is what Triton's compiler makes of the source, and programs side by side.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import numpy as np
import pytest
import torch._inductor.config
import torch.utils._triton
import triton.language as tl
from torch._inductor import decomposition, ir, scheduler
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.codecache import PyCodeCache
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime import triton_helpers, triton_heuristics
from torch._inductor.runtime.hints import TRITON_MAX_BLOCK, DeviceProperties
from triton.runtime import interpreter
from triton.runtime.interpreter import TensorHandle

H100 = DeviceProperties(
    type="cpu",
    index=0,
    multi_processor_count=132,
    cc=90,
    major=9,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    warp_size=32,
)

PROGRAM = 2**14
"""Numbers that a program is given, if the kernel allows for as many."""

launches: Counter[str] = Counter()


@pytest.fixture
def launched() -> Counter[str]:
    """How often each kernel has run since the test began."""
    launches.clear()
    return launches


class Kernel:
    """A kernel in the place of the one that Triton would compile.

    Args:
        function: the kernel, for the interpreter.
        blocks: block sizes by name.
        facts: what torch.compile says of the kernel.
    """

    def __init__(self, function: Any, blocks: dict[str, int], facts: Any) -> None:
        self.function, self.blocks, self.facts = function, blocks, facts

    def run(self, *arguments: object, stream: object = None) -> None:
        """Called by the code that torch.compile writes."""
        launches[self.function.fn.__name__] += 1
        others = (name for name in self.function.arg_names if name not in self.blocks)
        named = self.blocks | dict(zip(others, arguments, strict=True))
        grid = triton_heuristics.GridExpr.from_meta(self.facts, self.blocks).eval_slow(named)
        with np.errstate(all="ignore"):
            self.function[tuple(map(int, grid))](**named)


def _in_large_blocks(
    size_hints: dict[str, int] | None, configs: list[Any], triton_meta: Any, *_: object, **more: Any
) -> Callable[[Any], Kernel]:
    """Instead of the search for the fastest: a program costs the interpreter much, a number little."""

    def decorate(function: Any) -> Kernel:
        names = function.arg_names
        blocks = {name: size for name, size in configs[0].kwargs.items() if name in names}
        widest = min(size_hints["x"], TRITON_MAX_BLOCK["X"]) if size_hints else 1
        while blocks.get("XBLOCK", widest) < widest and math.prod(blocks.values()) < PROGRAM:
            blocks["XBLOCK"] *= 2
        return Kernel(function, blocks, more["inductor_meta"])

    return decorate


def _kernel(_: AsyncCompile, name: str, source: str, *__: object, **___: object) -> Kernel:
    kernel: Kernel = getattr(PyCodeCache.load(source), name)
    return kernel


def _cast(_: object, source: TensorHandle, target: Any) -> TensorHandle:
    """To another type, bfloat16 (in memory the upper half of a float32) rounded to even as on a card."""
    data, wanted = source.data, target.scalar
    if source.dtype.scalar == tl.bfloat16:
        data = (data.astype(np.uint32) << 16).view(np.float32)
    if wanted == tl.bfloat16:
        bits = np.ascontiguousarray(data, dtype=np.float32).view(np.uint32)
        data = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return TensorHandle(data.astype(interpreter._get_np_dtype(wanted)), wanted)


def _reduce(self: interpreter.ReduceOps, inputs: tuple[tl.tensor, ...]) -> list[tl.tensor]:
    """Halves with halves, as a card does; the interpreter goes number by number."""
    types, data = [x.dtype for x in inputs], [x.handle.data for x in inputs]
    while data[0].shape[self.axis] > 1:
        halves = zip(*(np.split(x, 2, self.axis) for x in data), strict=True)
        operands = [
            self.to_tensor(x, type_)
            for half in halves
            for x, type_ in zip(half, types, strict=True)
        ]
        combined = self.combine_fn.fn(*operands)
        data = [x.handle.data for x in (combined if isinstance(combined, tuple) else (combined,))]
    kept = data if self.keep_dims else [x.squeeze(self.axis) for x in data]
    return [self.to_tensor(x, type_) for x, type_ in zip(kept, types, strict=True)]


def _elementwise(function: Callable[..., Any]) -> Callable[..., tl.tensor]:
    """A function of NumPy as one of CUDA's library, which the interpreter does not have."""

    def call(*operands: tl.tensor) -> tl.tensor:
        first = operands[0]
        values = np.asarray(function(*(x.handle.data for x in operands)))
        handle = TensorHandle(values.astype(first.handle.data.dtype), first.dtype.scalar)
        return tl.tensor(handle, first.type)

    return call


class _Library:
    """Those functions of CUDA's library that the methods' kernels use."""

    copysign = staticmethod(_elementwise(np.copysign))
    erf = staticmethod(_elementwise(np.vectorize(math.erf)))
    exp = staticmethod(_elementwise(np.exp))
    floor = staticmethod(_elementwise(np.floor))
    nearbyint = staticmethod(_elementwise(np.rint))
    rsqrt = staticmethod(_elementwise(lambda x: 1 / np.sqrt(x)))
    signbit = staticmethod(_elementwise(np.signbit))
    sqrt = staticmethod(_elementwise(np.sqrt))


def _in_reverse(self: Any, x: int, y: int, z: int) -> None:
    """Programs may depend on no order, so take the one that is least likely by chance."""
    self.grid_idx = tuple(
        count - 1 - number for count, number in zip(self.grid_dim, (x, y, z), strict=True)
    )


torch._inductor.config.cpu_backend = "triton"
torch.utils._triton.triton_hash_with_backend = lambda: ""  # there is no driver to ask
DeviceProperties.create = lambda device: H100
AsyncCompile.triton = _kernel
triton_heuristics.cached_autotune = _in_large_blocks

# What is decided differently for a CPU. The last two: a card's kernel is given a lone number of the CPU's by
# value, but here such numbers stand for the card's own.
decomposition.is_gpu = ir.is_gpu = lambda device: True
scheduler.BaseSchedulerNode.is_gpu = lambda self: True
scheduler.BaseSchedulerNode.is_cpu = lambda self: False
scheduler.Scheduler.update_zero_dim_cpu_tensor = lambda self: None
GraphLowering.is_unspec_arg = lambda self, name: False

triton_helpers.libdevice = _Library
interpreter.InterpreterBuilder.cast_impl = _cast
interpreter.InterpreterBuilder.create_fp_to_fp = lambda self, x, target, rounding: _cast(
    self, x, target
)
interpreter.InterpreterBuilder.set_grid_idx = _in_reverse
interpreter.ReduceOps.generic_reduce = _reduce
