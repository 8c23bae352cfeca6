"""A file of patients as a cohort: FHIR Bundles, Bulk Data NDJSON or hook requests, plain or gzip.

Nothing of it is written anywhere. What cannot be read is named by file and line, never by its words, and takes nothing
else with it.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import orjson

from cds_service.advice.one_bundle import NotOnePatient, has_drafts, hook_request, is_hook_request
from cds_service.fhir.marks import kinds_in
from cds_service.fhir.strict_json import NotStrict, check
from cds_service.population.cases import CallCase, Case, Cohort, NotRead, Request, Side

MOST_BYTES: Final = 32 * 1024 * 1024  # unpacked, all files together
MOST_PATIENTS: Final = 2000
MOST_NAMED: Final = 50  # places of faults that are named one by one
GZIP: Final = b"\x1f\x8b"
OF_A_PATIENT: Final = frozenset({
    "Condition", "Encounter", "MedicationAdministration", "MedicationRequest", "MedicationStatement", "Observation",
    "QuestionnaireResponse", "ServiceRequest", "Specimen",
})  # fmt: skip
SEARCHED: Final = OF_A_PATIENT - {"ServiceRequest", "Specimen"}  # what a search of the prefetch may find
HOOKS: Final = ("patient-view", "order-select", "order-sign")
Resource = dict[str, Any]


class TooLarge(ValueError):
    """More than is tried in one go; the text says how much that is."""


@dataclass
class _Gathered:
    """What the files hold, by patient. `faults`: places that were not read, and why."""

    patients: dict[str, list[Resource]] = field(default_factory=lambda: defaultdict(list))
    medications: dict[str, Resource] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    whole: list[tuple[str, Resource]] = field(default_factory=list)
    calls: list[tuple[str, Resource]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    def fault(self, place: str, why: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MOST_NAMED:
            self.faults.append(f"{place}: {why}")

    def size(self) -> int:
        return len(self.patients) + len(self.whole) + len(self.calls)


def read_upload(
    files: Iterable[tuple[str, bytes]], *, most_bytes: int = MOST_BYTES, most_patients: int = MOST_PATIENTS
) -> Cohort:
    """The cohort of some files, each with its name. Raises TooLarge.

    A file is one Bundle or hook request, a list of them, or lines of resources, Bundles or hook requests. Resources are
    brought together by the patient that they name, whichever file they stand in. A patient with draft orders is tried
    on order-sign too.
    """
    found, left = _Gathered(), most_bytes
    for name, raw in files:
        try:
            text = _unpacked(raw, left) if raw.startswith(GZIP) else raw
        except zlib.error:
            found.fault(name, "begins like gzip and cannot be unpacked")
            continue
        if len(text) > left:
            size = f"{most_bytes / 1024 / 1024:g} MB" if most_bytes >= 1024 * 1024 else f"{most_bytes} bytes"
            raise TooLarge(f"The files hold more than {size} when unpacked. Try fewer patients at a time.")
        left -= len(text)
        for place, document in _documents(name, text, found):
            _take(found, place, document)
            if found.size() > most_patients:
                raise TooLarge(f"The files hold more than {most_patients} patients. Try fewer at a time.")
    return Cohort("uploaded file", partial(_cases, found), remarks=_remarks(found))


def _unpacked(raw: bytes, most: int) -> bytes:
    """No more than a little above `most`, however much a small file would unfold to."""
    made = bytearray()
    while raw.startswith(GZIP) and len(made) <= most:
        unpacker = zlib.decompressobj(wbits=31)
        made += unpacker.decompress(raw, most + 1 - len(made))
        if not unpacker.eof:
            if len(made) <= most:
                raise zlib.error("broken off")
            break
        raw = unpacker.unused_data
    return bytes(made)


def _documents(name: str, text: bytes, found: _Gathered) -> Iterator[tuple[str, Any]]:
    """The JSON documents of a file with their places: the file is one, or each of its lines is one."""
    text = text.removeprefix(b"\xef\xbb\xbf")
    lines = text.splitlines()
    first = next((line.strip() for line in lines if line.strip()), b"")
    if not first:
        found.fault(name, "is empty")
    elif not _closed(first):
        document = _document(name, text, found)
        if document is not None:
            yield from _parts(name, document)
    else:
        for number, line in enumerate(lines, 1):
            if line.strip() and (document := _document(f"{name}, line {number}", line, found)) is not None:
                yield from _parts(f"{name}, line {number}", document)


def _closed(line: bytes) -> bool:
    """Whether the first line is a document of its own. One of NDJSON that is broken ends as one all the same."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(b"{") and len(line) > 1 and not line.endswith((b",", b"[", b"{", b":"))
    return True


def _document(place: str, raw: bytes, found: _Gathered) -> Any:
    try:
        check(raw)
        return json.loads(raw)
    except NotStrict as fault:
        found.fault(place, fault.text)
    except (ValueError, RecursionError):
        found.fault(place, "is not JSON")
    return None


def _parts(place: str, document: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(document, list):
        yield from ((f"{place}, item {number}", each) for number, each in enumerate(document, 1))
    else:
        yield place, document


def _take(found: _Gathered, place: str, document: Any) -> None:
    if not isinstance(document, dict):
        found.fault(place, "is no JSON object")
    elif is_hook_request(document):
        context = document["context"]
        if document["hook"] not in HOOKS or not isinstance(context, dict) or "patientId" not in context:
            found.fault(place, "is a hook request of a hook that we do not answer, or names no patient")
        elif not isinstance(document.get("prefetch"), dict):
            found.fault(place, "is a hook request without prefetch: nothing is read from a server here")
        else:
            found.calls.append((place, document))
    elif document.get("resourceType") == "Bundle":
        _bundle(found, place, document)
    elif isinstance(document.get("resourceType"), str):
        _resource(found, place, document)
    else:
        found.fault(place, "is neither a FHIR resource nor a hook request")


def _bundle(found: _Gathered, place: str, bundle: Resource) -> None:
    """One of one patient stays whole, so that references by fullUrl hold; one of several is taken apart."""
    listed = bundle.get("entry")
    entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    resources = [each["resource"] for each in entries if isinstance(each.get("resource"), dict)]
    people = [each for each in resources if each.get("resourceType") == "Patient"]
    if len(people) == 1:
        found.whole.append((place, bundle))
    elif not people:
        found.fault(place, "is a Bundle without a Patient")
    else:
        for number, each in enumerate(resources, 1):
            _resource(found, f"{place}, entry {number}", each)


def _resource(found: _Gathered, place: str, resource: Resource) -> None:
    kind = resource.get("resourceType")
    if kind == "Patient":
        name = resource.get("id")
        if not isinstance(name, str) or not name:
            found.fault(place, "is a Patient without an id")
            return
        found.places.setdefault(name, place)
    elif kind == "Medication":
        found.medications[f"Medication/{resource.get('id')}"] = resource
        return
    elif kind in OF_A_PATIENT or not SEARCHED.isdisjoint(_within(resource)):
        subject = resource.get("subject", resource.get("patient"))
        reference = subject.get("reference") if isinstance(subject, dict) else None
        steps = reference.split("/") if isinstance(reference, str) else []
        if len(steps) < 2 or steps[-2] != "Patient" or not steps[-1]:
            found.fault(place, "names no patient by Patient/id")
            return
        name = steps[-1]
    else:
        found.passed_over[str(kind)[:40] if str(kind).isalpha() else "unknown"] += 1
        return
    found.patients[name].append(resource)


def _within(resource: Resource) -> set[str]:
    """The kinds of what it contains."""
    contained = resource.get("contained")
    return kinds_in(orjson.dumps(contained)) if contained else set()


def _remarks(found: _Gathered) -> tuple[str, ...]:
    told = [*found.faults]
    if found.fault_count > len(found.faults):
        told.append(f"and {found.fault_count - len(found.faults)} further places that could not be read")
    strays = [len(found.patients[name]) for name in found.patients if name not in found.places]
    if strays:
        told.append(
            f"{sum(strays)} resources name {len(strays)} patients of whom no Patient resource is there: not tried"
        )
    return tuple(told)


def _cases(found: _Gathered) -> Iterator[Case]:
    people: list[tuple[str, Resource]] = [*found.whole]
    for name, resources in found.patients.items():
        if name in found.places:
            named = {reference for each in resources for reference in _medications(each)}
            shared = [found.medications[each] for each in sorted(named) if each in found.medications]
            entries = [{"resource": each} for each in (*resources, *shared)]
            people.append((found.places[name], {"resourceType": "Bundle", "type": "collection", "entry": entries}))
    for number, (place, bundle) in enumerate(people, 1):
        called = f"patient {number} ({place})"
        for hook in ("patient-view", "order-sign") if has_drafts(bundle) else ("patient-view",):
            yield CallCase(called, called, hook, partial(_of_bundle, bundle, hook))
    for number, (place, call) in enumerate(found.calls, len(people) + 1):
        called, encounter = f"patient {number} ({place})", call["context"].get("encounterId") is not None
        yield CallCase(called, called, call["hook"], partial(_as_sent, call), encounter)


def _medications(resource: Resource) -> Iterator[str]:
    named = resource.get("medicationReference")
    reference = named.get("reference") if isinstance(named, dict) else None
    if isinstance(reference, str):
        yield "/".join(reference.split("/")[-2:])


def _of_bundle(bundle: Resource, hook: str, side: Side) -> Request:
    try:
        return hook_request(bundle, hook, side.needs(hook).values(), side.vocabulary)
    except NotOnePatient as fault:
        raise NotRead(str(fault)) from None


def _as_sent(call: Resource, _: Side) -> Request:
    return call
