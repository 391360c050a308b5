"""Freed memory stays with the process, so that the next step doesn't fetch it anew."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCKS = 1 << 30, 1 << 25
"""Blocks up to this size are kept; glibc before 2.35 takes no more than the second."""


def keep_freed_memory() -> bool:
    """Tell the C library not to give freed memory back to the system; True if it understood.

    A training step allocates the same blocks as the one before. By default glibc returns the large
    ones at once, and the system hands them out again page by page, each zeroed first: a fifth of the
    time of a small encoder's step on a CPU. Only glibc has this setting; elsewhere nothing happens.
    """
    try:
        library = ctypes.CDLL(None)
        # The second setting alone would do harm: it ends glibc's own adjustment of the first.
        kept = any(library.mallopt(_M_MMAP_THRESHOLD, size) for size in _LARGEST_BLOCKS)
        return kept and bool(library.mallopt(_M_TRIM_THRESHOLD, -1))
    except (AttributeError, OSError):
        return False
