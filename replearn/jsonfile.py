"""JSON files that are either whole or absent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from replearn.errors import UserError
from replearn.wholefile import write_bytes


def read_json(path: str | Path) -> Any:
    """Parse a JSON file; a missing or damaged one is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("file not found", where=str(path)) from None
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=str(path)) from None


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` atomically, with sorted keys; NaN and infinity become null."""
    text = json.dumps(_finite(value), indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text)


def write_if_changed(path: str | Path, text: str) -> bool:
    """Write `text` unless the file already holds it, so that its time stamp stays; True if written."""
    path = Path(path)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text, durable=False)
    return True


def write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write a text file so that no reader sees half of it; `durable` waits for the disk."""
    write_bytes(Path(path), text.encode(), durable=durable)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
