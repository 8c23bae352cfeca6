"""Resources of one patient that are at hand, where no server is asked, as the answers to the searches of a prefetch.

What a Bundle says of itself (that there is more, that a part was refused, what nobody can read) goes into the answer to
every search, so that it is judged where every answer is: by `bundles`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from msgspec import Raw, Struct, ValidationError, convert
from msgspec.json import Decoder

from cds_service.fhir import elements
from cds_service.fhir.elements import NOTHING, Bundle, Concept, Entry, Reference
from cds_service.fhir.identity import UNREADABLE, server_of, split_reference
from cds_service.fhir.labs import none_of
from cds_service.fhir.opened import BUNDLE, Listed, Opened, text_of
from cds_service.fhir.repairs import spelt
from cds_service.fhir.searching import Search, inputs_of
from cds_service.terminology.index import Vocabulary

PATIENT: Final = "Patient"
MEDICATION: Final = "Medication"
OBSERVATION: Final = "Observation"
SPECIMEN: Final = "Specimen"
_OUTCOME: Final = "OperationOutcome"
_PARAMETERS: Final = "Parameters"
_MATCH, _INCLUDE = elements.Search("match"), elements.Search("include")


class Held(Struct, gc=False):
    """One resource. `kind`: "" where that is not known, or it holds none; `inputs`: as `inputs_of`."""

    kind: str
    entry: Entry
    id: str | None = None
    status: str | None = None
    inputs: frozenset[str] | None = None

    @property
    def draft(self) -> bool:
        return self.status == "draft" and self.kind.endswith("Request")

    def listed(self, search: elements.Search | None = None) -> Entry:
        """As an answer holds it."""
        entry = self.entry
        return Entry(entry.fullUrl, entry.resource, search, entry.response, entry.modifierExtension)


class _Part(Struct, gc=False):
    code: Concept | None = None


class _Seen(Struct, gc=False):
    """What the searches of our prefetch ask for, and whose it is."""

    resourceType: str
    id: str | None = None
    status: str | None = None
    code: Concept | None = None
    category: Raw = NOTHING
    component: list[_Part] | None = None
    subject: Reference | None = None
    patient: Reference | None = None


class AtHand:
    """All of one patient. `people`: the Patient resources."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.people: list[Held] = []
        self.drafts: list[Held] = []
        self._kinds: dict[str, list[Held]] = {}
        self._anywhere: list[Entry] = []  # what every answer is given
        self._bundles = Opened()
        self._gone: set[tuple[str, str]] = set()
        self._servers: set[str] = set()
        self._vocabulary = vocabulary

    def add(self, raw: bytes | Raw) -> None:
        """A resource, or a Bundle of resources."""
        self._add(Listed(resource=Raw(raw)))

    @property
    def of_several_servers(self) -> bool:
        """Whether it names patients of more than one server: an id means somebody on one of them alone. Where a Patient
        says on which server it is, `bundles` tells who is meant by each reference."""
        own = {server for each in self.people if (server := _home_of(each.entry.fullUrl)) is not None}
        return len(own or self._servers) > 1

    def forget_deleted(self) -> None:
        """What an entry says is deleted is not there."""
        if self._gone:
            self.people, self.drafts = self._left(self.people), self._left(self.drafts)
            self._kinds = {kind: self._left(held) for kind, held in self._kinds.items()}

    def _left(self, held: list[Held]) -> list[Held]:
        return [each for each in held if each.id is None or (each.kind, each.id) not in self._gone]

    def answers(self, searches: Sequence[Search]) -> Iterator[tuple[str, Bundle | bytes]]:
        """What each search finds, by its key; of the Patient, itself. There has to be one."""
        person = self.people[0]
        # The Patient comes along as an include where references may name it by its fullUrl.
        included = [person.listed(_INCLUDE)] if person.entry.fullUrl is not None else []
        medications = [each.listed() for each in self._kinds.get(MEDICATION, ())]
        specimens = [each.listed(_INCLUDE) for each in self._kinds.get(SPECIMEN, ())]
        hidden = self._hidden({search.kind for search in searches}) if self._kinds else []
        for search in searches:
            if search.kind == PATIENT:
                yield search.key, bytes(person.entry.resource)
                continue
            found = [each for each in self._kinds.get(search.kind, ()) if search.finds(each.status, each.inputs)]
            listed = included + [each.listed(_MATCH) for each in found]
            if search.kind.startswith(MEDICATION):
                listed += medications
            elif search.kind == OBSERVATION:
                listed += specimens
            listed += [each.listed(_INCLUDE) for each, kinds in hidden if search.kind in kinds]
            # However many were asked for, these are all, but for what the Bundles say. What came twice is one.
            number = len({each.id for each in found if each.id}) + sum(not each.id for each in found)
            yield search.key, self._bundle("searchset", listed, number + self._bundles.surplus)

    def orders(self) -> Bundle:
        """The draft orders."""
        return self._bundle("collection", [each.listed() for each in self.drafts])

    def _bundle(self, kind: str, listed: list[Entry], total: int | None = None) -> Bundle:
        return Bundle(
            type=kind,
            total=NOTHING if total is None else Raw(b"%d" % total),
            link=self._bundles.next or None,
            implicitRules=self._bundles.rules,
            entry=listed + self._anywhere,
        )

    def _hidden(self, searched: set[str]) -> list[tuple[Held, set[str]]]:
        """What is not searched for and contains what is: with its kinds."""
        found = []
        for kind, held in self._kinds.items():
            if kind in searched or kind in (MEDICATION, SPECIMEN):
                continue
            for each in held:
                raw = bytes(each.entry.resource)
                if raw and (kind == _PARAMETERS or b'"contained"' in raw) and (kinds := kinds_within(raw) & searched):
                    found.append((each, kinds))
        return found

    def _add(self, entry: Listed) -> None:
        if entry.deletes:
            parts = split_reference(entry.request.url or "") if entry.request else None
            if parts is not None:
                self._gone.add(parts)
            self._hold(Held(parts[0] if parts else "", Entry(entry.fullUrl)))
        elif entry.refused or entry.empty:
            self._anywhere.append(entry)
        else:
            held = self._held(entry)
            if held.kind == BUNDLE:
                begun = len(self._bundles.entries)
                self._bundles.open(entry.resource)
                for each in self._bundles.entries[begun:]:
                    self._add(each)
            elif held.kind == PATIENT:
                self.people.append(held)
            elif held.draft:
                self.drafts.append(held)
            else:
                self._hold(held)

    def _hold(self, held: Held) -> None:
        if held.kind == _OUTCOME or not is_kind(held.kind):
            self._anywhere.append(held.entry)
        else:
            self._kinds.setdefault(held.kind, []).append(held)

    def _held(self, entry: Listed) -> Held:
        inputs = None
        try:
            seen = _seen(entry.resource)
        except UNREADABLE:
            seen = self._seen_loosely(entry.resource)
        kind = spelt(seen.resourceType)
        if kind == OBSERVATION:
            parts = [part.code for part in seen.component or ()]
            inputs = inputs_of(seen.code, parts, self._vocabulary)
            if inputs is None and (no_such := none_of(seen.category, self._vocabulary)):
                inputs = self._vocabulary.observed_inputs - no_such
        for reference in (seen.subject, seen.patient):
            if reference is not None and (server := _home_of(reference.reference)) is not None:
                self._servers.add(server)
        return Held(kind, entry, seen.id, seen.status, inputs)

    def _seen_loosely(self, raw: bytes | Raw) -> _Seen:
        """An element is of another type than FHIR's."""
        resource = orjson.loads(memoryview(raw))
        if not isinstance(resource, dict):
            return _Seen("")
        kind, name, status = (text_of(resource.get(key)) for key in ("resourceType", "id", "status"))
        try:
            code = convert(resource.get("code"), Concept | None)
            parts = convert(resource.get("component"), list[_Part] | None)
        except ValidationError:
            code, parts = None, None
        references = [*references_in(resource), None, None]
        people = [Reference(each) if each else None for each in references[:2]]
        return _Seen(kind or "", name, status, code, NOTHING, parts, *people)


_seen = Decoder(_Seen).decode


def is_kind(name: str) -> bool:
    """Whether it may be the name of a type of FHIR's."""
    return name[:1].isupper() and name.isalpha()


def _home_of(reference: str | None) -> str | None:
    """The server of an absolute reference to a Patient; None of any other one."""
    kind = split_reference(reference) if reference else None
    return server_of(reference) if reference and kind and kind[0] == PATIENT else None


def references_in(resource: dict[str, Any]) -> list[str]:
    """Whose a resource says that it is, each once: whatever looks like a reference is one."""
    found: dict[str, None] = {}
    for value in (resource.get("subject"), resource.get("patient")):
        for each in value if isinstance(value, list) else [value]:
            reference = each.get("reference") if isinstance(each, dict) else each
            if isinstance(reference, str) and reference:
                found[reference] = None
    return list(found)


def kinds_within(raw: bytes | Raw) -> set[str]:
    """The kinds of the resources that a resource holds."""
    found: set[str] = set()
    left: list[Any] = list(orjson.loads(memoryview(raw)).values())
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(kind := value.get("resourceType"), str):
                found.add(kind)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found
