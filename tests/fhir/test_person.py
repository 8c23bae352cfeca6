"""Age, sex, pregnancy, breastfeeding, encounter."""

from datetime import date

import pytest

from cds_service.fhir import Need
from cds_service.fhir.person import age
from cds_service.patient import Source
from tests.fhir.charts import NEEDS, NOW, SNOMED, about, bundle, coded, condition, observation, patient, read

PREGNANT, NOT_PREGNANT = "77386006", "60001007"


@pytest.mark.parametrize(
    ("born", "years", "days", "between"),
    [
        ("1968-11-21", 58, 21184, None),
        ("1968-11-22", 57, 21183, None),
        ("2026-11-21", 0, 0, None),
        ("2024-02-29", 2, 996, None),
        ("1968", None, None, (57, 58)),
        ("1968-11", None, None, (57, 58)),
        ("1968-03", 58, None, None),
        ("2026-11-22", None, None, None),
        ("1868-01-01", 158, 58033, None),
        ("bad", None, None, None),
        (None, None, None, None),
    ],
)
def test_age_is_given_only_where_the_birth_date_leaves_no_doubt(
    born: str | None, years: int | None, days: int | None, between: tuple[int, int] | None
) -> None:
    assert age(born, NOW.date()) == (years, days, between)


def test_a_birthday_on_a_leap_day_comes_on_the_first_of_march() -> None:
    assert age("2000-02-29", date(2026, 2, 28))[0] == 25
    assert age("2000-02-29", date(2026, 3, 1))[0] == 26


def test_an_unreadable_birth_date_is_counted() -> None:
    assert read(patient=patient(birthDate="21.11.1968")).facts.inputs["patient"].unreadable == 1


@pytest.mark.parametrize(
    ("gender", "sex"), [("male", "male"), ("female", "female"), ("other", None), ("unknown", None)]
)
def test_sex(gender: str, sex: str | None) -> None:
    assert read(patient=patient(gender=gender)).facts.person.sex == sex


def test_nothing_is_known_of_a_patient_who_is_not_sent() -> None:
    person = read().facts.person
    assert (person.source, person.age_years, person.sex, person.pregnant) == (None, None, None, None)


@pytest.mark.parametrize("death", [{"deceasedBoolean": True}, {"deceasedDateTime": "2026-01-01"}])
def test_a_recorded_death_is_read(death: dict[str, object]) -> None:
    assert read(patient=patient(**death)).facts.person.deceased
    assert not read(patient=patient(deceasedBoolean=False)).facts.person.deceased


def status(answer: object, **more: object) -> dict[str, object]:
    return observation("82810-3", valueCodeableConcept=answer, **more)


def test_pregnancy_is_read_from_its_observation() -> None:
    person = read(pregnancy=bundle(status(coded(PREGNANT)))).facts.person
    assert (person.pregnant, person.pregnant_source) == (True, Source("Observation", "obs"))
    assert read(pregnancy=bundle(status(coded(NOT_PREGNANT)))).facts.person.pregnant is False
    assert read(pregnancy=bundle(status(coded("LA15173-0", "http://loinc.org")))).facts.person.pregnant is True


def test_the_newest_answer_counts() -> None:
    old = status(coded(PREGNANT), id="old", effectiveDateTime="2026-08-10")
    new = status(coded(NOT_PREGNANT), id="new", effectiveDateTime="2026-11-01")
    assert read(pregnancy=bundle(old, new)).facts.person.pregnant is False


def test_two_opposite_answers_at_one_time_are_no_answer() -> None:
    both = bundle(status(coded(PREGNANT), id="a"), status(coded(NOT_PREGNANT), id="b"))
    assert read(pregnancy=both).facts.person.pregnant is None


@pytest.mark.parametrize(
    "answer", [coded("102874004"), {"text": "pregnant"}, coded(PREGNANT, "http://x.example"), None]
)
def test_an_answer_that_says_nothing_is_none(answer: object) -> None:
    assert read(pregnancy=bundle(status(answer))).facts.person.pregnant is None


def test_an_old_yes_no_longer_holds() -> None:
    long_ago = status(coded(PREGNANT), effectiveDateTime="2025-11-01")
    assert read(pregnancy=bundle(long_ago)).facts.person.pregnant is None


def test_an_answer_entered_in_error_is_none() -> None:
    assert read(pregnancy=bundle(status(coded(PREGNANT), status="entered-in-error"))).facts.person.pregnant is None


def test_pregnancy_is_read_from_the_problem_list_where_no_answer_is_dated() -> None:
    listed = read(conditions=bundle(condition(PREGNANT))).facts.person
    assert (listed.pregnant, listed.pregnant_source) == (True, Source("Condition", "ms"))
    denied = read(conditions=bundle(condition(PREGNANT)), pregnancy=bundle(status(coded(NOT_PREGNANT)))).facts.person
    assert denied.pregnant is False


def test_breastfeeding_is_read_like_pregnancy() -> None:
    feeding = observation("63895-7", valueCodeableConcept=coded("LA29252-6", "http://loinc.org"))
    person = read(pregnancy=bundle(feeding)).facts.person
    assert (person.lactating, person.pregnant) == (True, None)


@pytest.mark.parametrize(
    "kind",
    [
        {"system": SNOMED, "code": "EMER"},
        [{"coding": [{"code": "EMER"}]}],
    ],
)
def test_the_class_of_an_encounter_that_is_going_on(kind: object) -> None:
    visit = {"resourceType": "Encounter", "id": "e", "status": "in-progress", "subject": about(), "class": kind}
    needs = (*NEEDS, Need("encounter", "Encounter", "Encounter?patient={{context.patientId}}"))
    assert read(needs=needs, encounter=bundle(visit)).facts.person.encounter_class == "EMER"
    over = visit | {"status": "finished"}
    assert read(needs=needs, encounter=bundle(over)).facts.person.encounter_class is None


def test_a_dated_intake_is_read_and_one_in_another_unit_is_not() -> None:
    def intake(value: object, unit: str) -> object:
        quantity = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
        facts = read(intake=bundle(observation("81005-1", valueQuantity=quantity))).facts
        return str(facts.intakes[0].mg_per_day), facts.intakes[0].problem

    assert intake(210, "mg/d") == ("210", "")
    assert intake(0.21, "g/d") == ("210.00", "")
    assert intake(210, "mg") == ("None", "unit does not fit this test")
