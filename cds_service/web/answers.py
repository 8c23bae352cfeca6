"""How lists and pages of content are answered for machines, and which forms a page has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from flask import Response, url_for

from cds_service.hooks.errors import FHIR_JSON
from cds_service.hooks.problems import Problem
from cds_service.publish.csv_text import csv_text

MAX_QUERY = 100
# How the other forms of a page are called, and of which type they are.
FORMS = {
    "json": ("JSON", "application/json"),
    "csv": ("CSV", "text/csv"),
    "atom": ("Atom, to follow", "application/atom+xml"),
    "definition": ("FHIR PlanDefinition", FHIR_JSON),
}
T = TypeVar("T")


def forms(*endpoints: str, **values: Any) -> list[tuple[str, str, str]]:
    """The same page in other forms, of what the address names and what was asked: address, name, type."""
    return [(url_for(name, **values), *FORMS[name.rpartition("_")[2]]) for name in endpoints]


def known(listed: Mapping[str, T], name: str, kind: str) -> T:
    """The one of this name. Raises Problem 404."""
    if name not in listed:
        raise Problem.of(404, f"There is no {kind} with this id.", error="no-such-entry")
    return listed[name]


def json_answer(body: dict[str, Any], kind: str = "application/json") -> Response:
    return Response(orjson.dumps(body), content_type=kind)


def csv_answer(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Response:
    """A table as a file of this name."""
    text = csv_text(columns, ([row.get(column) for column in columns] for row in rows))
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text, content_type="text/csv; charset=utf-8", headers=headers)
