"""FHIR R4 search over resources in memory: as much of it as CDS clients use.

A parameter that is not known here is ignored, as FHIR servers do by default. A modifier that is not supported
and a value that cannot be read are errors: ignoring those would return more than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from .expand import Resource

Pairs = list[tuple[str, str]]
_Match = Callable[[Resource, str], bool]
PAGE = 50
MAX_PAGE = 500
OFFSET = "_offset"
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d)?)?)?)?")


class SearchError(Exception):
    """A search that must not be answered: what is wrong with it, in one sentence."""


def _codings(value: Any) -> Iterable[tuple[str, str]]:
    """(system, code) of every coding in a CodeableConcept, a list of them, or a plain code."""
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, list):
        for one in value:
            yield from _codings(one)
    elif isinstance(value, dict):
        for coding in value.get("coding", ()):
            yield coding.get("system", ""), coding.get("code", "")


def _token(field: str) -> _Match:
    """Matches one token: code, system|code, |code or system|. A plain element has no system to compare."""

    def match(resource: Resource, wanted: str) -> bool:
        system, bar, code = wanted.rpartition("|")
        any_system = not bar or isinstance(resource.get(field), str)
        found = _codings(resource.get(field))
        return any((any_system or system == one) and code in ("", found_code) for one, found_code in found)

    return match


def _reference(field: str, kind: str) -> _Match:
    """Matches id, Type/id, or an absolute URL that ends so."""

    def match(resource: Resource, wanted: str) -> bool:
        named = wanted if "/" in wanted else f"{kind}/{wanted}"
        reference = resource.get(field, {}).get("reference", "")
        return bool(reference) and (named == reference or named.endswith(f"/{reference}"))

    return match


def _date(field: str) -> _Match:
    """Matches a date or time, with the prefixes eq, ge, gt, le and lt, to the precision asked for."""

    def match(resource: Resource, wanted: str) -> bool:
        prefix, value = (wanted[:2], wanted[2:]) if wanted[:2].isalpha() else ("eq", wanted)
        if prefix not in ("eq", "ge", "gt", "le", "lt"):
            raise SearchError(f"The date prefix {prefix!r} is not supported.")
        if not _DATE.fullmatch(value):
            raise SearchError("A date is not readable.")
        if field not in resource:
            return False
        found = resource[field]
        if len(value) > 10 and len(found) > 10:
            left, right = _instant(found), _instant(value)
            order = (left > right) - (left < right)
        else:
            start, value = found[: min(len(value), 10)], value[:10]
            order = (start > value) - (start < value)
        wanted_orders = {"eq": (0,), "ge": (0, 1), "gt": (1,), "le": (-1, 0), "lt": (-1,)}
        return order in wanted_orders[prefix]

    return match


def _instant(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as fault:
        raise SearchError("A date is not readable.") from fault
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _same(field: str) -> _Match:
    return lambda resource, wanted: bool(resource.get(field) == wanted)


_ID = {"_id": _same("id")}
_OF_A_PATIENT = _ID | {name: _reference("subject", "Patient") for name in ("patient", "subject")}

PARAMETERS: dict[str, dict[str, _Match]] = {
    "Patient": _ID,
    "Practitioner": _ID,
    "Condition": _OF_A_PATIENT
    | {
        "code": _token("code"),
        "category": _token("category"),
        "clinical-status": _token("clinicalStatus"),
        "verification-status": _token("verificationStatus"),
    },
    "MedicationRequest": _OF_A_PATIENT
    | {
        "code": _token("medicationCodeableConcept"),
        "status": _token("status"),
        "intent": _token("intent"),
        "authoredon": _date("authoredOn"),
    },
    "MedicationStatement": _OF_A_PATIENT | {"code": _token("medicationCodeableConcept"), "status": _token("status")},
    "MedicationAdministration": _OF_A_PATIENT
    | {"code": _token("medicationCodeableConcept"), "status": _token("status")},
    "Observation": _OF_A_PATIENT
    | {
        "code": _token("code"),
        "category": _token("category"),
        "status": _token("status"),
        "date": _date("effectiveDateTime"),
    },
    "QuestionnaireResponse": _OF_A_PATIENT
    | {"status": _token("status"), "questionnaire": _same("questionnaire"), "authored": _date("authored")},
}

_SORT = {"_id": "id", "date": "effectiveDateTime", "authoredon": "authoredOn", "authored": "authored"}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search: the matching resources on it, how many match in all, and the links to give."""

    resources: list[Resource]
    total: int
    self_query: str
    next_query: str | None


