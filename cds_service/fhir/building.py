"""What the builders of facts share: the items of a request, and where they say what could not be used."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from msgspec.json import Encoder

from cds_service.fhir.dates import read_moment
from cds_service.fhir.elements import Concept, MedicationView, Observation, Reference, Resource, Specimen
from cds_service.fhir.inputs import Item
from cds_service.patient import Source, Unread
from cds_service.terminology.drugs import DrugIdentity
from cds_service.terminology.index import LabConcept, Vocabulary

V = TypeVar("V", bound=Resource)
HL7 = "http://terminology.hl7.org/"
"""How the code systems that FHIR binds its own elements to begin."""
_MOST_NAMES = 8192
_CODE = 100  # characters of a system or code that is repeated
_encode = Encoder().encode


class Identified(NamedTuple):
    """What the code and names of a medicine say, and the drugs that our own phrases in its text keep it apart from."""

    drug: DrugIdentity
    kept_apart: frozenset[str]


# Charts name the same few thousand medicines again and again. Kept are keyed digests of what was sent and what it means
# to us, never the text itself.
_key = secrets.token_bytes(32)
_identified: WeakKeyDictionary[Vocabulary, dict[bytes, Identified]] = WeakKeyDictionary()


@dataclass(slots=True)
class Building:
    """One pass from items to facts. `unreadable` counts by input key, `repairs` by name.

    `observed` holds the observations that are no drafts, by the concept of ours that their code means. `modified`: some
    item holds a modifier. `base`: the FHIR server of the call.
    """

    items: Sequence[Item]
    vocabulary: Vocabulary
    now: datetime
    medications: Mapping[str, MedicationView] = field(default_factory=dict)
    conditions_by_id: Mapping[str, Concept | None] = field(default_factory=dict)
    specimens: Mapping[str, Specimen] = field(default_factory=dict)
    selections: frozenset[str] = frozenset()
    unreadable: Counter[str] = field(default_factory=Counter)
    not_used: list[Source] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)
    by_type: dict[type, list[Item]] = field(default_factory=dict)
    observed: dict[str, list[tuple[Item, LabConcept]]] = field(default_factory=dict)
    unread: dict[str, list[Unread]] = field(default_factory=dict)
    modified: bool = False
    base: str | None = None

    def __post_init__(self) -> None:
        for item in self.items:
            if self.modified and (found := item.modifiers) and not self._judged_as_result(item.view, found):
                self.lost(item)  # it may mean something else than it seems to
            else:
                self.by_type.setdefault(type(item.view), []).append(item)

    def _judged_as_result(self, view: Resource, modifiers: int) -> bool:
        """Whether its modifiers are judged where results are read, which knows some of those of a result and its parts,
        and none that stand elsewhere in it."""
        if not isinstance(view, Observation):
            return False
        if modifiers > sum(part.modifierExtension is not None for part in (view, *(view.component or ()))):
            return False
        codings = (view.code.coding or ()) if view.code else ()
        found = (self.vocabulary.measured(each.system, each.code) for each in codings)
        return not any(concept and concept.entry.kind == "observation" for concept in found)

    def of(self, view_type: type[V]) -> Iterator[tuple[Item, V]]:
        """The items of one type with their views."""
        for item in self.by_type.get(view_type, ()):
            if isinstance(item.view, view_type):
                yield item, item.view

    def lost(self, item: Item) -> None:
        """This resource could not be used; no input that holds it is complete any more."""
        self.unreadable.update((item.key, *item.also))
        self.not_used.append(item.source)

    def not_identified(self, item: Item, code: Concept | None, time: str | None = None) -> None:
        """Keeps what no code system of ours names. A code of a system that we read is something else for certain."""
        codings = (code.coding if code else None) or ()
        tells = self.vocabulary.tells_problem if item.kind == "Condition" else self.vocabulary.tells_test
        if any(tells(coding.system, coding.code) for coding in codings):
            return
        if not (name := called(code)):
            self.lost(item)
            return
        met = tuple(((c.system or "")[:_CODE], (c.code or "")[:_CODE]) for c in codings if c.code)
        moment = read_moment(time, self.now.tzinfo)
        for key in (item.key, *item.also):
            self.unread.setdefault(key, []).append(Unread(item.source, name, moment.latest if moment else None, met))

    def drug(self, concept: Concept) -> Identified:
        """Which drug a CodeableConcept means."""
        known = _identified.get(self.vocabulary)
        if known is None:
            known = _identified.setdefault(self.vocabulary, {})
        digest = blake2b(_encode(concept), digest_size=16, key=_key).digest()
        found = known.get(digest)
        if found is None:
            if len(known) >= _MOST_NAMES:
                known.clear()
            found = known[digest] = self._identify(concept)
        return found

    def _identify(self, concept: Concept) -> Identified:
        name, kept_apart = self.vocabulary.kept_apart(name_of(concept))
        codings = [
            (c.system, c.code, self.vocabulary.kept_apart(c.display)[0] if c.display else None)
            for c in concept.coding or ()
        ]
        return Identified(self.vocabulary.drug(codings, name or None), kept_apart)

    def condition_concepts(self, concept: Concept | None) -> frozenset[str]:
        """Ids of the condition concepts that the codes of a CodeableConcept belong to; where no code system of problems
        is among them, those that its whole text or a display names."""
        found: frozenset[str] = frozenset()
        codings = (concept.coding or ()) if concept else ()
        for coding in codings:
            found |= self.vocabulary.condition_concepts(coding.system, coding.code)
        if not found and not any(self.vocabulary.tells_problem(c.system, c.code) for c in codings):
            for text in (concept.text if concept else None, *(coding.display for coding in codings)):
                found |= self.vocabulary.condition_called(text) if text else frozenset()
        return found


def has_subject(view: Resource) -> bool:
    """Whether it says whose it is. What it says was proved before."""
    return bool(view.subject and view.subject.reference)


def name_of(concept: Concept) -> str:
    """The text of a CodeableConcept, else the first display, else nothing."""
    if concept.text:
        return concept.text
    return next((c.display for c in concept.coding or () if c.display), "")


def called(concept: Concept | None) -> str:
    """What a chart calls something that nobody here knows: its name, else its first code, else nothing."""
    return (name_of(concept) or code_of(concept) or "") if concept else ""


def code_of(concept: Concept | None) -> str | None:
    """The code of HL7's of a CodeableConcept with a required binding, else its first, or None."""
    coded = [each for each in (concept.coding if concept else None) or () if each.code]
    return next((each.code for each in coded if (each.system or "").startswith(HL7)), coded[0].code if coded else None)


def target(reference: Reference | None) -> str:
    """The literal reference, or nothing."""
    return (reference.reference if reference else None) or ""
