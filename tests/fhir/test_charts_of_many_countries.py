"""Charts that are coded and written as hospitals in many countries do it, from the call to the card."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.fhir.charts import (
    LOINC,
    SNOMED,
    Json,
    answer,
    bundle,
    coded,
    condition,
    fired,
    magnesium,
    order,
    statement,
)

NEW = {"effectiveDateTime": "2026-11-20T08:00:00Z"}
OXIDE = order(id="d1", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"})
KIDNEY_FAILURE = "magnesium_with_kidney_failure"


def sulfate(**dosage: object) -> Json:
    grams = {"doseQuantity": {"value": 2, "unit": "g", "system": "http://unitsofmeasure.org", "code": "g"}}
    given = {"text": "2 g once", "doseAndRate": [grams], **dosage}
    name = {"text": "Magnesium sulfate 2 g/50 mL"}
    return order(id="d1", status="draft", medicationCodeableConcept=name, dosageInstruction=[given])


def lab(code: str, value: float, unit: str, system: str = LOINC, **more: object) -> Json:
    return magnesium() | {"code": coded(code, system), "valueQuantity": {"value": value, "unit": unit}} | NEW | more


def critical(told: Json) -> str:
    return " ".join(card["summary"] for card in told["cards"] if card["indicator"] == "critical")


@pytest.mark.parametrize(
    "result",
    [
        lab("59826-8", 400, "umol/L"),
        lab("14682-9", 400, "UMOL/L"),
        lab("2160-0", 400, "umol/L"),
        lab("NPU18016", 400, "\u00b5mol/L", "urn:oid:1.2.208.176.2.1"),
        lab("1000731000000107", 400, "micromol/L", SNOMED),
        lab("62238-1", 12, "mL/min/1.73m*2"),
        lab("62238-1", 12, "ml/min/1,73 m\u00b2"),
        lab("70969-1", 12, "mL/min/{1.73_m2}"),
    ],
)
def test_kidney_failure_is_seen_when_magnesium_is_ordered(client: FlaskClient, result: Json) -> None:
    assert KIDNEY_FAILURE in fired(answer(client, "order-sign", drafts=[OXIDE], kidney=bundle(result)))


@pytest.mark.parametrize("result", [lab("62238-1", 12, "ML/MIN"), lab("62238-1", 12, ""), lab("2160-0", 12, "umol/L")])
def test_a_kidney_result_that_could_be_two_things_is_said_not_to_be_known(client: FlaskClient, result: Json) -> None:
    told = answer(client, "order-sign", drafts=[OXIDE], kidney=bundle(result))
    assert KIDNEY_FAILURE not in fired(told)
    assert "eGFR result cannot be used" in str(told["cards"])


@pytest.mark.parametrize(
    "result",
    [
        lab("NPU02647", 0.37, "mmol/L", "urn:oid:1.2.208.176.2.1"),
        lab("312475002", 0.37, "mmol/L", "http://snomed.info/sct/83821000000107"),
        lab("3H025000002327101", 0.9, "mg/dL", "urn:oid:1.2.392.200119.4.504"),
        lab("19123-9", 0.9, "MG/DL"),
        lab("2601-3", 0.8, "mval/l"),
        lab("2601-3", 0.37, "MMOL/L", note=[{"text": "Nicht EDTA-Plasma einsenden."}]),
    ],
)
def test_a_dangerously_low_magnesium_is_critical_however_it_is_sent(client: FlaskClient, result: Json) -> None:
    assert "severely low magnesium" in critical(answer(client, serum_magnesium=bundle(result))).lower()


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (lab("19123-9", 0.37, "mmol/L"), "unit does not fit the code of the test"),
        (lab("2601-3", 0.37, "mmol/L", modifierExtension=[{"url": "http://lab.example/x"}]), "modifier"),
        (lab("2601-3", 0.37, "mmol/L", focus=[{"reference": "Patient/fetus9"}]), "other than the patient"),
        (lab("2601-3", 0.37, "mmol/L", specimen={"display": "Urine"}), "not serum, plasma or blood"),
        (lab("2601-3", 2.4, "mmol/L", note=[{"text": "Probe hämolytisch"}]), "reported as unreliable"),
        (lab("2601-3", 2.4, "mmol/L", note=[{"text": "mauvais tube"}]), "reported as unreliable"),
        (lab("2601-3", 0.37, "mmol/L", note=[{"text": "mauvais tube"}]), "reported as unreliable"),
        (lab("2601-3", 0.37, "mmol/L", note=[{"text": "EDTA contamination suspected"}]), "reported as unreliable"),
    ],
)
def test_a_magnesium_that_cannot_be_used_is_said(client: FlaskClient, result: Json, reason: str) -> None:
    told = answer(client, serum_magnesium=bundle(result))
    assert critical(told) == ""
    assert reason in str(told["cards"])


@pytest.mark.parametrize(
    "code",
    [
        coded("G70.0", "http://fhir.de/CodeSystem/bfarm/icd-10-gm"),
        coded("G70.0", "http://hl7.org/fhir/sid/icd-10-am"),
        coded("358.00", "http://hl7.org/fhir/sid/icd-9-cm"),
        coded("91637004", "http://snomed.info/sct/731000124108"),
        {"text": "Myasthenia gravis"},
    ],
)
@pytest.mark.parametrize(
    "route",
    [
        {"text": "IVPB"},
        coded("20045000", "http://standardterms.edqm.eu"),
        coded("IV", "http://terminology.hl7.org/CodeSystem/v2-0162"),
    ],
)
def test_magnesium_into_the_vein_of_a_myasthenic_is_warned_of(client: FlaskClient, code: Json, route: Json) -> None:
    told = answer(client, "order-sign", drafts=[sulfate(route=route)], conditions=bundle(condition(code)))
    assert "intravenous_magnesium_with_myasthenia_gravis" in fired(told)


@pytest.mark.parametrize("text", ["No myasthenia gravis", "FH: myasthenia gravis", "Myasthenia gravis?"])
def test_nobody_is_called_myasthenic_who_is_not(client: FlaskClient, text: str) -> None:
    told = answer(
        client, "order-sign", drafts=[sulfate(route={"text": "IV"})], conditions=bundle(condition({"text": text}))
    )
    assert not {rule for rule in fired(told) if "myasthenia" in rule}


@pytest.mark.parametrize(
    "code",
    [
        coded("N18.5", "http://fhir.de/CodeSystem/bfarm/icd-10-gm"),
        coded("N18.5", "http://hl7.org/fhir/sid/icd-10-nl"),
        coded("585.6", "http://hl7.org/fhir/sid/icd-9-cm"),
        {"text": "ESRD on dialysis"},
    ],
)
def test_kidney_failure_on_the_problem_list_is_seen_in_any_country(client: FlaskClient, code: Json) -> None:
    told = answer(client, "order-sign", drafts=[OXIDE], conditions=bundle(condition(code)))
    assert "magnesium_with_dialysis" in fired(told)
    assert critical(told)


@pytest.mark.parametrize(
    "route", [{"text": "IVPB"}, coded("20045000", "http://standardterms.edqm.eu"), {"text": "e.v."}]
)
def test_nifedipine_and_an_infusion_of_magnesium_are_seen_together(client: FlaskClient, route: Json) -> None:
    nifedipine = statement(medicationCodeableConcept={"text": "Nifedipine 30 mg tablets"})
    told = answer(client, "order-sign", drafts=[sulfate(route=route)], medication_statements=bundle(nifedipine))
    assert "intravenous_magnesium_with_calcium_channel_blocker" in fired(told)
