"""A file of patients as a cohort: FHIR Bundles, Bulk Data NDJSON or hook requests, plain or gzip.

Nothing of it is written anywhere. Lines are read by the same code as in `magnesium-cds screen`: what cannot be read is
named by file and line, never by its words, and takes nothing else with it; kinds that no rule reads are counted.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from msgspec import Raw
from msgspec.json import Decoder

from cds_service.advice.one_bundle import NotOnePatient, has_drafts, hook_request, is_hook_request
from cds_service.fhir.at_hand import MEDICATION, PATIENT
from cds_service.fhir.identity import UNREADABLE
from cds_service.fhir.opened import BUNDLE
from cds_service.fhir.strict_json import NotStrict, check
from cds_service.population.cases import CallCase, Case, Cohort, NotRead, Request, Side
from cds_service.population.screening.lines import MARK, Line, Lines, closed, has_resources, is_json

MOST_BYTES: Final = 32 * 1024 * 1024  # unpacked, all files together
MOST_PATIENTS: Final = 2000
MOST_NAMED: Final = 50  # places of faults that are named one by one
GZIP: Final = b"\x1f\x8b"
HOOKS: Final = ("patient-view", "order-select", "order-sign")
Resource = dict[str, Any]
_list = Decoder(list[Raw]).decode


class TooLarge(ValueError):
    """More than is tried in one go; the text says how much that is."""


@dataclass
class _Gathered:
    """What the files hold, by patient. `faults`: places that were not read, and why."""

    most_patients: int
    patients: dict[str, list[tuple[Resource, str]]] = field(default_factory=lambda: defaultdict(list))
    medications: dict[str, list[Resource]] = field(default_factory=lambda: defaultdict(list))
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

    def file(self, name: str, text: bytes) -> None:
        """All of one file. Raises TooLarge."""
        if not text.removeprefix(MARK).strip():
            self.fault(name, "is empty")
            return
        word, units = _units(text)
        lines = Lines()

        def place(number: int) -> str:
            return f"{name}, {word} {number}" if word else name

        for line in lines.read(self._no_calls(units, place)):
            self._take(place(line.number), line)
            self._check_size()
        for number, why in sorted(lines.faults):
            self.fault(place(number), why)
        self.passed_over += lines.passed_over

    def _no_calls(self, units: list[bytes], place: Callable[[int], str]) -> Iterator[bytes]:
        """The same, with nothing in the place of each hook request, which is kept."""
        for number, raw in enumerate(units, 1):
            call = _call(raw)
            if call is not None:
                self._take_call(place(number), call)
            yield raw if call is None else b""

    def _take(self, place: str, line: Line) -> None:
        resource = json.loads(line.raw)
        if line.kind == BUNDLE:
            self.whole.append((place, resource))
        elif line.kind == MEDICATION:
            self.medications[line.medication].append(resource)
        else:
            if line.kind == PATIENT:
                self.places.setdefault(line.patient, place)
            self.patients[line.patient].append((resource, line.medication))

    def _take_call(self, place: str, call: Resource) -> None:
        context = call["context"]
        if call["hook"] not in HOOKS or not isinstance(context, dict) or "patientId" not in context:
            self.fault(place, "is a hook request of a hook that we do not answer, or names no patient")
        elif not isinstance(call.get("prefetch"), dict):
            self.fault(place, "is a hook request without prefetch: nothing is read from a server here")
        else:
            self.calls.append((place, call))
            self._check_size()

    def _check_size(self) -> None:
        if len(self.patients) + len(self.whole) + len(self.calls) > self.most_patients:
            raise TooLarge(f"The files hold more than {self.most_patients} patients. Try fewer at a time.")


def read_upload(
    files: Iterable[tuple[str, bytes]], *, most_bytes: int = MOST_BYTES, most_patients: int = MOST_PATIENTS
) -> Cohort:
    """The cohort of some files, each with its name. Raises TooLarge.

    A file is one Bundle or hook request, a list of them, or lines of resources, Bundles or hook requests. Resources are
    brought together by the patient that they name, whichever file they stand in. A patient with draft orders is tried
    on order-sign too.
    """
    found, left = _Gathered(most_patients), most_bytes
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
        found.file(name, text)
    return Cohort(
        "uploaded file",
        partial(_cases, found),
        remarks=_remarks(found),
        passed_over=dict(sorted(found.passed_over.items())),
    )


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


def _units(text: bytes) -> tuple[str, list[bytes]]:
    """What a file is made of, and how one of it is called: "item" of a list, "line", or "" where it is one document."""
    lines = text.splitlines()
    full = [line for line in lines if line.strip()] + [b"", b""]
    if len(full) > 3 or not closed(full[0], full[1]):
        try:
            return "item", [bytes(each) for each in _list(text.removeprefix(MARK))]
        except UNREADABLE:
            if is_json(text) or not (closed(full[0], full[1]) or has_resources(text)):
                return "", [text]
    return "line", lines


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


def _call(raw: bytes) -> Resource | None:
    """The hook request that stands there, None for anything else."""
    if b'"hook"' not in raw:
        return None
    try:
        raw = raw.removeprefix(MARK)
        check(raw)
        document = json.loads(raw)
    except (NotStrict, ValueError, RecursionError):
        return None
    return document if is_hook_request(document) else None


def _cases(found: _Gathered) -> Iterator[Case]:
    people: list[tuple[str, Resource]] = [*found.whole]
    for name, resources in found.patients.items():
        if name in found.places:
            named = sorted({medication for _, medication in resources})
            shared = [one for each in named for one in found.medications.get(each, ())]
            entries = [{"resource": each} for each in (*(each for each, _ in resources), *shared)]
            people.append((found.places[name], {"resourceType": "Bundle", "type": "collection", "entry": entries}))
    for number, (place, bundle) in enumerate(people, 1):
        called = f"patient {number} ({place})"
        for hook in ("patient-view", "order-sign") if has_drafts(bundle) else ("patient-view",):
            yield CallCase(called, called, hook, partial(_of_bundle, bundle, hook))
    for number, (place, call) in enumerate(found.calls, len(people) + 1):
        called, encounter = f"patient {number} ({place})", call["context"].get("encounterId") is not None
        yield CallCase(called, called, call["hook"], partial(_as_sent, call), encounter)


def _of_bundle(bundle: Resource, hook: str, side: Side) -> Request:
    try:
        return hook_request(bundle, hook, side.needs(hook).values(), side.vocabulary)
    except NotOnePatient as fault:
        raise NotRead(str(fault)) from None


def _as_sent(call: Resource, _: Side) -> Request:
    return call
