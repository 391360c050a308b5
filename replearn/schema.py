"""The JSON schema of a study file, made from the models that validate it."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from replearn.config import RESERVED, Study
from replearn.data import SOURCES
from replearn.methods.options import METHODS


def study_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a study, with every method's and every source's options."""
    schema = Study.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    properties = schema["properties"]
    properties.pop("source")
    reserved = {
        name: definition
        for name, definition in definitions.pop("MethodBlock")["properties"].items()
        if name in (*RESERVED, "variants")
    }
    properties["methods"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            name: _block(options.model_json_schema(), reserved) for name, options in METHODS.items()
        },
    }
    properties["datasets"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "anyOf": [
                {"type": "null"},
                *(
                    TypeAdapter(options).json_schema(ref_template="#/$defs/{model}")
                    for options in SOURCES.values()
                ),
            ]
        },
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _block(options: dict[str, Any], reserved: dict[str, Any]) -> dict[str, Any]:
    own = {name: field for name, field in options["properties"].items() if name != "method"}
    body = {"type": "object", "additionalProperties": False, "properties": {**own, **reserved}}
    return {"anyOf": [{"type": "null"}, body]}
