"""JSON Schemas of the OpenAPI document, made strict: here no member may be missing in what is published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema

Json = dict[str, Any]


def strict(schema: Any) -> Any:
    """The same, but an object that names its members has no others, unless the schema says that it may."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        if schema.get("type") == "object" and "properties" in schema and "additionalProperties" not in schema:
            made["additionalProperties"] = False
        return made
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


def faults(document: Json, name: str, body: Any) -> Iterator[str]:
    """What is in `body` and not as the schema of this name says, each with its path."""
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": {"schemas": strict(document["components"]["schemas"])},
    }
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    for fault in jsonschema.Draft202012Validator(schema, format_checker=checker).iter_errors(body):
        yield f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"
