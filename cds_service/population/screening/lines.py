"""What stands in the files of an export: of each resource its kind and its patient, by file and line.

Nothing is dropped in silence: a line is taken, passed over by its kind, or named as a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec import Raw
from msgspec.json import Decoder

from cds_service.fhir.at_hand import MEDICATION, PATIENT, kinds_held
from cds_service.fhir.elements import Reference
from cds_service.fhir.heads import Head, head_of, is_kind, read_head
from cds_service.fhir.identity import UNREADABLE, is_id, split_reference
from cds_service.fhir.opened import BUNDLE, Opened
from cds_service.fhir.strict_json import NotStrict, check

OF_A_PATIENT: Final = frozenset({
    "Condition", "Encounter", "MedicationAdministration", "MedicationRequest", "MedicationStatement", "Observation",
    "QuestionnaireResponse", "ServiceRequest", "Specimen",
})  # fmt: skip
NO_JSON: Final = "is not JSON"
NO_RESOURCE: Final = "is no FHIR resource of a patient"
DELETES: Final = "says that resources are deleted: what other lines hold of them is read all the same"
REFUSED: Final = "says that a part of it was refused"
EMPTY: Final = "has entries that hold no resource"
MORE: Final = "says that there is more than it holds"
UNCOUNTED: Final = "has a total that cannot be read"
NO_PATIENT: Final = "names no patient by Patient/id"
STRAY: Final = "names a patient of whom no Patient resource is there"
TOO_LONG: Final = "is longer than 64 MB: write a line for each resource"
LONGEST: Final = 64 * 1024 * 1024  # bytes of one line or document: what is longer has too many parts anyway
_SEARCHED: Final = OF_A_PATIENT - {"ServiceRequest", "Specimen"}  # what a search of the prefetch may find
MARK: Final = b"\xef\xbb\xbf"
_TOGETHER: Final = 100_000  # bytes of lines that are looked at in one go


class Line(NamedTuple):
    """One resource, or a Bundle of one patient. `kind`: "unknown" where it says none of FHIR's. `medication`: the
    `Medication/id` that an order refers to; of a Medication its own."""

    number: int
    kind: str
    patient: str
    medication: str
    raw: bytes


_any = Decoder(Raw).decode
_object = Decoder(dict[str, Raw]).decode


@dataclass
class Lines:
    """Lines of one file, one after the other. `faults` are (line, why), `passed_over` counts kinds that no rule reads,
    `last` is the number of the last line seen."""

    last: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def read(self, lines: Iterable[bytes | None]) -> Iterator[Line]:
        """The resources of lines; None stands for one that is too long."""
        held: list[tuple[int, bytes]] = []
        size = 0
        for line in lines:
            self.last += 1
            if line is None:
                self.faults.append((self.last, TOO_LONG))
                continue
            raw = line.strip()
            if self.last == 1:
                raw = raw.removeprefix(MARK).strip()
            if not raw:
                continue
            held.append((self.last, raw))
            size += len(raw)
            if size > _TOGETHER:
                yield from self._held(held)
                held, size = [], 0
        yield from self._held(held)

    def document(self, raw: bytes) -> Iterator[Line]:
        """A file that is one JSON document, or a list of them; its faults stand at line 1."""
        self.last = 1
        raw = raw.removeprefix(MARK).strip()
        if not raw:
            return
        if raw.startswith(b"["):
            if self._strict([(1, raw)]):
                for each in Decoder(list[Raw]).decode(raw):
                    yield from self._taken(1, bytes(each))
        else:
            yield from self._held([(1, raw)])

    def _held(self, held: list[tuple[int, bytes]]) -> Iterator[Line]:
        """Looked at together, which is cheaper; one by one where something is wrong with one of them."""
        if not held:
            return
        try:
            check(b"[" + b",".join(raw for _, raw in held) + b"]")
        except NotStrict:
            held = self._strict(held)
        for number, raw in held:
            yield from self._taken(number, raw)

    def _strict(self, held: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        good = []
        for number, raw in held:
            try:
                check(raw)
                good.append((number, raw))
            except NotStrict as fault:
                self.faults.append((number, NO_JSON if fault.error == "not-json" else fault.text))
        return good

    def _taken(self, number: int, raw: bytes) -> Iterator[Line]:
        head = head_of(raw)
        if head is None:
            self.faults.append((number, NO_RESOURCE))
            return
        kind = head.resourceType
        if kind == BUNDLE:
            yield from self._bundle(number, raw)
        elif kind == PATIENT:
            if is_id(head.id):
                yield Line(number, kind, str(head.id), "", raw)
            else:
                self.faults.append((number, "is a Patient without an id"))
        elif kind == MEDICATION:
            if is_id(head.id):
                yield Line(number, kind, "", f"Medication/{head.id}", raw)
            else:
                self.faults.append((number, "is a Medication without an id"))
        elif kind in OF_A_PATIENT or not is_kind(kind) or not kinds_held(head, raw).isdisjoint(_SEARCHED):
            if patient := _patient(head):
                yield Line(number, _called(kind), patient, _medication(head.medicationReference), raw)
            else:
                self.faults.append((number, NO_PATIENT if is_kind(kind) else NO_RESOURCE))
        else:
            self.passed_over[_called(kind)] += 1

    def _bundle(self, number: int, raw: bytes) -> Iterator[Line]:
        """One of one patient stays whole, with what it says of itself, and so that references by fullUrl hold; one of
        several is taken apart."""
        opened = Opened()
        opened.open(raw)
        entries = [bytes(each.resource) for each in opened.entries if not each.empty and not each.deletes]
        heads = [head for each in entries if (head := head_of(each))]
        people = {each.id for each in heads if each.resourceType == PATIENT}
        named = {_named(who, PATIENT) for each in heads if each.resourceType in OF_A_PATIENT for who in each.people}
        if len(people) == 1 and named <= {"", *people} and is_id(person := next(iter(people))):
            yield Line(number, BUNDLE, str(person), "", raw)
            return
        for each in entries:
            yield from self._taken(number, each)
        self.faults += [(number, why) for why in _left_unsaid(opened)]


def _left_unsaid(opened: Opened) -> Iterator[str]:
    """What a Bundle that is not of one patient says of itself, and nobody's chart can be told."""
    if any(each.deletes for each in opened.entries):
        yield DELETES
    if any(each.refused for each in opened.entries):
        yield REFUSED
    if any(each.empty and not each.deletes and not each.refused for each in opened.entries):
        yield EMPTY
    if opened.next or opened.surplus:
        yield MORE
    if opened.uncounted:
        yield UNCOUNTED


