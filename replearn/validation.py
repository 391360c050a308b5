"""pydantic's complaints, told as one message with file, key, value and the nearest valid name."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from replearn.errors import UserError, nearest

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], raw: Mapping[str, Any], where: str) -> M:
    """Build `model` from `raw`.

    Args:
        model: the pydantic model.
        raw: the values, as read from YAML.
        where: their origin, `file: key`, which messages begin with.

    Raises:
        UserError: the first problem found, worded for the person who wrote the value.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        raise _explained(model, first, where, problem.error_count()) from None


def _explained(model: type[BaseModel], error: Any, where: str, count: int) -> UserError:
    path: Sequence[str | int] = error["loc"]
    separator = "." if ": " in where else ": "
    place = where + (separator + _dotted(path) if path else "")
    value = error.get("input")
    more = f" (and {count - 1} more problem{'s' if count > 2 else ''})" if count > 1 else ""
    if error["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        names = [name for name in owner.model_fields if name != "source"] if owner else []
        key = str(path[-1])
        hint = home(model, path) or nearest(key, names)
        return UserError(f"unknown key '{key}'{more}", where=place, hint=hint)
    if error["type"] == "missing":
        return UserError(f"this key is required{more}", where=place)
    if error["type"] in ("literal_error", "enum"):
        expected = error.get("ctx", {}).get("expected", "")
        choices = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
        return UserError(
            f"{value!r} is not valid{more}", where=place, hint=nearest(str(value), choices)
        )
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, Mapping) else f"{value!r} is not valid: "
    return UserError(f"{shown}{message[0].lower()}{message[1:]}{more}", where=place)


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that a path of keys leads to, through optional and container types."""
    current: Any = model
    for part in path:
        if (
            isinstance(current, type)
            and issubclass(current, BaseModel)
            and part in current.model_fields
        ):
            current = _inner_model(current.model_fields[str(part)].annotation)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def home(model: type[BaseModel], path: Sequence[str | int]) -> str | None:
    """A hint: where in `model` the last key of a path does belong, if it does anywhere."""
    waiting: list[tuple[tuple[str, ...], type[BaseModel]]] = [((), model)]
    for above, owner in waiting:
        if path[-1] in owner.model_fields and path[-1] != "source":
            return f"It belongs {'under ' + '.'.join(above) if above else f'beside {path[0]}'}."
        for name, field in owner.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                waiting.append(((*above, name), inner))
    return None


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    if get_origin(annotation) is None:
        return None
    for argument in get_args(annotation):
        found = _inner_model(argument)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None
