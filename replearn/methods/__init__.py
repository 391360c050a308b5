"""The methods: one file each, listed in `replearn.methods.options.METHODS`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from replearn.methods.options import METHODS, MethodOptions

if TYPE_CHECKING:
    from replearn.methods.base import Method

__all__ = ["METHODS", "MethodOptions", "method_class"]


def method_class(options: MethodOptions) -> type[Method]:
    """The class that implements the method of these options."""
    module, _, name = options.implementation.partition(":")
    found: type[Method] = getattr(import_module(module), name)
    return found
