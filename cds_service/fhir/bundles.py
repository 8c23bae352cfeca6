"""One input (a prefetch value, a fetched answer, the drafts) read into typed items, with what is known about its state.

Nothing is dropped silently: an entry becomes an item, or it is counted in `unreadable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, get_args

import orjson
from msgspec import Raw, Struct
from msgspec.json import Decoder

from cds_service.fhir import elements
from cds_service.fhir.dates import read_moment
from cds_service.fhir.identity import UNREADABLE, IdentityMismatch, is_about, is_id, split_reference
from cds_service.fhir.numbers import whole
from cds_service.fhir.repairs import check_shape, mend
from cds_service.patient import Availability, KeyState, Source

MAX_ENTRIES = 5000

AnyResource = (
    elements.Bundle
    | elements.OperationOutcome
    | elements.Patient
    | elements.Observation
    | elements.Condition
    | elements.MedicationRequest
    | elements.MedicationStatement
    | elements.MedicationView
    | elements.Encounter
    | elements.QuestionnaireResponse
    | elements.ServiceRequest
    | elements.Specimen
)
read_resource = Decoder(AnyResource).decode
_TYPES: dict[type, str] = {each: str(each.__struct_config__.tag) for each in get_args(AnyResource)}
_VIEWS: dict[str, type[elements.Resource]] = {name: each for each, name in _TYPES.items()}
# What is asked for by its id comes as it is; all else is the result of a search, and belongs in a Bundle.
_READ_BY_ID = frozenset({"Patient", "Encounter"})


class Unseen(Struct, gc=False):
    """A resource of a type that makes no facts; only its patient matters."""

    resourceType: str | None = None
    id: str | None = None
    subject: elements.Reference | None = None
    patient: elements.Reference | None = None
    contained: list[Raw] | None = None


@dataclass(slots=True)
class Item:
    """One resource of an input: its typed view (mended where it had to be) and its bytes as they came."""

    key: str
    kind: str
    id: str
    view: elements.Resource
    raw: bytes | Raw
    draft: bool = False

    @property
    def source(self) -> Source:
        """What facts made of it name as their source."""
        return Source(self.kind, self.id)


@dataclass(slots=True)
class Input:
    """Everything that one key gave. `entries` counts all entries, `matches` those that the search itself found."""

    key: str
    state: KeyState
    reason: str = ""
    unreadable: int = 0
    newest_first: bool = False
    items: list[Item] = field(default_factory=list)
    next_url: str | None = None
    expected: int | None = None
    pages: int = 0
    entries: int = 0
    matches: int = 0

    def availability(self, unreadable: int) -> Availability:
        """The Availability, with `unreadable` more resources that could not become facts."""
        return Availability(self.state, self.reason, self.unreadable + unreadable, self.newest_first)


def failed(key: str, reason: str) -> Input:
    """An input that could not be had at all."""
    return Input(key, "failed", reason)


class Reader:
    """Reads all inputs of one request. `repairs` counts what was mended."""

    def __init__(self, patient_id: str) -> None:
        self.patient_id = patient_id
        self.repairs: Counter[str] = Counter()
        self.full_urls: dict[str, str] = {}
        self.medications: dict[str, elements.MedicationView] = {}
        self.conditions: dict[str, elements.Concept | None] = {}
        self.specimens: dict[str, elements.Specimen] = {}
        self.drafted_codes: set[tuple[str, str]] = set()
        self._own_reference = f"Patient/{patient_id}"
        # Identity is proved after everything was decoded: a `urn:` may be explained by a later entry.
        self._subjects: list[tuple[str, str, list[Raw] | None]] = []

    def read(self, key: str, wanted: str, raw: bytes | Raw, where: str, *, draft: bool = False) -> Input:
        """One value. `wanted` is the resource type of the key ("" for drafts: any). Raises UnsupportedFhirVersion."""
        if len(memoryview(raw)) < 16 and bytes(raw).strip() == b"null":
            return Input(key, "empty")
        view = self._decode(raw, where)
        if view is None:
            return failed(key, "unreadable")
        if isinstance(view, elements.OperationOutcome):
            return failed(key, "the EHR reported an error")
        result = Input(key, "given")
        if isinstance(view, elements.Bundle):
            self._bundle(result, view, wanted, where, draft)
        elif isinstance(view, elements.Resource) and _TYPES[type(view)] == wanted:
            if wanted not in _READ_BY_ID:
                self.repairs["resource_without_bundle"] += 1
            self._add(result, view, raw, None, where, draft)
        else:
            return failed(key, "unreadable")
        return result

    def more(self, result: Input, raw: bytes, wanted: str, where: str) -> bool:
        """A further page of a searchset. False if it is not one."""
        view = self._decode(raw, where)
        if not isinstance(view, elements.Bundle):
            return False
        result.next_url = None
        self._bundle(result, view, wanted, where, False)
        return True

    def prove_identity(self) -> None:
        """Raises IdentityMismatch unless every resource seen is about the patient."""
        for where, reference, contained in self._subjects:
            if not is_about(reference, self.patient_id, self.full_urls, contained):
                raise IdentityMismatch(where)
        self._subjects.clear()

    def _bundle(self, result: Input, bundle: elements.Bundle, wanted: str, where: str, draft: bool) -> None:
        if not bundle.type:
            self.repairs["bundle_without_type"] += 1
        result.pages += 1
        entries = bundle.entry if isinstance(bundle.entry, list) else []
        room = MAX_ENTRIES - result.entries
        if len(entries) > room:
            result.state, result.reason = "incomplete", "too many entries"
            entries = entries[:room]
        result.entries += len(entries)
        expected, own, key, keep = _VIEWS.get(wanted), self._own_reference, result.key, result.items.append
        for number, entry in enumerate(entries):
            raw = entry.resource
            try:
                view = read_resource(raw)
            except UNREADABLE:
                self._entry(result, entry, wanted, f"{where}.entry[{number}]", draft)
                continue
            # Nearly every entry is what was asked for and says so plainly; the rest is looked at closely.
            name, subject, search, url = view.id, view.subject, entry.search, entry.fullUrl
            if (
                type(view) is expected
                and subject is not None
                and subject.reference == own
                and name is not None
                and is_id(name)
                and (search is None or search.mode == "match")
                and (url is None or url[:4] == "http")
            ):
                result.matches += 1
                keep(Item(key, wanted, name, view, raw, draft))
            else:
                self._entry(result, entry, wanted, f"{where}.entry[{number}]", draft)
        total = whole(bundle.total)
        if total is not None:
            result.expected = max(total, result.expected or 0)
        result.next_url = next((k.url for k in bundle.link or () if k.relation == "next" and k.url), None)

    def _entry(self, result: Input, entry: elements.Entry, wanted: str, where: str, draft: bool) -> None:
        view = self._decode(entry.resource, where)
        if view is None:
            result.unreadable += 1
            result.matches += 1
            return
        if isinstance(view, elements.OperationOutcome):
            self.repairs["outcome_in_searchset"] += 1
            if any(issue.severity in ("error", "fatal") for issue in view.issue or ()):
                result.state, result.reason = "incomplete", "the EHR reported an error in its answer"
            return
        if isinstance(view, elements.Resource):
            if _TYPES[type(view)] == wanted and not (entry.search and entry.search.mode == "include"):
                result.matches += 1
            self._add(result, view, entry.resource, entry.fullUrl, where, draft, wanted)

    def _decode(self, raw: bytes | Raw, where: str) -> elements.Resource | Unseen | None:
        try:
            view: elements.Resource = read_resource(raw)
        except UNREADABLE:
            return self._second_attempt(raw, where)
        self._subject(view.subject, view.contained, where)
        return view

    def _second_attempt(self, raw: bytes | Raw, where: str) -> elements.Resource | Unseen | None:
        resource = _as_dict(raw)
        if resource is None:
            return None
        check_shape(resource, where)
        for name in ("subject", "patient"):
            self._loose_subject(resource.get(name), where)
        mended, names = mend(resource)
        again = orjson.dumps(mended)
        try:
            view: elements.Resource | Unseen = read_resource(again)
        except UNREADABLE:
            if resource.get("resourceType") in _TYPES.values():
                return None
            try:
                view = _read_unseen(again)
            except UNREADABLE:
                return None
            if not view.resourceType:
                return None
        else:
            self.repairs.update(names)
        for reference in (view.subject, view.patient):
            self._subject(reference, view.contained, where)
        return view

    def _subject(self, reference: elements.Reference | None, contained: list[Raw] | None, where: str) -> None:
        if reference is not None and reference.reference and reference.reference != self._own_reference:
            self._subjects.append((where, reference.reference, contained))

    def _loose_subject(self, value: Any, where: str) -> None:
        """The patient of a resource that does not fit its type: whatever looks like a reference is one."""
        for each in value if isinstance(value, list) else [value]:
            reference = each.get("reference") if isinstance(each, dict) else each
            if isinstance(reference, str) and reference and not reference.startswith("#"):
                self._subjects.append((where, reference, None))

    def _add(
        self,
        result: Input,
        view: elements.Resource,
        raw: bytes | Raw,
        full_url: str | None,
        where: str,
        draft: bool,
        wanted: str = "",
    ) -> None:
        kind = _TYPES[type(view)]
        name = view.id or _id_from(full_url)
        if kind == "Patient":
            if name != self.patient_id:
                raise IdentityMismatch(where)
            if full_url:
                self.full_urls[full_url] = name
        if isinstance(view, elements.MedicationView):
            self.medications[f"Medication/{name}"] = view
            self.medications[full_url or ""] = view
        elif isinstance(view, elements.Specimen):
            self.specimens |= {f"Specimen/{name}": view, full_url or "": view}
            return
        elif isinstance(view, elements.Condition) and full_url:
            self.conditions[full_url] = view.code
        if draft and isinstance(view, elements.ServiceRequest):
            self._drafted(view)
        if wanted and kind != wanted:
            return
        if name is None or not is_id(name):
            result.unreadable += 1
            return
        result.items.append(Item(result.key, kind, name, view, raw, draft))

    def _drafted(self, view: elements.ServiceRequest) -> None:
        """The codes of a drafted test: R4 a CodeableConcept, R5 one inside a CodeableReference."""
        for concept in (view.code, view.code.concept if view.code else None):
            for coding in (concept.coding or ()) if concept else ():
                if coding.system and coding.code:
                    self.drafted_codes.add((coding.system, coding.code))


_read_unseen = Decoder(Unseen).decode


def settle(result: Input, wanted: str, asked: int | None) -> None:
    """Decides the state of an input after its last page. `newest_first` is only asked of results.

    `asked`: the most entries that were asked for. A server need neither count what it finds nor link to the next page:
    if it does neither and gives just as many, there may be more.
    """
    seen = result.matches
    if result.state == "given":
        if result.next_url is not None:
            result.state, result.reason = "incomplete", "there are more pages"
        elif result.expected is not None and result.expected > seen:
            result.state, result.reason = "incomplete", "fewer entries than announced"
        elif result.expected is None and result.pages == 1 and seen == asked:
            result.state, result.reason = "incomplete", "as many entries as asked for and no total"
        elif not result.items and not result.unreadable:
            result.state = "empty"
    if result.state == "incomplete" and wanted == "Observation":
        result.newest_first = _descending(result.items) and result.unreadable == 0


def when_taken(view: elements.Observation) -> str | None:
    """The clinically relevant time of an observation as text."""
    period = view.effectivePeriod
    return view.effectiveDateTime or view.effectiveInstant or (period and (period.end or period.start)) or view.issued


def _descending(items: list[Item]) -> bool:
    times = list(_times(items))
    return (
        bool(times)
        and None not in times
        and all(a is not None and b is not None and a >= b for a, b in pairwise(times))
    )


def _times(items: list[Item]) -> Iterator[datetime | None]:
    for item in items:
        if isinstance(item.view, elements.Observation):
            moment = read_moment(when_taken(item.view))
            yield moment.at if moment else None


def _as_dict(raw: bytes | Raw) -> dict[str, Any] | None:
    try:
        resource = orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError:
        return None
    return resource if isinstance(resource, dict) else None


def _id_from(full_url: str | None) -> str | None:
    if not full_url:
        return None
    if full_url.startswith("urn:uuid:"):
        return full_url[9:]
    parts = split_reference(full_url)
    return parts[1] if parts else None
