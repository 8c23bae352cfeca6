"""One request's FHIR data, read into PatientFacts.

First everything is decoded and proved to be about one patient; then facts are built. The second step can be repeated
without resources that turned out to be invalid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from orjson import Fragment

from cds_service.fhir.building import Building
from cds_service.fhir.bundles import Reader
from cds_service.fhir.conditions import read_conditions
from cds_service.fhir.elements import Bundle
from cds_service.fhir.elements import Condition as ConditionView
from cds_service.fhir.fetching import Pages, entries_asked, fill, read_all, with_medications
from cds_service.fhir.fetching import read_medications as fetch_medications
from cds_service.fhir.given import read_given
from cds_service.fhir.identity import UnreadableInput, is_id
from cds_service.fhir.inputs import Input, Item, failed, settle
from cds_service.fhir.intakes import read_intakes
from cds_service.fhir.labs import read_labs
from cds_service.fhir.marks import ORDERS
from cds_service.fhir.medications import medication_references, read_ended, read_medications
from cds_service.fhir.person import read_person
from cds_service.fhir.repairs import check_announced, is_r5, mend, spare_doses
from cds_service.fhir.server import FetchFailed, FhirServer
from cds_service.fhir.validation import FAULT_ELSEWHERE, FAULT_IN_DOSES, digest_of, known_verdict, validate
from cds_service.patient import KeyState, PatientFacts, Source
from cds_service.terminology.index import Vocabulary

DRAFTS = "draft_orders"


@dataclass(frozen=True)
class Need:
    """One prefetch key of ours: its FHIR resource type and the template that asks for it. `in_encounter`: we read it
    ourselves only where the call names an encounter; `laboratory`: a laboratory makes all that it asks for."""

    key: str
    resource_type: str
    template: str
    in_encounter: bool = False
    laboratory: bool = False

    @property
    def first_code(self) -> str:
        """Of a search by code, `code=` and the first; "" for any other."""
        _, mark, rest = self.template.partition("&code=")
        return f"code={rest.partition(',')[0].partition('&')[0]}" if mark else ""


@dataclass(slots=True)
class _Gathered:
    """Everything read, before facts are made of it."""

    reader: Reader
    vocabulary: Vocabulary
    now: datetime
    selections: frozenset[str]
    fhir_version: str | None
    inputs: list[Input] = field(default_factory=list)
    items: dict[tuple[str, str], Item] = field(default_factory=dict)


class Chart:
    """The facts of one patient in one call, with the resources that they came from."""

    def __init__(
        self,
        gathered: _Gathered,
        left_out: frozenset[Source] = frozenset(),
        doseless: frozenset[Source] = frozenset(),
    ) -> None:
        self._gathered = gathered
        self._left_out = left_out
        self._doseless = doseless
        self._faulty: set[Source] = set()
        self.facts, self._repairs = _build(gathered, left_out, doseless)

    @property
    def patient_id(self) -> str:
        """The patient whom everything here was proved to be about."""
        return self._gathered.reader.patient_id

    @property
    def vocabulary(self) -> Vocabulary:
        """What the chart was read with."""
        return self._gathered.vocabulary

    @property
    def drafted_codes(self) -> set[tuple[str, str]]:
        """(system, code) of the tests and services among the drafts."""
        return self._gathered.reader.drafted_codes

    @property
    def not_read(self) -> dict[str, str]:
        """Where in the request entries could not be read, and what was expected there."""
        return self._gathered.reader.not_read

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every resource read, whether or not it became a fact."""
        every = (item.source for item in self._gathered.items.values())
        return tuple(source for source in every if source not in self._left_out)

    def invalid(self, sources: Iterable[Source]) -> dict[Source, str]:
        """Those of `sources` whose elements that become facts are not valid FHIR, with the places of their faults.
        Unknown sources are passed over.

        What is checked is the resource after mending. Faults in other elements are counted in `facts.repairs`.
        """
        found: dict[Source, str] = {}
        for source in sources:
            item = self._gathered.items.get((source.type, source.id))
            verdict = self._verdict(item) if item is not None else ""
            if verdict == FAULT_ELSEWHERE and source not in self._faulty:
                self._faulty.add(source)
                self._repairs["fault_in_an_element_not_used"] = len(self._faulty)
            elif verdict and verdict != FAULT_ELSEWHERE and source not in self._doseless:
                found[source] = verdict
                self._gathered.reader.remark(str(source), f"not valid FHIR at {verdict.removeprefix(FAULT_IN_DOSES)}")
        return found

    def drafts_among(self, sources: Iterable[Source]) -> list[Source]:
        """Those of `sources` that stand among the draft orders."""
        found = ((source, self._gathered.items.get((source.type, source.id))) for source in sources)
        return [source for source, item in found if item is not None and item.draft]

    def resource(self, source: Source) -> dict[str, Any]:
        """The whole resource, mended; every number is the text that was sent, for `orjson.dumps` to write as it stands:
        0.10 is no 0.1 in FHIR. Raises KeyError if there is none."""
        raw = bytes(self._gathered.items[source.type, source.id].raw)
        return mend(json.loads(raw, parse_float=Fragment, parse_int=Fragment))[0]

    def without(self, sources: Iterable[Source]) -> Chart:
        """The same chart with these resources counted as unreadable in their inputs; of an order whose faults are all
        in its instructions, its doses alone are not read."""
        verdicts = ((source, self._gathered.items.get((source.type, source.id))) for source in sources)
        judged = {source: self._verdict(item) if item else "" for source, item in verdicts}
        doseless = {source for source, verdict in judged.items() if verdict.startswith(FAULT_IN_DOSES)}
        left_out = frozenset(judged) - doseless
        return Chart(self._gathered, self._left_out | left_out, self._doseless | doseless)

    def _verdict(self, item: Item) -> str:
        view = bytes(item.raw)
        announced = self._gathered.fhir_version
        digest = digest_of(view, bool(announced and announced.startswith("5")))
        verdict = known_verdict(digest)
        if verdict is None:
            # What is valid as it was sent needs no mending.
            resource = orjson.loads(view)
            verdict = validate(resource, digest, is_r5(resource, announced))
            if verdict:
                resource, _ = mend(resource)
                resource = spare_doses(resource, shown=False) or resource
                verdict = validate(resource, digest, is_r5(resource, announced))
        return verdict