def _whole(value: str, name: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise SearchError(f"The parameter {name} must be a whole number, zero or more.")
    return int(value)


def _sorted(found: list[Resource], keys: str) -> list[Resource]:
    """`found` in the order of _sort, last key first, as sorting is stable. Unknown keys are ignored."""
    for key in reversed(keys.split(",")):
        if field := _SORT.get(key.removeprefix("-"), ""):
            found = sorted(found, key=lambda item: str(item.get(field, "")), reverse=key.startswith("-"))
    return found


def search(resources: Iterable[Resource], kind: str, parameters: Pairs) -> Page:
    """The page of `kind` that `parameters` (name, value) ask for.

    Repeated parameters are ANDed, commas inside one are ORed. SearchError; KeyError for an unknown `kind`.
    """
    known = PARAMETERS[kind]
    found = [r for r in resources if r["resourceType"] == kind]
    used: Pairs = []
    count, offset, sort = PAGE, 0, None
    for name, value in parameters:
        base, colon, _ = name.partition(":")
        if colon and base in known:
            raise SearchError(f"The parameter {base} is not supported with a modifier.")
        if not value:
            continue
        if name == "_count":
            count = min(_whole(value, name), MAX_PAGE)
        elif name == OFFSET:
            offset = _whole(value, name)
            continue
        elif name == "_sort":
            sort = value
        elif name in known:
            found = [r for r in found if any(known[name](r, one) for one in value.split(","))]
        else:
            continue
        used.append((name, value))
    if sort:
        found = _sorted(found, sort)
    page = found[offset : offset + count]
    more = count > 0 and offset + count < len(found)
    here = [(OFFSET, str(offset))] if offset else []
    after = urlencode([*used, (OFFSET, str(offset + count))]) if more else None
    return Page(page, len(found), urlencode([*used, *here]), after)


def prefetch(resources: list[Resource], templates: Mapping[str, str], context: Mapping[str, str]) -> Resource:
    """What an EHR that holds `resources` would send for these templates: key -> resource or searchset.

    Fills {{context.<field>}} only. A type not kept here, or a resource that is not there, gives no key.
    """
    answers: Resource = {}
    for key, template in templates.items():
        for field, value in context.items():
            template = template.replace("{{context." + field + "}}", value)
        path, question, query = template.partition("?")
        if question and path in PARAMETERS:
            pairs = [(n, v) for n, _, v in (part.partition("=") for part in query.split("&"))]
            answers[key] = searchset(search(resources, path, pairs), path, "")
        elif found := find(resources, *path.split("/", 1)) if "/" in path else None:
            answers[key] = found
    return answers


def find(resources: Iterable[Resource], kind: str, identifier: str) -> Resource | None:
    """The resource of this type and id, or None."""
    return next((r for r in resources if r["resourceType"] == kind and r["id"] == identifier), None)


def searchset(page: Page, kind: str, base: str) -> Resource:
    """A page as a searchset Bundle. `base` is the server's address; without it: no links and no fullUrl."""
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": page.total}
    if base:
        links = [("self", page.self_query)] + ([("next", page.next_query)] if page.next_query else [])
        bundle["link"] = [
            {"relation": relation, "url": f"{base}/{kind}" + (f"?{query}" if query else "")}
            for relation, query in links
        ]
    if page.resources:
        bundle["entry"] = [
            ({"fullUrl": f"{base}/{kind}/{r['id']}"} if base else {}) | {"resource": r, "search": {"mode": "match"}}
            for r in page.resources
        ]
    return bundle
