"""Work that threads do ahead of the one who wants its results, in order and in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = min(16, len(os.sched_getaffinity(0)))
"""Threads for work that mostly leaves Python: the cores that this process may use, but not all of a large
machine, since Python's own share of the work goes one at a time."""


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Results of `work`, in the order of `items`.

    Closing the iterator, or an exception of the one who iterates, drops what has not begun and waits for
    what has, so that no thread outlives it.

    Args:
        work: called from several threads at once; what it raises is raised in its item's turn.
        items: taken one by one, as the work goes on.
        threads: how many work at a time.
        ahead: at most so many items are begun or waiting beyond the one whose result is in use.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
