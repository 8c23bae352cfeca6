"""One input (a prefetch value, a fetched answer, the drafts) read into typed items, with what is known about its state.

Nothing is dropped silently: an entry becomes an item, or it is counted in `unreadable`.
"""

from __future__ import annotations

from collections import Counter

import orjson
from msgspec import Raw

from cds_service.content.tables import SearchOutcomes
from cds_service.fhir import elements
from cds_service.fhir.heads import Head, is_kind, read_head, references_in
from cds_service.fhir.identity import (
    UNREADABLE,
    IdentityMismatch,
    Servers,
    id_of_url,
    is_about,
    is_elsewhere,
    is_id,
)
from cds_service.fhir.inputs import Input, Item, failed, next_page
from cds_service.fhir.kinds import FACTS, READ_ANYWHERE, READ_BY_ID, TYPES, VIEWS, read_resource
from cds_service.fhir.marks import grouped_orders, is_subsetted, kinds_in, modifiers, names_medicine
from cds_service.fhir.numbers import NO_COUNT, stated_total
from cds_service.fhir.repairs import as_bundle, as_dict, mend, old_version, spare_doses
from cds_service.patient import KeyState

MAX_ENTRIES = 5000

# What may hold the resources that were asked for, where we do not look for them.
_HOLDERS = frozenset({"Parameters", "List", "Composition", "DiagnosticReport", "Binary", "Basic", "DomainResource"})
_DEEPEST = 3  # Bundles inside one another
# What may group orders that stand elsewhere.
_GROUPS = frozenset({"RequestGroup", "RequestOrchestration", "CarePlan"})
_MOST_PLACES = 20


