"""Resources of one patient that are at hand, where no server is asked, as the answers to the searches of a prefetch.

What a Bundle says of itself (that there is more, that a part was refused, what nobody can read) goes into the answer to
every search, so that it is judged where every answer is: by `bundles`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Raw, Struct
from msgspec.json import Decoder

from cds_service.fhir import elements
from cds_service.fhir.elements import NOTHING, Bundle, Concept, Entry, Reference
from cds_service.fhir.heads import Head, head_of, is_kind
from cds_service.fhir.identity import UNREADABLE, Servers, split_reference
from cds_service.fhir.labs import none_of
from cds_service.fhir.marks import kinds_in
from cds_service.fhir.numbers import NO_COUNT
from cds_service.fhir.opened import BUNDLE, Listed, Opened
from cds_service.fhir.searching import Search, inputs_of
from cds_service.fhir.specimens import names_of
from cds_service.terminology.index import Vocabulary

PATIENT: Final = "Patient"
MEDICATION: Final = "Medication"
OBSERVATION: Final = "Observation"
SPECIMEN: Final = "Specimen"
_OUTCOME: Final = "OperationOutcome"
_PARAMETERS: Final = "Parameters"
_MATCH, _INCLUDE = elements.Search("match"), elements.Search("include")


class Held(Struct, gc=False):
    """One resource. `kind`: "" where that is not known, or it holds none; `inputs`: as `inputs_of`; `specimen`: under
    which names that may be sent; `within`: the kinds of what it contains."""

    kind: str
    entry: Entry
    id: str | None = None
    status: str | None = None
    inputs: frozenset[str] | None = None
    specimen: tuple[str, ...] = ()
    within: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Under which references mean it."""
        return tuple(filter(None, (f"{self.kind}/{self.id}", self.entry.fullUrl)))

    @property
    def draft(self) -> bool:
        return self.status == "draft" and self.kind.endswith("Request")

    def listed(self, search: elements.Search | None = None) -> Entry:
        """As an answer holds it."""
        entry = self.entry
        return Entry(entry.fullUrl, entry.resource, search, entry.response, entry.modifierExtension)


class _Part(Struct, gc=False):
    code: Concept | None = None


_concept = Decoder(Concept | None).decode
_parts = Decoder(list[_Part] | None).decode
_reference = Decoder(Reference | None).decode


class AtHand:
    """All of one patient. `people`: the Patient resources."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.people: list[Held] = []
        self.drafts: list[Held] = []
        self._kinds: dict[str, list[Held]] = {}
        self._anywhere: list[Entry] = []  # what every answer is given
        self._bundles = Opened()
        self._gone: set[tuple[str, str]] = set()
        self._servers = Servers()
        self._vocabulary = vocabulary

    def add(self, raw: bytes | Raw) -> None:
        """A resource, or a Bundle of resources."""
        self._add(Listed(resource=Raw(raw)))

    @property
    def of_several_servers(self) -> bool:
        """Whether it names patients of more than one server, be it in what no search finds."""
        return self._servers.second is not None

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
        specimens = self._kinds.get(SPECIMEN, [])
        holders = [each for held in (*self._kinds.values(), self.people) for each in held if each.within]
        for search in searches:
            if search.kind == PATIENT:
                yield search.key, bytes(person.entry.resource)
                continue
            found = [each for each in self._kinds.get(search.kind, ()) if search.finds(each.status, each.inputs)]
            listed = included + [each.listed(_MATCH) for each in found]
            if search.kind.startswith(MEDICATION):
                listed += medications
            elif search.kind == OBSERVATION and specimens:
                named = {name for each in found for name in each.specimen}
                listed += [each.listed(_INCLUDE) for each in specimens if not named.isdisjoint(each.names)]
            # What contains what is searched for, so that it is told that nobody looks at that.
            told = set(map(id, found))
            hidden = (each for each in holders if search.kind in each.within)
            listed += [each.listed(_INCLUDE) for each in hidden if id(each) not in told]
            # However many were asked for, these are all, but for what the Bundles say. What came twice is one.
            number = len({each.id for each in found if each.id}) + sum(not each.id for each in found)
            yield search.key, self._bundle("searchset", listed, number + self._bundles.surplus)

    def orders(self) -> Bundle:
        """The draft orders."""
        return self._bundle("collection", [each.listed() for each in self.drafts])

    def _bundle(self, kind: str, listed: list[Entry], total: int | None = None) -> Bundle:
        return Bundle(
            type=kind,
            total=NOTHING if total is None else Raw(b"%d" % (NO_COUNT if self._bundles.uncounted else total)),
            link=self._bundles.next or None,
            implicitRules=self._bundles.rules,
            entry=listed + self._anywhere,
        )

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
                self._servers.add(entry.fullUrl or "")
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
        head = head_of(entry.resource) or Head("")
        for reference in head.people:
            if reference[:4] == "http" and (parts := split_reference(reference)) and parts[0] == PATIENT:
                self._servers.add(reference)
        kind = head.resourceType
        held = Held(kind, entry, head.id, head.status)
        if kind == OBSERVATION:
            held.inputs = self._inputs_of(head)
            held.specimen = _specimen_of(head) if head.specimen else ()
        if head.contained or kind == _PARAMETERS:
            held.within = kinds_held(head, entry.resource)
        return held

    def _inputs_of(self, head: Head) -> frozenset[str] | None:
        try:
            code = _concept(head.code) if head.code else None
            parts = _parts(head.component) if head.component else None
        except UNREADABLE:
            code, parts = None, None
        inputs = inputs_of(code, [part.code for part in parts or ()], self._vocabulary)
        if inputs is None and (no_such := none_of(head.category, self._vocabulary)):
            inputs = self._vocabulary.observed_inputs - no_such
        return inputs


def _specimen_of(head: Head) -> tuple[str, ...]:
    try:
        return names_of(_reference(head.specimen))
    except UNREADABLE:
        return ()


def kinds_held(head: Head, raw: bytes | Raw) -> frozenset[str]:
    """The kinds of what a resource holds within itself, where it may be read for what it is elsewhere."""
    if head.resourceType == _PARAMETERS:
        return frozenset(kinds_in(raw)) - {_PARAMETERS}
    return frozenset[str]().union(*map(kinds_in, head.contained or ()))