def read_chart(
    *,
    patient_id: str,
    needs: Sequence[Need],
    prefetch: Mapping[str, bytes | Bundle],
    draft_orders: bytes | Bundle | None,
    selections: Sequence[str],
    vocabulary: Vocabulary,
    now: datetime,
    server: FhirServer | None,
    encounter_id: str | None = None,
    not_available: frozenset[str] = frozenset(),
    validate_all: bool = False,
    fhir_version: str | None = None,
    base: str | None = None,
    null_is: KeyState = "empty",
) -> Chart:
    """Reads one request.

    `prefetch`: raw JSON, or a searchset taken apart, by key. `draft_orders`: the Bundle, None for hooks without one.
    `now`: aware. `server`: where absent keys are read, None where nothing may be fetched. `encounter_id`: of the call,
    if it names one. `not_available`: keys that this EHR has no data for. `validate_all` validates every resource at
    once; the facts are the same. `base`: the FHIR server of the call, whether or not it may be read. `null_is`: what a
    prefetch value of null says, "empty" or "failed".

    Raises IdentityMismatch, UnsupportedFhirVersion, UnreadableInput.
    """
    check_announced(fhir_version)
    if not is_id(patient_id):
        raise UnreadableInput("context.patientId", "not a FHIR id")
    reader = Reader(patient_id, vocabulary.search_outcomes, base, null_is)
    gathered = _Gathered(reader, vocabulary, now, frozenset(map(_plain, selections)), fhir_version)
    absent: list[Need] = []
    for need in needs:
        if need.key in prefetch:
            where = f"prefetch.{need.key}"
            gathered.inputs.append(reader.read(need.key, need.resource_type, prefetch[need.key], where))
        elif need.key in not_available:
            gathered.inputs.append(Input(need.key, "not_available"))
        elif server is not None and (encounter_id or not need.in_encounter):
            absent.append(need)
        else:
            gathered.inputs.append(Input(need.key, "absent"))
    by_key = {need.key: need for need in needs}
    if server is not None:
        ids = {"context.patientId": patient_id} | ({"context.encounterId": encounter_id} if encounter_id else {})
        _fetch(gathered, absent, by_key, server, ids)
    if draft_orders is not None:
        gathered.inputs.append(_drafts(reader, draft_orders))
    reader.prove_identity()
    for each in gathered.inputs if reader.replaced else ():
        each.incomplete("the record of the patient gave way to another one")
    for each in gathered.inputs if reader.held else ():
        if each.key in by_key and by_key[each.key].resource_type in reader.held:
            each.incomplete("a resource holds what is not read")
    for each in gathered.inputs:
        _settle(each, by_key.get(each.key))
    _collect(gathered, server)
    chart = Chart(gathered)
    if validate_all:
        chart.invalid(chart.sources)
    return chart


def _drafts(reader: Reader, sent: bytes | Bundle) -> Input:
    result = reader.read(DRAFTS, "", sent, "context.draftOrders", draft=True)
    if result.state == "failed" or (isinstance(sent, bytes) and sent.strip() in (b"null", b"")):
        raise UnreadableInput("context.draftOrders", "not a Bundle")
    there = {f"{item.kind}/{item.id}" for item in result.items} | {f"urn:uuid:{item.id}" for item in result.items}
    result.unreadable += len(reader.grouped - there - reader.drafted_urls)
    return result


