"""Patient, pregnancy, lactation and encounter class."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal, cast

import orjson

from cds_service.fhir.building import HL7, Building, has_subject
from cds_service.fhir.dates import Moment, days_covered, has_ended, read_moment
from cds_service.fhir.elements import Encounter, Observation, Patient
from cds_service.fhir.inputs import when_taken
from cds_service.fhir.labs import NOT_USED, USED
from cds_service.patient import PREGNANCY, Condition, Person, Source

# A day without a time zone may already have begun elsewhere.
_EARLIEST_ZONE = timedelta(hours=14)
LACTATION = "lactation"
_GOING_ON = frozenset({"in-progress", "arrived", "triaged", "onleave", "on-hold"})
_NOT_NOW = frozenset(
    {"planned", "finished", "cancelled", "entered-in-error", "discharged", "completed", "discontinued"}
)
_LONGEST_CLASS = 20  # characters


def read_person(building: Building, conditions: tuple[Condition, ...]) -> Person:
    """Who the patient is; what is not known is None."""
    item, view = next(building.of(Patient), (None, None))
    pregnant, pregnant_source = _state(building, PREGNANCY, conditions)
    lactating, lactating_source = _state(building, LACTATION, conditions)
    years = days = sex = between = None
    deceased = False
    if item is not None and view is not None:
        years, days, between = age(view.birthDate, building.now.date())
        sex = cast("Literal['male', 'female'] | None", view.gender if view.gender in ("male", "female") else None)
        died = _died(view)
        deceased = died is True
        if died is None or (view.birthDate and days_covered(view.birthDate) is None):
            building.lost(item)
    return Person(
        source=item.source if item else None,
        age_years=years,
        age_days=days,
        sex=sex,
        pregnant=pregnant,
        pregnant_source=pregnant_source,
        lactating=lactating,
        lactating_source=lactating_source,
        encounter_class=_encounter_class(building),
        deceased=deceased,
        age_range=between,
    )


def _died(view: Patient) -> bool | None:
    """Whether the patient is recorded as dead; None where what is said of it cannot be read."""
    said, when = (orjson.loads(bytes(raw) or b"null") for raw in (view.deceasedBoolean, view.deceasedDateTime))
    if said is True or (isinstance(when, str) and read_moment(when) is not None):
        return True
    return False if when is None and (said is None or said is False) else None


def age(birth_date: str | None, today: date) -> tuple[int | None, int | None, tuple[int, int] | None]:
    """Completed years and days, None where the date is missing, in the future, or too vague to tell; and the least and
    most years of a date that is a year or a month, where they are not the same."""
    span = days_covered(birth_date)
    if span is None or span[1] > today:
        return None, None, None
    oldest, youngest = _years(span[0], today), _years(span[1], today)
    if oldest != youngest:
        return None, None, (youngest, oldest)
    return oldest, (today - span[0]).days if span[0] == span[1] else None, None


def _years(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _state(building: Building, concept: str, conditions: tuple[Condition, ...]) -> tuple[bool | None, Source | None]:
    """The newest coded answer that still holds; without one, an active condition, which never overrules an answer."""
    told: list[tuple[Moment, bool | None, Source]] = []
    for item, _ in building.observed.get(f"{concept}_status", ()):
        view = cast(Observation, item.view)
        if view.status in NOT_USED:
            continue
        if view.status not in USED:
            building.lost(item)
            continue
        moment = read_moment(when_taken(view), building.now.tzinfo)
        answer = _answer(building, view, f"{concept}_status")
        if moment is None or not has_subject(view) or moment.at > building.now + _EARLIEST_ZONE:
            building.lost(item)
        else:
            told.append((moment, answer, item.source))
    oldest = building.now - building.vocabulary.holds[concept]
    if told and (newest := max(told, key=lambda one: one[0].latest))[0].latest >= oldest:
        moment, answer, source = newest
        others = {one[1] for one in told if one[0].latest >= moment.at or one[0].may_share_a_day(moment)}
        if others == {answer} and answer is not None and moment.at >= oldest:
            return answer, source
        return None, None
    condition = next((c for c in conditions if concept in c.concepts and not c.provisional), None)
    return (True, condition.source) if condition else (None, None)


def _answer(building: Building, view: Observation, concept: str) -> bool | None:
    for coding in view.valueCodeableConcept.coding or () if view.valueCodeableConcept else ():
        meaning = building.vocabulary.answer(concept, coding.system, coding.code)
        if meaning in ("yes", "no"):
            return meaning == "yes"
    return {b"true": True, b"false": False}.get(bytes(view.valueBoolean))


def _encounter_class(building: Building) -> str | None:
    """The class code of the encounters that are going on. One that may be, and does not say so or of which class it is,
    is not read; nor are those of different classes, of which nobody knows where the patient is."""
    going_on = [(item, view) for item, view in building.of(Encounter) if not _is_over(view, building.now)]
    codes = {_class_code(building, view) if view.status in _GOING_ON else None for _, view in going_on}
    if len(codes) == 1 and (code := codes.pop()):
        return code
    for item, _ in going_on:
        building.lost(item)
    return None


def _is_over(view: Encounter, now: datetime) -> bool:
    """By its status; by its end, where that says nothing."""
    if view.status in _GOING_ON:
        return False
    return view.status in _NOT_NOW or (view.period is not None and has_ended(view.period.end, now))


def _class_code(building: Building, view: Encounter) -> str | None:
    """Its code of HL7's, or that for which a code of the site's own stands; where there is none, its first. R4 has one
    Coding, R5 a list of CodeableConcepts."""
    value = orjson.loads(bytes(view.class_) or b"null")
    codes: list[tuple[bool, str]] = []
    for each in value if isinstance(value, list) else [value]:
        codings = each.get("coding", [each]) if isinstance(each, dict) else []
        for coding in codings if isinstance(codings, list) else []:
            code = coding.get("code") if isinstance(coding, dict) else None
            if not isinstance(code, str):
                continue
            system = coding["system"] if isinstance(coding.get("system"), str) else ""
            if own := building.vocabulary.encounter_class(system, code):
                codes.append((True, own))
            elif len(code) <= _LONGEST_CLASS and code.isalnum():
                codes.append((system.startswith(HL7), code))
    return max(codes, key=lambda one: one[0])[1] if codes else None