def _called(kind: str) -> str:
    """A kind as it may be counted: never a text of the file's own."""
    return kind[:40] if is_kind(kind) else "unknown"


def _patient(head: Head) -> str:
    """The id of the patient, "" for none, or where it names two."""
    if len(head.people) != 1:
        return ""
    (reference,) = head.people
    name = reference.removeprefix("urn:uuid:")
    return _named(reference, PATIENT) or (name if name != reference and is_id(name) else "")


def _named(reference: str, kind: str) -> str:
    """The id of a reference to a resource of a kind, "" for none."""
    found = split_reference(reference)
    return found[1] if found and found[0] == kind else ""


def _medication(reference: Reference | None) -> str:
    name = _named((reference and reference.reference) or "", MEDICATION)
    return f"Medication/{name}" if name else ""


def is_json(raw: bytes) -> bool:
    """Whether all of it is one JSON value."""
    return _decodes(_any, raw.removeprefix(MARK))


def has_resources(raw: bytes) -> bool:
    """Whether one of its lines is a resource of its own."""
    return any(line.lstrip().startswith(b"{") and _decodes(read_head, line) for line in raw.splitlines())


def _decodes(decode: Callable[[bytes], object], raw: bytes) -> bool:
    try:
        decode(raw)
    except UNREADABLE:
        return False
    return True


def closed(line: bytes, following: bytes = b"") -> bool:
    """Whether the first line of a file is a document of its own, or else the one after it. One of NDJSON that is broken
    ends as one all the same; one that leaves a list or an object open is the beginning of a longer document."""
    line = line.removeprefix(MARK).strip()
    if _decodes(_object, line):
        return True
    open_still = line.startswith(b"[") or line.endswith((b",", b"[", b"{", b":"))
    return not open_still and (line.startswith(b"{") or _decodes(_object, following))
