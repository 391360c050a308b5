"""Mistakes that a user can mend, told in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FEW = 6


class UserError(Exception):
    """Something the user can put right: printed without a traceback, exit status 2.

    Args:
        message: what is wrong, with the offending value.
        where: the file, key or path in question.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.hint}" if self.hint else head


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A hint: the valid choice closest to `name` if one is close, and all of them if they are few."""
    known = sorted(candidates)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    parts = [f"Did you mean '{close[0]}'?"] if close else []
    if not close or len(known) <= FEW:
        parts.append(f"Valid choices: {', '.join(known)}.")
    return " ".join(parts)