class Reader:
    """Reads all inputs of one request. `repairs` counts what was mended."""

    def __init__(
        self, patient_id: str, outcomes: SearchOutcomes, base: str | None = None, null_is: KeyState = "empty"
    ) -> None:
        self.patient_id = patient_id
        self.base = base
        self.null_is: KeyState = null_is
        self.outcomes = outcomes
        self.repairs: Counter[str] = Counter()
        self.full_urls: dict[str, str] = {}
        self.medications: dict[str, elements.MedicationView] = {}
        self.conditions: dict[str, elements.Concept | None] = {}
        self.specimens: dict[str, elements.Specimen] = {}
        self.drafted_codes: set[tuple[str, str]] = set()
        self.grouped: set[str] = set()  # orders that a draft refers to as its own
        self.drafted_urls: set[str] = set()  # under which other drafts may refer to one
        self.not_read: dict[str, str] = {}  # where an entry could not be read -> what was expected there, no value
        self.replaced = False  # whether the patient's record gave way to another one
        self.held: set[str] = set()  # kinds that make facts, of resources within others, where they are not read
        self.modified = False  # whether an element stands anywhere that may change what a resource means
        self._own_reference = f"Patient/{patient_id}"
        # Identity is proved after everything was decoded: a `urn:` may be explained by a later entry.
        self._subjects: list[tuple[str, str, list[Raw] | None]] = []
        self._servers = Servers()

    def read(self, key: str, wanted: str, sent: bytes | elements.Bundle, where: str, *, draft: bool = False) -> Input:
        """One value, as JSON or taken apart already. `wanted` is the resource type of the key ("" for drafts: any)."""
        if isinstance(sent, bytes) and len(sent) < 16 and sent.strip() == b"null":
            return Input(key, self.null_is, "" if self.null_is == "empty" else "the EHR sent null")
        parts = [each.resource for each in sent.entry or ()] if isinstance(sent, elements.Bundle) else [sent]
        view = sent if isinstance(sent, elements.Bundle) else self._decode(sent, where) or as_bundle(sent)
        if view is None:
            return failed(key, "unreadable")
        if isinstance(view, elements.OperationOutcome):
            told = {self._meaning(issue) for issue in view.issue or ()}
            return Input(key, "empty") if told == {"none_found"} else failed(key, "the EHR reported an error")
        result = Input(key, "given")
        for part in parts:
            self._whole(result, part)
        if isinstance(view, elements.Bundle):
            self._bundle(result, view, wanted, where, draft)
        elif isinstance(sent, bytes) and isinstance(view, elements.Resource) and TYPES[type(view)] == wanted:
            if wanted not in READ_BY_ID:
                self.repairs["resource_without_bundle"] += 1
            self._add(result, view, sent, None, where, draft)
        else:
            return failed(key, "unreadable")
        return result

    def more(self, result: Input, raw: bytes, wanted: str, where: str) -> bool:
        """A further page of a searchset. False if it is not one."""
        view = self._decode(raw, where)
        if not isinstance(view, elements.Bundle):
            return False
        result.next_url = None
        self._whole(result, raw)
        self._bundle(result, view, wanted, where, False)
        return True

    def _whole(self, result: Input, raw: bytes | Raw) -> None:
        """What is looked for in all the bytes at once: it is rare, and may stand anywhere."""
        self.modified = self.modified or modifiers(raw) > 0
        if is_subsetted(raw):
            result.incomplete("only a part of an entry was sent")

    def prove_identity(self) -> None:
        """Raises IdentityMismatch unless all is about the patient, of one server where the call names none."""
        for where, reference, contained in self._subjects:
            if not is_about(reference, self.patient_id, self.full_urls, contained):
                raise IdentityMismatch(where)
            self._servers.add(reference, where)
        if self.base is None and (second := self._servers.second) is not None:
            raise IdentityMismatch(second)
        self._subjects.clear()

    def _bundle(
        self, result: Input, bundle: elements.Bundle, wanted: str, where: str, draft: bool, depth: int = 0
    ) -> None:
        if not bundle.type:
            self.repairs["bundle_without_type"] += 1
        if bundle.implicitRules is not None:
            result.incomplete("rules of its own may change what it means")
        result.pages += 1
        entries = bundle.entry if isinstance(bundle.entry, list) else []
        room = MAX_ENTRIES - result.entries
        if len(entries) > room:
            result.state, result.reason = "incomplete", "too many entries"
            entries = entries[:room]
        result.entries += len(entries)
        expected, own, key, keep = VIEWS.get(wanted), self._own_reference, result.key, result.items.append
        others, matches = result.others, result.matches
        for number, entry in enumerate(entries):
            raw = entry.resource
            try:
                view = read_resource(raw)
            except UNREADABLE:
                self._entry(result, entry, wanted, f"{where}.entry[{number}]", draft, depth)
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
                and entry.response is None
                and entry.modifierExtension is None
            ):
                result.matches += 1
                if url is not None and isinstance(view, elements.Condition):
                    self.conditions[url] = view.code
                if view.contained:
                    self._contained(result, view, f"{where}.entry[{number}]")
                keep(Item(key, wanted, name, view, raw, draft))
            else:
                self._entry(result, entry, wanted, f"{where}.entry[{number}]", draft, depth)
        if depth == 0 and result.others > others and result.matches == matches:
            result.incomplete("entries of another type than asked for")
        total = stated_total(bundle.total)
        if total == NO_COUNT:
            result.incomplete("its total cannot be read")
        elif total is not None:
            result.expected = max(total, result.expected or 0)
        result.next_url = next_page(bundle.link)

    def _entry(
        self, result: Input, entry: elements.Entry, wanted: str, where: str, draft: bool, depth: int = 0
    ) -> None:
        if entry.response is not None and not self._answered(result, entry.response, where):
            return
        if draft and entry.fullUrl:
            self.drafted_urls.add(entry.fullUrl)
        view = self._decode(entry.resource, where)
        if view is None or entry.modifierExtension is not None:
            result.unreadable += 1
            result.matches += 1
        elif isinstance(view, elements.OperationOutcome):
            self._outcome(result, view)
        elif isinstance(view, elements.Bundle):
            self._nested(result, view, wanted, where, draft, depth + 1)
        elif isinstance(view, elements.Resource):
            included = entry.search is not None and entry.search.mode == "include"
            if not wanted or (TYPES[type(view)] == wanted and not included):
                result.matches += 1
            elif not included and isinstance(view, READ_ANYWHERE):
                result.others += 1
                wanted = TYPES[type(view)]
            self._add(result, view, entry.resource, entry.fullUrl, where, draft, wanted)
        elif self._may_hold(view, entry.resource, draft):
            self.held |= kinds_in(entry.resource) & FACTS
            self.remark(where, f"{view.resourceType} is not read here, and may hold what is asked for")
            result.unreadable += 1
        elif draft and view.resourceType in _GROUPS:
            self.grouped |= grouped_orders(entry.resource)
        elif wanted and not (entry.search is not None and entry.search.mode == "include"):
            result.others += 1

    def _may_hold(self, view: Head, raw: Raw, draft: bool) -> bool:
        """Whether what is asked for may be in a resource that makes no facts: a medicine, among the orders."""
        kind = view.resourceType
        if kind in _HOLDERS or not is_kind(kind) or (draft and names_medicine(raw)):
            return True
        return bool(view.contained) and not FACTS.isdisjoint(kinds_in(raw))

    def _contained(self, result: Input, view: elements.Resource, where: str) -> None:
        """Counts what makes facts and stands within a resource that is read, where nobody looks at it. A problem within
        an order is its reason."""
        kinds = set[str]().union(*map(kinds_in, view.contained or ())) & FACTS
        if isinstance(view, elements.Medicine):
            kinds.discard("Condition")
        if kinds:
            self.held |= kinds
            self.remark(where, f"{', '.join(sorted(kinds))} within it is not read")
            result.unreadable += 1

    def _answered(self, result: Input, answer: elements.Answer, where: str) -> bool:
        """Whether an entry of a batch holds an answer. One that was refused leaves the input incomplete."""
        outcome = self._decode(answer.outcome, where) if answer.outcome is not elements.NOTHING else None
        if isinstance(outcome, elements.OperationOutcome):
            self._outcome(result, outcome)
        if answer.status is None or answer.status.lstrip().startswith("2"):
            return True
        result.incomplete("a part of it was refused")
        return False

    def _nested(self, result: Input, bundle: elements.Bundle, wanted: str, where: str, draft: bool, depth: int) -> None:
        """A Bundle in a Bundle: several searches in one answer. Each counts its own."""
        if depth > _DEEPEST:
            result.unreadable += 1
            return
        self.repairs["bundle_in_bundle"] += 1
        inner = Input(result.key, "given", entries=result.entries)
        self._bundle(inner, bundle, wanted, where, draft, depth)
        if inner.next_url is not None:
            inner.incomplete("there are more pages")
        elif inner.expected is not None and inner.expected > inner.found(wanted):
            inner.incomplete("fewer entries than announced")
        if inner.state == "incomplete":
            result.incomplete(inner.reason)
        result.items += inner.items
        result.entries = inner.entries
        result.unreadable += inner.unreadable
        result.matches += inner.matches
        result.others += inner.others

    def _outcome(self, result: Input, outcome: elements.OperationOutcome) -> None:
        self.repairs["outcome_in_searchset"] += 1
        if "withheld" in {self._meaning(issue) for issue in outcome.issue or ()}:
            result.incomplete("the EHR said that something was left out")

    def _meaning(self, issue: elements.OutcomeIssue) -> str:
        codings = [(c.system, c.code) for c in issue.details.coding or ()] if issue.details else []
        return self.outcomes.meaning(issue.severity, issue.code, codings)

    def _decode(self, raw: bytes | Raw, where: str) -> elements.Resource | Head | None:
        try:
            view: elements.Resource = read_resource(raw)
        except UNREADABLE:
            return self._second_attempt(raw, where)
        if self._elsewhere(view.subject):
            return None
        self._subject(view.subject, view.contained, where)
        return view

    def _second_attempt(self, raw: bytes | Raw, where: str) -> elements.Resource | Head | None:
        resource = as_dict(raw)
        if resource is None:
            self.remark(where, "a resource is expected")
            return None
        for reference in references_in(resource):
            if reference[:1] != "#" and not is_elsewhere(reference, self.base):
                self._subjects.append((where, reference, None))
        mended, names = mend(resource)
        if old := old_version(mended):
            self.repairs[f"not_read_as_{old}"] += 1
            self.remark(where, f"this has the shape of {old}")
            return None
        again = orjson.dumps(mended)
        if (spared := spare_doses(mended)) is not None:
            names.append("dose_not_read")
            self.remark(where, "a dosage is not of the types that FHIR gives it: no dose was read")
            again = orjson.dumps(spared)
        try:
            view: elements.Resource | Head = read_resource(again)
        except UNREADABLE as fault:
            if mended.get("resourceType") in TYPES.values():
                self.remark(where, str(fault))
                return None
            try:
                view = read_head(again)
            except UNREADABLE:
                return None
        else:
            self.repairs.update(names)
        if self._elsewhere(view.subject) or self._elsewhere(view.patient):
            return None
        for each in (view.subject, view.patient):
            self._subject(each, view.contained, where)
        return view

    def remark(self, where: str, fault: str) -> None:
        """Keeps where something could not be read, and what was expected: names of types and elements, no value."""
        if len(self.not_read) < _MOST_PLACES:
            self.not_read.setdefault(where, fault)

    def _elsewhere(self, reference: elements.Reference | None) -> bool:
        """Whether it is about somebody on another server, of whom nothing is known."""
        return reference is not None and is_elsewhere(reference.reference or "", self.base)

    def _subject(self, reference: elements.Reference | None, contained: list[Raw] | None, where: str) -> None:
        if reference is not None and reference.reference and reference.reference != self._own_reference:
            self._subjects.append((where, reference.reference, contained))

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
        kind = TYPES[type(view)]
        name = view.id or id_of_url(full_url)
        if view.contained:
            self._contained(result, view, where)
        if kind == "Patient":
            if name != self.patient_id:
                raise IdentityMismatch(where)
            if full_url:
                self.full_urls[full_url] = name
                self._servers.add(full_url, where)
            links = view.link if isinstance(view, elements.Patient) else None
            links = links if isinstance(links, list) else [links]
            self.replaced |= any(isinstance(each, dict) and each.get("type") == "replaced-by" for each in links)
        if isinstance(view, elements.MedicationView):
            if self.modified and modifiers(raw):
                view = elements.UNUSABLE
            for reference in filter(None, (f"Medication/{name}", full_url)):
                if self.medications.setdefault(reference, view) != view:
                    self.medications[reference] = elements.UNUSABLE  # nobody knows which of them is meant
        elif isinstance(view, elements.Specimen):
            if self.modified and modifiers(raw):
                view = elements.UNCLEAR
            for reference in filter(None, (f"Specimen/{name}", full_url)):
                if self.specimens.setdefault(reference, view) != view:
                    self.specimens[reference] = elements.UNCLEAR
            return
        elif isinstance(view, elements.Condition) and full_url:
            self.conditions[full_url] = view.code
        if draft and isinstance(view, elements.ServiceRequest):
            if not view.doNotPerform:
                self._drafted(view)
            result.unreadable += names_medicine(raw)  # in what it contains
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
