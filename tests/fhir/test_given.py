"""What is being given and what was given: MedicationAdministration, read as an order is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cds_service.patient import Medication, PatientFacts
from tests.fhir.charts import RXNORM, about, bundle, coded, order, read

SULFATE = {"coding": [{"system": RXNORM, "code": "6585", "display": "magnesium sulfate"}]}
THE_MEDICATION = {"resourceType": "Medication", "id": "m1", "code": SULFATE}
KEY = "medication_administrations"


def administration(**changes: Any) -> dict[str, Any]:
    """An infusion that has gone on for some hours."""
    made = {
        "resourceType": "MedicationAdministration",
        "id": "given",
        "status": "in-progress",
        "medicationCodeableConcept": SULFATE,
        "subject": about(),
        "effectivePeriod": {"start": "2026-11-21T06:00:00Z"},
        "dosage": {"text": "1 g/h", "route": coded("47625008")},
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def facts_of(*resources: dict[str, Any]) -> PatientFacts:
    return read(**{KEY: bundle(*resources)}).facts


def given(**changes: Any) -> Medication:
    (found,) = facts_of(administration(**changes)).given
    return found


def test_an_infusion_that_goes_on_is_kept_apart_from_the_orders() -> None:
    facts = facts_of(administration())
    (found,) = facts.given
    assert facts.medications == () and facts.inputs[KEY].complete
    assert (found.status, found.runs, found.at) == ("given", True, None)
    assert (found.route, found.continuous, str(found.since)) == ("intravenous", True, "2026-11-21")
    assert {"magnesium_sulfate", "magnesium"} <= found.drugs


@pytest.mark.parametrize("status", ["completed", "stopped", "on-hold"])
def test_what_was_given_says_when_it_was_given_last(status: str) -> None:
    found = given(status=status, effectivePeriod={"start": "2026-11-20T06:00:00Z", "end": "2026-11-20T18:30:00Z"})
    assert (found.runs, found.at) == (False, datetime(2026, 11, 20, 18, 30, tzinfo=UTC))


def test_a_single_dose_was_given_at_its_time() -> None:
    found = given(status="completed", effectivePeriod=None, effectiveDateTime="2026-11-21T05:00:00Z")
    assert (found.runs, found.at) == (False, datetime(2026, 11, 21, 5, tzinfo=UTC))


def test_an_end_in_the_past_ends_what_is_said_to_go_on() -> None:
    found = given(effectivePeriod={"start": "2026-11-20T06:00:00Z", "end": "2026-11-20T18:00:00Z"})
    assert (found.runs, found.at) == (False, datetime(2026, 11, 20, 18, tzinfo=UTC))


@pytest.mark.parametrize("status", ["not-done", "entered-in-error"])
def test_what_was_not_given_is_no_fact_and_no_gap(status: str) -> None:
    facts = facts_of(administration(status=status))
    assert facts.given == () and facts.inputs[KEY].complete


def test_what_is_planned_for_later_was_not_given() -> None:
    facts = facts_of(administration(effectivePeriod={"start": "2026-11-23T06:00:00Z"}))
    assert facts.given == () and facts.inputs[KEY].complete


@pytest.mark.parametrize(
    "fault",
    [
        {"status": "unknown"},
        {"status": None},
        {"effectivePeriod": None},
        {"effectivePeriod": {"start": "yesterday"}},
        {"medicationCodeableConcept": None},
        {"subject": None},
        {"notGiven": True},
        {"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]},
    ],
)
def test_what_cannot_be_read_is_counted(fault: dict[str, Any]) -> None:
    facts = read(**{KEY: bundle(administration(**fault)), "medications": bundle(order())}).facts
    assert facts.given == ()
    assert facts.inputs[KEY].unreadable == 1
    assert facts.inputs["medications"].complete


@pytest.mark.parametrize(
    "rate",
    [
        {"rateQuantity": {"value": 1, "unit": "g/h", "system": "http://unitsofmeasure.org", "code": "g/h"}},
        {"rateQuantity": {"value": 25, "unit": "mL/hr"}},
        {
            "rateRatio": {
                "numerator": {"value": 24, "unit": "g"},
                "denominator": {"value": 24, "unit": "h", "code": "h"},
            }
        },
        {"rateRatio": {"numerator": {"value": 24, "unit": "g"}, "denominator": {"value": 1, "unit": "d", "code": "d"}}},
    ],
)
def test_a_rate_by_the_hour_goes_on(rate: dict[str, Any]) -> None:
    assert given(dosage={"route": coded("47625008"), **rate}).continuous


@pytest.mark.parametrize(
    "dosage",
    [
        {"dose": {"value": 2, "unit": "g", "code": "g", "system": "http://unitsofmeasure.org"}},
        {"text": "2 g IV infusion over 20 minutes"},
        {"rateQuantity": {"value": 150, "unit": "mg/min"}},
        {"rateRatio": {"numerator": {"value": 50, "unit": "mL"}, "denominator": {"value": 20, "unit": "min"}}},
        {"rateQuantity": {"value": 1, "unit": "g"}},
        {"rateQuantity": "fast"},
    ],
)
def test_a_dose_over_minutes_does_not_go_on(dosage: dict[str, Any]) -> None:
    assert not given(dosage={"route": coded("47625008"), **dosage}).continuous


@pytest.mark.parametrize(
    "text",
    ["Magnesium sulfate 1 g/h infusion", "25 mL/hr", "Dauerinfusion 1 g/Std", "perfusion continue 1 g/heure",
     "1 g por hora", "infusione continua", "continu infuus", "kontinuerlig infusion", "24 g over 24 hours"],
)  # fmt: skip
def test_words_of_an_order_say_that_it_goes_on(text: str) -> None:
    sent = order(medicationCodeableConcept=SULFATE, dosageInstruction=[{"text": text, "route": coded("47625008")}])
    assert read(medications=bundle(sent)).facts.medications[0].continuous


@pytest.mark.parametrize("text", ["2 g IV once", "4 g over 20 min", "1 g every 6 hours", "2 g in 50 mL IV infusion"])
def test_words_of_a_dose_do_not(text: str) -> None:
    sent = order(medicationCodeableConcept=SULFATE, dosageInstruction=[{"text": text, "route": coded("47625008")}])
    assert not read(medications=bundle(sent)).facts.medications[0].continuous


def test_words_of_an_order_name_an_obstetric_use() -> None:
    for text in ("4 g loading dose for fetal neuroprotection", "bei Präeklampsie", "prééclampsie sévère"):
        sent = order(medicationCodeableConcept=SULFATE, dosageInstruction=[{"text": text}])
        assert read(medications=bundle(sent)).facts.medications[0].obstetric, text
    assert not given(dosage={"text": "for asthma"}).obstetric


def test_a_medication_that_is_referred_to_is_found_in_the_same_answer() -> None:
    referred = administration(medicationCodeableConcept=None, medicationReference={"reference": "Medication/m1"})
    assert "magnesium_sulfate" in facts_of(referred, THE_MEDICATION).given[0].drugs


def test_r5_spells_time_and_medicine_in_its_own_way() -> None:
    sent = administration(
        medicationCodeableConcept=None,
        medication={"concept": SULFATE},
        effectivePeriod=None,
        occurencePeriod={"start": "2026-11-21T06:00:00Z"},
    )
    (found,) = facts_of(sent).given
    assert found.runs and "magnesium_sulfate" in found.drugs


def test_of_many_administrations_the_newest_are_enough() -> None:
    sent = bundle(administration(), administration(id="earlier", effectivePeriod={"start": "2026-11-18T06:00:00Z"}))
    assert read(**{KEY: sent | {"total": 9}}).facts.inputs[KEY].newest_first
