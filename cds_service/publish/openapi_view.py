"""The OpenAPI document as a person reads it: operations by tag, and each schema as a table of its members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cds_service.publish.example_calls import curl
from cds_service.publish.openapi import REF, written
from cds_service.publish.refusals import refusals

Json = dict[str, Any]
_HEADER: Final = " -H 'Authorization: Bearer TOKEN'"
_DEEPEST: Final = 6


@dataclass(frozen=True, slots=True)
class Member:
    """A row of a table. `ref`: the schema that its type names, "" for none."""

    name: str
    type: str
    ref: str
    required: bool
    about: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with a status: its media type and schema, "" for none."""

    status: str
    media: str
    schema: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An operation. `groups`: what it can refuse with as many others do; `errors`: status, code and
    title of each other refusal. `token`: when one is needed, "" for never."""

    anchor: str
    method: str
    path: str
    summary: str
    about: str
    token: str
    params: list[Member]
    body: str
    examples: list[str]
    answers: list[Answer]
    groups: list[str]
    errors: list[tuple[str, str, str]]
    curl: str


def sections(document: Json, base: str) -> list[tuple[str, str, list[Shown]]]:
    """Name and words of each tag, with its operations. `base`: our URL, for what is to be typed."""
    every = [
        (operation["tags"][0], _shown(method, path, operation, base))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return [
        (tag["name"], tag["description"], [shown for name, shown in every if name == tag["name"]])
        for tag in document["tags"]
    ]


def _shown(method: str, path: str, operation: Json, base: str) -> Shown:
    params = [
        Member(item["name"], *_type(item["schema"]), item["required"], _said(item))
        for item in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    answers, errors = [], []
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            examples = answer["content"].get("application/fhir+json", {}).get("examples", {})
            errors += [(status, code, refusals()[code].title) for code in examples]
            continue
        found = answer.get("content", {})
        answers += [Answer(status, media, _name(one["schema"])) for media, one in found.items()]
        answers += [] if found else [Answer(status, "", "")]
    found_codes = {code for _, code, _ in errors}
    groups = {name: codes for name, codes in shared_refusals().items() if found_codes.issuperset(codes)}
    told = {code for codes in groups.values() for code in codes}
    errors = [one for one in errors if one[1] not in told]
    names, asked = list(body.get("examples", {})), operation.get("security", [])
    token = "Needs a token, but not of this service as it is now." if {} in asked else "Needs a token." if asked else ""
    return Shown(
        operation["operationId"], method.upper(), path, operation["summary"], operation.get("description", ""), token,
        params, _name(body.get("schema", {})), names, answers, list(groups), errors,
        _typed(method, path, operation, names, base, bool(asked) and {} not in asked),
    )  # fmt: skip


def shared_refusals() -> dict[str, tuple[str, ...]]:
    """Codes that many operations refuse with, by what makes them: the caller, the body, or a fault of ours."""
    return {**written().groups, "any": ("fault-of-ours",)}


def _said(param: Json) -> str:
    about, example = str(param["description"]), param.get("example")
    return f"{about} Example: {example}." if example else about


def _typed(method: str, path: str, operation: Json, names: list[str], base: str, token: bool) -> str:
    """One line for a terminal. An argument without an example stays in its braces."""
    for param in operation.get("parameters", []):
        value = param.get("example") or next(iter(param["schema"].get("enum", [])), None)
        if value and param["in"] == "path":
            path = path.replace(f"{{{param['name']}}}", str(value))
    if method == "post" and names:
        at = path.replace("{service_id}", "magnesium-patient-view")
        line = curl(names[0], at, base)
        return line.replace("--data-binary", f"{_HEADER[1:]} --data-binary") if token else line
    return f"curl -s{_HEADER if token else ''} {base}{path}"


def _name(schema: Json) -> str:
    return str(schema.get("$ref", "")).removeprefix(REF)


def schemas(document: Json) -> list[tuple[str, str, list[Member]]]:
    """Name, words and members of each schema."""
    found = []
    for name, schema in document["components"]["schemas"].items():
        rows = list(members(schema))
        about = schema.get("description", schema.get("title", ""))
        if "enum" in schema:
            about = f"{about} One of: {', '.join(map(str, schema['enum']))}."
        if rows or about:
            found.append((name, about, rows))
    return found


def members(schema: Json, before: str = "", depth: int = 0) -> Iterator[Member]:
    """The members of an object, and of the objects that are written within it: `context.userId`, `cards[].uuid`."""
    needed = schema.get("required", [])
    for name, value in schema.get("properties", {}).items():
        kind, ref = _type(value)
        yield Member(f"{before}{name}", kind, ref, name in needed, str(value.get("description", "")))
        if depth < _DEEPEST:
            inside, mark = (value["items"], "[]") if isinstance(value.get("items"), dict) else (value, "")
            yield from members(inside, f"{before}{name}{mark}.", depth + 1)


def _type(schema: Json) -> tuple[str, str]:
    """A type in words, and the schema that it names."""
    if "$ref" in schema:
        return _name(schema), _name(schema)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [_type(item) for item in schema[several]]
            ref = next((ref for _, ref in kinds if ref), "")
            return " or ".join(kind for kind, _ in kinds), ref
    if "const" in schema:
        return f"always {schema['const']}", ""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}", ""
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array" and isinstance(schema.get("items"), dict):
        inside, ref = _type(schema["items"])
        return f"array of {inside}", ref
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind), ""
