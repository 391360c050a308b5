"""Random streams derived from names, never from global state.

Two kinds: a `generator` for one-off draws (initial weights, the order of an epoch), and a counter hash,
`uniforms`, for augmentation parameters. The hash makes a parameter a function of (seed, epoch, sample,
view), so that it does not depend on batch size, device, worker or an interruption.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9 - 2**32
"""2³² over the golden ratio, less 2³²: torch.compile multiplies it with an index of 32 bits on a GPU."""


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` under `seed`."""
    text = "/".join([str(seed), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream called `names`, for instance `generator(0, "order", epoch)`."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))


def uniforms(seed: int, epoch: int, index: Tensor, view: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), `count` for each sample, from a counter hash.

    Args:
        seed: the run's seed.
        epoch: the epoch number.
        index: int64 [n], sample identities.
        view: number of the view.
        count: how many numbers each sample needs.

    Returns:
        float32 [n, count] on the device of `index`; row i depends on `index[i]` alone. The numbers are
        multiples of 2⁻²⁴, hence exact in float32 and equal on every device.
    """
    base = derived_seed(seed, "augment", epoch, view)
    low, high = base & _MASK, (base >> 32) & _MASK
    sample = _mix((index.to(torch.int64) & _MASK) ^ low)
    column = torch.arange(count, device=index.device, dtype=torch.int64)
    key = _mix(((column + 1) * _GOLDEN & _MASK) ^ high)
    bits = _mix(_mix(sample[:, None] ^ key[None, :]) + key[None, :] & _MASK)
    return (bits >> 8).to(torch.float32) * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """Avalanche 32-bit integers held in int64 (C. Wellons' `lowbias32`, bias 0.17)."""
    x = x ^ (x >> 16)
    x.mul_(0x7FEB352D).bitwise_and_(_MASK)
    x.bitwise_xor_(x >> 15).mul_(0x846CA68B).bitwise_and_(_MASK)
    return x.bitwise_xor_(x >> 16)
