"""What the prefetch left out: absent keys, further pages, and Medications that are only referred to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.json import Decoder

from cds_service.fhir import elements
from cds_service.fhir.bundles import MAX_ENTRIES
from cds_service.fhir.identity import UNREADABLE, as_path, is_id, split_reference
from cds_service.fhir.inputs import next_page
from cds_service.fhir.marks import modifiers
from cds_service.fhir.server import MAX_PAGES, FetchFailed, FhirServer

_MOST_MEDICATIONS = 500  # the time for all reads mostly ends them sooner
_NAMES_A_MEDICATION = frozenset({"MedicationRequest", "MedicationStatement", "MedicationAdministration"})
_INCLUDED = re.compile(r"[?&]_include=[A-Za-z]+:medication$")
_MOST_SERVERS = 1024
# Searches, by server and type, whose `_include` was refused: they are not asked for it again.
_does_not_include: set[str] = set()
_TODAY = re.compile(r"today\(\)(?: ([+-]) ([0-9]{1,4}) days?)?", re.ASCII)
_COUNT = re.compile(r"[?&]_count=([0-9]{1,4})(?:&|$)", re.ASCII)
_SORT = re.compile(r"(?<=[?&])_sort=[^&]*&?")
_TOKEN = re.compile(r"\{\{([^{}]{1,80})\}\}")


class _Page(Struct, gc=False):
    link: list[elements.Link] | None = None
    entry: list[Raw] | None = None


_read_page = Decoder(_Page).decode
_read_medication = Decoder(elements.MedicationView).decode


@dataclass(slots=True)
class Pages:
    """The bodies of one search, in order, and why there is not more of it ("" if there is all). `unsorted`: the server
    refused to sort, and was asked again without."""

    bodies: list[bytes] = field(default_factory=list)
    stopped: str = ""
    unsorted: bool = False


def fill(template: str, ids: Mapping[str, str], now: datetime) -> str:
    """A prefetch template with its tokens filled, percent-encoded; `ids` has the values of `context.*`.

    Raises ValueError for a token that is not known. A patient is searched for by the id alone: FHIR R4 takes
    `patient=ID` as well as `patient=Patient/ID` (search.html#reference), CDS Hooks prints templates of the first form,
    and some EHRs document no other.
    """

    def value(match: re.Match[str]) -> str:
        token = match[1].strip()
        if token in ids:
            if not is_id(ids[token]):
                raise ValueError("not a FHIR id")
            return ids[token]
        today = _TODAY.fullmatch(token)
        if today is None:
            raise ValueError("token not known")
        days = int(today[2] or 0) * (-1 if today[1] == "-" else 1)
        return (now.date() + timedelta(days=days)).isoformat()

    path, mark, query = _TOKEN.sub(value, template).partition("?")
    return path + mark + quote(query, safe="=&,:/-._~%$")


def with_medications(search: str, resource_type: str) -> str:
    """The same search, asking for the Medications that its orders refer to as well (FHIR R4, search.html#include)."""
    if resource_type not in _NAMES_A_MEDICATION:
        return search
    return f"{search}{'&' if '?' in search else '?'}_include={resource_type}:medication"


def entries_asked(template: str) -> int | None:
    """The `_count` of a search."""
    found = _COUNT.search(template)
    return int(found[1]) if found else None


def read_pages(server: FhirServer, first: str) -> Pages:
    """Follows `next` links below the base, each once. The first page that fails is raised, later ones end it."""
    pages = _first_page(server, first)
    seen = {server.below_base(first)}
    entries = 0
    while True:
        try:
            page = _read_page(pages.bodies[-1])
        except UNREADABLE:
            return pages
        entries += len(page.entry or ())
        following = next_page(page.link)
        if following is None:
            return pages
        url = server.below_base(following) if following else None
        if url is None or url in seen or len(pages.bodies) >= MAX_PAGES or entries >= MAX_ENTRIES:
            pages.stopped = "too many pages" if url is not None and url not in seen else "a further page was refused"
            return pages
        seen.add(url)
        try:
            pages.bodies.append(server.get(url))
        except FetchFailed as failure:
            pages.stopped = f"a further page was {failure.reason}"
            return pages


def _first_page(server: FhirServer, first: str) -> Pages:
    """A server that will not include is asked once more without; so is one that says anything of the search."""
    plain = _INCLUDED.sub("", first)
    if plain == first:
        return _sorted_page(server, first)
    search = f"{server.base_url}/{plain.partition('?')[0]}"
    if search not in _does_not_include and server.may_include_medications():
        try:
            body = server.get(first)
        except FetchFailed as failure:
            if not (failure.not_understood or failure.reason == "not permitted"):
                raise
        else:
            if b'"OperationOutcome"' not in body:
                return Pages([body])
        if len(_does_not_include) >= _MOST_SERVERS:
            _does_not_include.clear()
        _does_not_include.add(search)
    return _sorted_page(server, plain)


def _sorted_page(server: FhirServer, first: str) -> Pages:
    try:
        return Pages([server.get(first)])
    except FetchFailed as failure:
        plain = _SORT.sub("", first).rstrip("?&")
        if not failure.not_understood or plain == first:
            raise
        return Pages([server.get(plain)], unsorted=True)


def read_all(server: FhirServer, firsts: Sequence[str]) -> list[Pages | FetchFailed]:
    """Several searches or reads at the same time, in order."""
    work: list[Callable[[], Pages]] = [partial(read_pages, server, first) for first in firsts]
    return server.at_once(work)


def read_medications(server: FhirServer, references: Sequence[str]) -> dict[str, elements.MedicationView]:
    """Medications by the reference that names them. What cannot be read is left out: the drug is then unknown."""
    wanted: dict[str, str] = {}
    for reference in references:
        parts = split_reference(reference)
        if parts is None or parts[0] != "Medication":
            continue
        below = server.below_base(reference)
        if below is not None:
            wanted[reference] = as_path(*parts)
    named = list(wanted)[:_MOST_MEDICATIONS]
    work: list[Callable[[], bytes]] = [partial(server.get, wanted[name]) for name in named]
    found: dict[str, elements.MedicationView] = {}
    for name, body in zip(named, server.at_once(work), strict=True):
        if isinstance(body, FetchFailed):
            continue
        try:
            medication = _read_medication(body)
        except UNREADABLE:
            continue
        if medication.id == wanted[name].rpartition("/")[2]:
            found[name] = elements.UNUSABLE if modifiers(body) else medication
    return found