def _fetch(
    gathered: _Gathered,
    absent: Sequence[Need],
    needs: Mapping[str, Need],
    server: FhirServer,
    ids: Mapping[str, str],
) -> None:
    """Absent keys and further pages of given ones, all at the same time."""
    waiting: list[Input] = []
    urls: list[str] = []
    for each in gathered.inputs:
        if each.next_url:
            waiting.append(each)
            urls.append(each.next_url)
    for need in absent:
        try:
            urls.append(with_medications(fill(need.template, ids, gathered.now), need.resource_type))
        except ValueError:
            gathered.inputs.append(Input(need.key, "absent"))
            continue
        waiting.append(Input(need.key, "absent"))
    fetched: list[Input] = []
    for each, answer in zip(waiting, read_all(server, urls), strict=True):
        need = needs[each.key]
        if each.state != "absent":
            _add_pages(gathered.reader, each, answer, need.resource_type)
        elif isinstance(answer, FetchFailed):
            fetched.append(failed(each.key, answer.reason))
        else:
            fetched.append(_fetched(gathered.reader, need, answer))
    if any(needs[each.key].resource_type == "Patient" and each.reason == "not found" for each in fetched):
        # A search about a patient whom the server does not know finds nothing, which says nothing of this patient.
        fetched = [failed(each.key, "patient not found") if each.state == "empty" else each for each in fetched]
    gathered.inputs.extend(fetched)


def _fetched(reader: Reader, need: Need, pages: Pages) -> Input:
    result = reader.read(need.key, need.resource_type, pages.bodies[0], f"fetched.{need.key}")
    result.unsorted = pages.unsorted
    if result.state == "given":
        _add_pages(reader, result, Pages(pages.bodies[1:], pages.stopped), need.resource_type)
    _settle(result, need)
    if result.state == "given":
        result.state = "fetched"
    return result


def _settle(result: Input, need: Need | None) -> None:
    settle(result, need.resource_type if need else "", entries_asked(need.template) if need else None)


def _add_pages(reader: Reader, result: Input, answer: Pages | FetchFailed, wanted: str) -> None:
    if isinstance(answer, FetchFailed):
        result.state, result.reason = "incomplete", f"a further page was {answer.reason}"
        return
    for number, body in enumerate(answer.bodies, 2):
        if not reader.more(result, body, wanted, f"fetched.{result.key}.page[{number}]"):
            result.state, result.reason = "incomplete", "a further page was unreadable"
    if answer.stopped:
        result.state, result.reason = "incomplete", answer.stopped


def _collect(gathered: _Gathered, server: FhirServer | None) -> None:
    """One item per resource. Two that differ under one id are both unusable. A drafted order replaces the one that it
    changes; what else stands among the drafts, as its reason, takes nothing away from the chart."""
    torn: set[tuple[str, str]] = set()
    keys = {each.key: each for each in gathered.inputs}
    for each in gathered.inputs:
        for item in each.items:
            name = item.kind, item.id
            known = gathered.items.setdefault(name, item)
            if known is item:
                continue
            if item.draft and not known.draft:
                if item.kind in ORDERS:
                    gathered.items[name] = item
                    torn.discard(name)
            elif known.draft == item.draft and known.view != item.view:
                torn.add(name)
                each.unreadable += 1
            elif known.draft == item.draft and each.key not in (known.key, *known.also):
                known.also += (each.key,)
    for name in torn:
        item = gathered.items.pop(name)
        for key in (item.key, *item.also):
            keys[key].unreadable += 1
    reader = gathered.reader
    for item in gathered.items.values():
        if isinstance(item.view, ConditionView):
            reader.conditions[f"Condition/{item.id}"] = item.view.code
    if server is not None:
        named = medication_references(list(gathered.items.values()))
        if unknown := [name for name in named if name not in reader.medications]:
            reader.medications.update(fetch_medications(server, unknown))


def _build(
    gathered: _Gathered, left_out: frozenset[Source], doseless: frozenset[Source]
) -> tuple[PatientFacts, dict[str, int]]:
    """The facts, and their count of repairs, to which what is found later is added."""
    names, reader = {(source.type, source.id) for source in left_out} & gathered.items.keys(), gathered.reader
    building = Building(
        items=[
            item.without_doses() if doseless and item.source in doseless else item
            for name, item in gathered.items.items()
            if name not in names
        ],
        vocabulary=gathered.vocabulary,
        now=gathered.now,
        medications=reader.medications,
        conditions_by_id=reader.conditions,
        specimens=reader.specimens,
        selections=gathered.selections,
        modified=reader.modified,
        base=reader.base,
    )
    for name in names:
        building.lost(gathered.items[name])
    conditions = read_conditions(building)
    labs = read_labs(building)  # first: it sorts the other observations too
    repairs: dict[str, int] = {}
    facts = PatientFacts(
        now=gathered.now,
        person=read_person(building, conditions),
        conditions=conditions,
        medications=read_medications(building),
        ended=read_ended(building),
        given=read_given(building),
        labs=labs,
        intakes=read_intakes(building),
        inputs={each.key: each.availability(building.unreadable[each.key]) for each in gathered.inputs},
        unread={key: tuple(found) for key, found in building.unread.items()},
        repairs=repairs,
    )
    repairs.update(reader.repairs + building.repairs)
    for source in building.not_used:
        reader.remark(str(source), "its status, subject, code or a modifier leaves open what it says")
    return facts, repairs


def _plain(reference: str) -> str:
    """`Type/id` of a selection that may be written as a longer reference."""
    return "/".join(reference.split("/")[-2:])
