"""One input (a prefetch value, a fetched answer, the drafts) read into typed items, with what is known about its state.

Nothing is dropped silently: an entry becomes an item, or it is counted in `unreadable`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import orjson
from msgspec import Raw
from msgspec.json import Decoder

from cds_service.content.tables import SearchOutcomes
from cds_service.fhir import elements
from cds_service.fhir.identity import (
    UNREADABLE,
    IdentityMismatch,
    id_of_url,
    is_about,
    is_elsewhere,
    is_id,
    server_of,
)
from cds_service.fhir.inputs import Input, Item, failed, next_page
from cds_service.fhir.marks import grouped_orders, is_subsetted, modifiers, names_medicine
from cds_service.fhir.numbers import whole
from cds_service.fhir.repairs import as_bundle, as_dict, mend, old_version, spare_doses
from cds_service.patient import KeyState

MAX_ENTRIES = 5000

AnyResource = (
    elements.Bundle
    | elements.OperationOutcome
    | elements.Patient
    | elements.Observation
    | elements.Condition
    | elements.MedicationRequest
    | elements.MedicationStatement
    | elements.MedicationAdministration
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
READ_BY_ID = frozenset({"Patient", "Encounter"})
# What makes facts wherever it stands.
_READ_ANYWHERE = (
    elements.Observation,
    elements.Condition,
    elements.MedicationRequest,
    elements.MedicationStatement,
    elements.MedicationAdministration,
    elements.QuestionnaireResponse,
)
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
        self.modified = False  # whether an element stands anywhere that may change what a resource means
        self._own_reference = f"Patient/{patient_id}"
        # Identity is proved after everything was decoded: a `urn:` may be explained by a later entry.
        self._subjects: list[tuple[str, str, list[Raw] | None]] = []

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
        elif isinstance(sent, bytes) and isinstance(view, elements.Resource) and _TYPES[type(view)] == wanted:
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
        servers = {*map(server_of, self.full_urls)}
        for where, reference, contained in self._subjects:
            if not is_about(reference, self.patient_id, self.full_urls, contained):
                raise IdentityMismatch(where)
            servers.add(server_of(reference))
            if self.base is None and len(servers - {None}) > 1:
                raise IdentityMismatch(where)
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
        expected, own, key, keep = _VIEWS.get(wanted), self._own_reference, result.key, result.items.append
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
                keep(Item(key, wanted, name, view, raw, draft))
            else:
                self._entry(result, entry, wanted, f"{where}.entry[{number}]", draft, depth)
        if depth == 0 and result.others > others and result.matches == matches:
            result.incomplete("entries of another type than asked for")
        total = whole(Raw(bytes(bundle.total).strip(b'"')))  # as text too
        if total is not None:
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
            if not wanted or (_TYPES[type(view)] == wanted and not included):
                result.matches += 1
            elif not included and isinstance(view, _READ_ANYWHERE):
                result.others += 1
                wanted = _TYPES[type(view)]
            self._add(result, view, entry.resource, entry.fullUrl, where, draft, wanted)
        elif self._may_hold(view, entry.resource, draft):
            self.remark(where, f"{view.resourceType} is not read here, and may hold what is asked for")
            result.unreadable += 1
        elif draft and view.resourceType in _GROUPS:
            self.grouped |= grouped_orders(entry.resource)
        elif wanted and not (entry.search is not None and entry.search.mode == "include"):
            result.others += 1

    def _may_hold(self, view: elements.Unseen, raw: Raw, draft: bool) -> bool:
        """Whether what is asked for may be in a resource that makes no facts: a medicine, among the orders."""
        kind = view.resourceType or ""
        return kind in _HOLDERS or not kind[:1].isupper() or (draft and names_medicine(raw))

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

    def _decode(self, raw: bytes | Raw, where: str) -> elements.Resource | elements.Unseen | None:
        try:
            view: elements.Resource = read_resource(raw)
        except UNREADABLE:
            return self._second_attempt(raw, where)
        if self._elsewhere(view.subject):
            return None
        self._subject(view.subject, view.contained, where)
        return view

    def _second_attempt(self, raw: bytes | Raw, where: str) -> elements.Resource | elements.Unseen | None:
        resource = as_dict(raw)
        if resource is None:
            self.remark(where, "a resource is expected")
            return None
        for name in ("subject", "patient"):
            self._loose_subject(resource.get(name), where)
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
            view: elements.Resource | elements.Unseen = read_resource(again)
        except UNREADABLE as fault:
            if mended.get("resourceType") in _TYPES.values():
                self.remark(where, str(fault))
                return None
            try:
                view = _read_unseen(again)
            except UNREADABLE:
                return None
            if not view.resourceType:
                return None
        else:
            self.repairs.update(names)
        if self._elsewhere(view.subject) or self._elsewhere(view.patient):
            return None
        for reference in (view.subject, view.patient):
            self._subject(reference, view.contained, where)
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

    def _loose_subject(self, value: Any, where: str) -> None:
        """The patient of a resource that does not fit its type: whatever looks like a reference is one."""
        for each in value if isinstance(value, list) else [value]:
            reference = each.get("reference") if isinstance(each, dict) else each
            if isinstance(reference, str) and reference[:1] not in ("", "#") and not is_elsewhere(reference, self.base):
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
        name = view.id or id_of_url(full_url)
        if kind == "Patient":
            if name != self.patient_id:
                raise IdentityMismatch(where)
            if full_url:
                self.full_urls[full_url] = name
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
                view = elements.Specimen(status="entered-in-error")
            self.specimens |= {reference: view for reference in (f"Specimen/{name}", full_url) if reference}
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


_read_unseen = Decoder(elements.Unseen).decode
