"""MedicationAdministration to facts: what is being given, and what was given and when."""

from __future__ import annotations

from dataclasses import replace

from cds_service.fhir.building import Building, has_subject
from cds_service.fhir.courses import Course
from cds_service.fhir.dates import has_ended, read_day, read_moment
from cds_service.fhir.dosage import read_dosages
from cds_service.fhir.elements import DosageView, DoseAndRate, GivenDosage, MedicationAdministration
from cds_service.fhir.inputs import given_from_to
from cds_service.fhir.medications import medication_of
from cds_service.fhir.naming import named_in
from cds_service.patient import GIVEN, Medication

_WAS_GIVEN = frozenset({"in-progress", "completed", "stopped", "on-hold"})
_NOT_GIVEN = frozenset({"not-done", "entered-in-error"})


def read_given(building: Building) -> tuple[Medication, ...]:
    """Administrations, in the order sent. One without a time, or with a status that says nothing, is unreadable."""
    found = []
    for item, view in building.of(MedicationAdministration):
        if view.status in _NOT_GIVEN:
            continue
        if item.draft:
            building.lost(item)  # what is given is no order
            continue
        start, end = given_from_to(view)
        began, named = read_moment(start, building.now.tzinfo), None
        if began is not None and view.status in _WAS_GIVEN and has_subject(view):
            named = named_in(building, item, view)
        if named is None or began is None:
            building.unreadable[GIVEN] += 1  # whichever input it came in: the others are about orders
        elif began.at <= building.now:
            goes_on = view.status == "in-progress" and not has_ended(end, building.now)
            ended = read_moment(end, building.now.tzinfo) or began
            if ended.vague and ended.latest > building.now and not goes_on:
                building.unreadable[GIVEN] += 1  # nobody knows how long ago
                continue
            last = ended.latest
            at = None if goes_on else min(last, building.now)
            given = [_as_ordered(view.dosage or GivenDosage())]
            dosages = read_dosages(given, Course(), building.vocabulary)
            medication = medication_of(building, item, view, named, given, dosages, "given", at)
            found.append(replace(medication, since=read_day(start), runs=goes_on))
    return tuple(found)


def _as_ordered(given: GivenDosage) -> DosageView:
    """The dosage in the form of an order's, so that both are read alike."""
    amounts = DoseAndRate(doseQuantity=given.dose, rateQuantity=given.rateQuantity, rateRatio=given.rateRatio)
    return DosageView(text=given.text, route=given.route, doseAndRate=[amounts])
