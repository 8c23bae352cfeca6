"""MedicationRequest and MedicationStatement to facts: what is taken, and what is being ordered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Literal

from msgspec.json import Decoder

from cds_service.content.concept import INJECTED_SALT, MAGNESIUM
from cds_service.fhir.building import Building, has_subject, target
from cds_service.fhir.courses import Course, course_of, one_after_another
from cds_service.fhir.dates import has_ended, read_day, read_moment
from cds_service.fhir.dosage import at_a_rate, read_dosages
from cds_service.fhir.elements import (
    NOTHING,
    Adherence,
    Concept,
    DosageView,
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
    Reference,
    Stated,
)
from cds_service.fhir.identity import is_elsewhere, server_of, split_reference
from cds_service.fhir.injections import read_injections
from cds_service.fhir.inputs import Item
from cds_service.fhir.naming import Drafted, Listed, Named, decoded, medicine_reference, named_in
from cds_service.fhir.routes import route_of
from cds_service.patient import ENDED, Dosage, Injection, Medication, Source
from cds_service.rules.amounts import ORAL

_REQUEST_OVER = frozenset({"on-hold", "stopped", "completed", "cancelled", "entered-in-error", "draft", "ended"})
_ORDER_ENDED = frozenset({"completed", "stopped", "ended"})
_STATEMENT_OVER = frozenset({"completed", "entered-in-error", "intended", "stopped", "on-hold", "not-taken", "draft"})
# Statuses that say whether a medicine is taken, of orders, statements and administrations.
_CLEAR = _REQUEST_OVER | _STATEMENT_OVER | {"active", "in-progress", "not-done"}
_read_stated = Decoder(Stated).decode
_read_reference = Decoder(Reference | None).decode
_read_references = Decoder(list[Reference | None] | None).decode
_read_adherence = Decoder(Adherence).decode
Status = Literal["active", "draft", "ended", "given"]


def read_medications(building: Building) -> tuple[Medication, ...]:
    """Active and drafted medicines: orders, then statements, in the order sent."""
    found = []
    pairs: list[tuple[Item, Drafted]] = [*building.of(MedicationRequest), *building.of(MedicationStatement)]
    for item, view in pairs:
        medication = _read(building, item, view)
        if medication is not None:
            found.append(medication)
    return tuple(found)


def read_ended(building: Building) -> tuple[Medication, ...]:
    """Orders that were in force and are over, in the order sent. What was cancelled never was in force."""
    found = []
    for item, view in building.of(MedicationRequest):
        if item.draft or view.status not in _ORDER_ENDED or not has_subject(view) or _not_to_be_done(view):
            continue
        named = named_in(building, item, view)
        if named is None:
            building.unreadable[ENDED] += 1  # whichever input it came in: the others are about what is in force
        elif named.of_others:
            found.append(_of_others(item, named, "ended"))
        else:
            instructions = view.dosageInstruction or ()
            dosages = read_dosages(instructions, Course(read_day(view.authoredOn)), building.vocabulary)
            until, at = _until(building, view, dosages), _last_moment(building, view)
            found.append(medication_of(building, item, view, named, instructions, dosages, "ended", at, until))
    return tuple(found)


def _until(building: Building, view: MedicationRequest, dosages: tuple[Dosage, ...]) -> date | None:
    """The latest day, not in the future, that the order itself names."""
    period = view.dispenseRequest.validityPeriod if view.dispenseRequest else None
    named = [read_day(view.authoredOn), *(d.end for d in dosages), read_day(period.end) if period else None]
    return max((day for day in named if day is not None and day <= building.now.date()), default=None)


def _last_moment(building: Building, view: MedicationRequest) -> datetime | None:
    """The latest moment, not in the future, that the order itself names; of a day its start."""
    repeats = [each.timing.repeat for each in view.dosageInstruction or () if each.timing and each.timing.repeat]
    ends = [repeat.boundsPeriod.end for repeat in repeats if repeat.boundsPeriod]
    moments = [read_moment(text, building.now.tzinfo) for text in (view.authoredOn, *ends)]
    return max((moment.at for moment in moments if moment and moment.at <= building.now), default=None)


def _not_to_be_done(view: MedicationRequest) -> bool:
    return view.doNotPerform is not NOTHING and bytes(view.doNotPerform) == b"true"


def finds_status(status: object, asked: Collection[str]) -> bool:
    """Whether what is at hand is taken for what a search for these statuses finds: also a medicine whose status says
    nothing clear (`unknown`, none, no code of FHIR's), which may be taken."""
    return not isinstance(status, str) or status in asked or status not in _CLEAR


def medication_references(items: list[Item]) -> list[str]:
    """References to a Medication that is not contained, each once, in order; none of an order that has ended."""
    found: dict[str, None] = {}
    for item in items:
        view = item.view
        if isinstance(view, MedicationAdministration) or (
            isinstance(view, MedicationRequest | MedicationStatement) and view.status not in _ORDER_ENDED
        ):
            reference = target(medicine_reference(view))
            if reference and not reference.startswith("#"):
                found[reference] = None
    return list(found)


def _read(building: Building, item: Item, view: Drafted) -> Medication | None:
    if not has_subject(view):
        building.lost(item)
        return None
    if isinstance(view, MedicationRequest):
        if view.intent is None:
            building.repairs["intent_missing"] += 1
        if _not_to_be_done(view):
            return None
        instructions, authored = view.dosageInstruction, view.authoredOn
        not_in_force, course = _REQUEST_OVER, course_of(view, building.vocabulary.units)
    else:
        instructions, authored = view.dosage, view.effectiveDateTime or view.dateAsserted
        not_in_force, course = _STATEMENT_OVER, Course(read_day(authored))
    if not item.draft:
        if view.status in not_in_force:
            return None
        if view.status not in ("active", "recorded") or (
            view.status == "recorded" and not isinstance(view, MedicationStatement)
        ):
            # Whether another medicine is taken is nothing to any rule.
            named = named_in(building, item, view)
            if named is None or not named.of_others:
                building.lost(item)
            return None
    named, over = named_in(building, item, view), None if item.draft else _over(building, view, course)
    if named is not None and named.of_others and over is None and str(item.source) not in building.selections:
        return _of_others(item, named, "draft" if item.draft else "active")
    # What is being ordered now has all of its time before it.
    course = Course(course.authored) if item.draft else course
    dosages = read_dosages(instructions, course, building.vocabulary) if instructions else ()
    if not item.draft:
        dosages = one_after_another(dosages, course)
    if not item.draft and dosages and all(d.end is not None and d.end < building.now.date() for d in dosages):
        if course.last is not None and course.last >= building.now.date():  # it may have been dispensed late
            building.repairs["active_order_ended"] += 1
        return None
    if over is not None:
        building.repairs.update(over)
        return None
    if named is None:
        building.lost(item)
        return None
    moment = read_moment(authored, building.now.tzinfo)
    status: Status = "draft" if item.draft else "active"
    at = moment.at if moment else None
    return medication_of(building, item, view, named, instructions or (), dosages, status, at)


def _of_others(item: Item, named: Named, status: Status) -> Medication:
    """A medicine known to be none of ours. How it is taken is nothing to any rule, and is not read."""
    by = named.identity.identified_by
    return Medication(source=item.source, status=status, name=named.name, identified_by=by, others=True)


def medication_of(
    building: Building,
    item: Item,
    view: Listed,
    named: Named,
    instructions: Sequence[DosageView],
    dosages: tuple[Dosage, ...],
    status: Status,
    at: datetime | None,
    until: date | None = None,
) -> Medication:
    """The medicine that an order, a statement or an administration names."""
    vocabulary, identity, name, source = building.vocabulary, named.identity, named.name, item.source
    if named.kept_apart:
        dosages = tuple(replace(d, kept_apart_from=d.kept_apart_from | named.kept_apart) for d in dosages)
    components, route = identity.components, route_of(instructions, identity.route, vocabulary)
    injections: tuple[Injection, ...] = ()
    ours = MAGNESIUM in identity.drugs
    if ours and not any(part.strength for part in components):
        components = vocabulary.product_called(name, identity.drugs) or components
    if ours and route not in ORAL:
        authored = read_day(view.authoredOn) if isinstance(view, MedicationRequest) else None
        injections = read_injections(instructions, name, authored, vocabulary)
        timed = any(each.minutes or each.rate for injection in injections for each in injection.doses)
        if route == "unknown":
            # "4 g over 20 min" is no way to swallow it.
            route = "intravenous" if timed and INJECTED_SALT in identity.drugs else route
            injections = injections if route == "intravenous" else ()
    words = [name, *(dosage.text for dosage in dosages)] if ours else []
    return Medication(
        source=source,
        status=status,
        name=name,
        drugs=identity.drugs,
        identified_by=identity.identified_by,
        conflict=identity.conflict,
        others=identity.others,
        route=route,
        form=identity.form or (vocabulary.drug([], named.form).form if named.form else None),
        components=components,
        product_coded=identity.product_coded,
        elemental=identity.elemental,
        dosages=dosages,
        injections=injections,
        reasons=_reasons(building, view),
        replaces=_replaced(building, view),
        since=_since(view),
        until=until,
        at=at,
        continuous=ours
        and (any(at_a_rate(each, vocabulary.units) for each in instructions) or vocabulary.says_continuous(words)),
        obstetric=ours and vocabulary.says_obstetric(words),
        selected=bool(building.selections) and str(source) in building.selections,
    )


def _replaced(building: Building, view: Listed) -> frozenset[Source]:
    """The orders on this server that an order takes the place of, or that a statement is made from."""
    named: list[Reference | None] = []
    if isinstance(view, MedicationRequest):
        named = [decoded(_read_reference, view.priorPrescription)]
    elif isinstance(view, MedicationStatement):
        named = [each for raw in (view.basedOn, view.derivedFrom) for each in decoded(_read_references, raw) or ()]
    found = set()
    for reference in map(target, named):
        if is_elsewhere(reference, building.base) or (building.base is None and server_of(reference)):
            continue  # another server's order is not the one of the same id here
        parts = split_reference(reference)
        if parts and parts[0] == "MedicationRequest":
            found.add(Source(*parts))
    return frozenset(found)


def _since(view: Listed) -> date | None:
    """The day on which it was ordered, or from which it is said to be taken or given; None where that is not a day."""
    if isinstance(view, MedicationRequest):
        said = view.authoredOn
    else:
        said = (view.effectivePeriod.start if view.effectivePeriod else None) or view.effectiveDateTime
    return read_day(said)


def _reasons(building: Building, view: Listed) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    if not (view.reasonCode or view.reasonReference or view.reason):
        return found
    references = list(view.reasonReference or ())
    for concept in view.reasonCode or ():
        found |= building.condition_concepts(concept)
    for reason in view.reason or ():
        found |= building.condition_concepts(reason.concept)
        references += [reason.reference] if reason.reference else []
    for reference in references:
        parts = split_reference(target(reference))
        key = "/".join(parts) if parts else target(reference)
        found |= building.condition_concepts(building.conditions_by_id.get(key))
    return found


def _over(building: Building, view: Drafted, course: Course) -> tuple[str, ...] | None:
    """Whether what was ordered is over although the order still says `active`: the repairs that this is; else None."""
    if _not_taken(building, view):
        return ("recorded_as_not_taken",)
    if isinstance(view, MedicationStatement):
        period = view.effectivePeriod
        return () if period is not None and has_ended(period.end, building.now) else None
    # An order that may no longer be dispensed is still taken, unless it is known that the last supply is used up.
    used_up = course.used_up
    return ("active_order_ended",) if used_up is not None and used_up < building.now.date() else None


def _not_taken(building: Building, view: Drafted) -> bool:
    """Whether the chart says that the patient does not take it: in R5's own element, or in the extension of US Core.
    Two that disagree say nothing."""
    concepts: list[Concept | None] = []
    if isinstance(view, MedicationStatement) and (adherence := decoded(_read_adherence, view.adherence)):
        concepts.append(adherence.code)
    for raw in view.extension or ():
        stated = decoded(_read_stated, raw)
        if stated is not None and stated.url == building.vocabulary.adherence:
            concepts += [each.valueCodeableConcept for each in stated.extension or () if each.valueCodeableConcept]
    says = building.vocabulary.says_not_taken
    return bool(concepts) and all(
        any(says(coding.system, coding.code) for coding in (concept.coding or ())) if concept else False
        for concept in concepts
    )
