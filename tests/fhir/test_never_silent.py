"""What would fire is never silenced by how a chart is written down, and what may hide it is said."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fhir.charts import (
    LOINC,
    RXNORM,
    Json,
    about,
    answer,
    bundle,
    coded,
    condition,
    fired,
    magnesium,
    order,
    outcomes,
    patient,
    without,
)

MYASTHENIA = "intravenous_magnesium_with_myasthenia_gravis"
FAILURE = "intravenous_magnesium_with_kidney_failure"
SEVERE, LOW, DIGOXIN = "severely_low_serum_magnesium", "low_serum_magnesium", "low_magnesium_with_digoxin"
NOT_MEASURED = "ventricular_arrhythmia_without_magnesium_test"
EXTREME = "injected_magnesium_dose_extreme"
myasthenia = condition("91637004", id="gravis")
severe = magnesium(0.35, "mmol/L", code="2601-3", id="severe", effectiveDateTime="2026-11-20T08:00:00Z")
low = severe | {"id": "low", "valueQuantity": severe["valueQuantity"] | {"value": 0.6}}


def egfr(value: float) -> Json:
    return low | {
        "id": "egfr", "code": coded("98979-8", LOINC),
        "valueQuantity": {"value": value, "unit": "mL/min/{1.73_m2}", "system": "http://unitsofmeasure.org",
                          "code": "mL/min/{1.73_m2}"},
    }  # fmt: skip


def injected(sig: str = "2 g over 20 minutes", **more: Any) -> Json:
    return order(id="iv", status="draft", medicationCodeableConcept={"text": "magnesium sulfate injection"},
                 dosageInstruction=[{"text": sig, "route": {"text": "IV"}}]) | more  # fmt: skip


def of_medication(medication: Json, **more: Any) -> Json:
    held = order(id="held", contained=[medication | {"resourceType": "Medication", "id": "m"}],
                 medicationReference={"reference": "#m"}) | more  # fmt: skip
    return without(held, "medicationCodeableConcept")


@pytest.mark.parametrize(
    "carrier",
    [
        "Sodium chloride 0.9 % 100 mL",
        "potassium chloride 20 mmol",
        "calcium gluconate",
        "Parenteral nutrition",
        "Mix 4",
    ],
)
def test_an_infusion_called_after_its_carrier_is_what_it_holds(client: FlaskClient, carrier: str) -> None:
    bag = {"code": {"text": carrier}, "ingredient": [{"itemCodeableConcept": {"text": "magnesium sulfate"}}]}
    draft = of_medication(bag, status="draft", dosageInstruction=[{"route": {"text": "IV"}}])
    told = answer(client, "order-sign", drafts=[draft], conditions=bundle(myasthenia), kidney=bundle(egfr(12)))
    assert {MYASTHENIA, FAILURE} <= fired(told)


@pytest.mark.parametrize(
    "part",
    [
        {"coding": [{"system": "urn:hospital", "code": "4711"}]},
        {"text": "Ward additive 3"},
        {"coding": [{"system": RXNORM, "code": "6585"}], "text": "ciprofloxacin"},
    ],
    ids=["a code", "a name", "two that disagree"],
)
def test_an_infusion_with_something_in_it_that_nobody_knows_may_hold_magnesium(client: FlaskClient, part: Json) -> None:
    bag = {"code": {"text": "Sodium chloride 0.9 % 100 mL"}, "ingredient": [{"itemCodeableConcept": part}]}
    draft = of_medication(bag, status="draft", dosageInstruction=[{"route": {"text": "IV"}}])
    told = answer(client, "order-sign", drafts=[draft], conditions=bundle(myasthenia), kidney=bundle(egfr(12)))
    assert outcomes(told)[MYASTHENIA] == "not_evaluated"
    assert told["cards"]


def test_what_does_not_act_in_a_tablet_is_no_magnesium(client: FlaskClient) -> None:
    filler = {"itemCodeableConcept": {"text": "magnesium carbonate"}, "isActive": False}
    tablet = {"code": coded("197604", RXNORM), "ingredient": [{"itemCodeableConcept": {"text": "digoxin"}}, filler]}
    told = answer(client, "order-sign", drafts=[of_medication(tablet, status="draft")], kidney=bundle(egfr(12)))
    assert not {FAILURE, "magnesium_with_kidney_failure"} & fired(told)


@pytest.mark.parametrize("reason", [myasthenia, egfr(12)], ids=["a problem", "a result"])
def test_the_reason_of_an_order_among_the_drafts_takes_nothing_from_the_chart(
    client: FlaskClient, reason: Json
) -> None:
    chart = {"conditions": bundle(myasthenia), "kidney": bundle(egfr(12))}
    alone = answer(client, "order-sign", drafts=[injected()], **chart)
    beside = answer(client, "order-sign", drafts=[injected(), reason], **chart)
    assert {MYASTHENIA, FAILURE} <= fired(alone) == fired(beside)


ENCOUNTER = {"resourceType": "Encounter", "id": "e1", "subject": about(), "status": "in-progress"}
LOCAL = {"system": "urn:hospital", "code": "13"}
ACT = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}


@pytest.mark.parametrize(
    ("encounter", "outcome"),
    [
        ({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}, "not_evaluated"),
        (ENCOUNTER | {"class": ACT}, "fired"),
        (ENCOUNTER | {"class": [{"coding": [LOCAL, ACT]}]}, "fired"),
        (ENCOUNTER | {"class": LOCAL}, "not_evaluated"),
        (ENCOUNTER, "not_evaluated"),
        (ENCOUNTER | {"class": ACT, "status": None}, "not_evaluated"),
        (ENCOUNTER | {"class": ACT, "status": "unknown"}, "not_evaluated"),
        (ENCOUNTER | {"class": ACT, "implicitRules": "urn:x"}, "not_evaluated"),
        (ENCOUNTER | {"class": ACT | {"code": "AMB"}}, "quiet"),
        (ENCOUNTER | {"class": ACT, "status": "finished"}, "quiet"),
    ],
)
def test_whoever_may_be_in_hospital_is_not_taken_for_an_outpatient(
    client: FlaskClient, encounter: Json, outcome: str
) -> None:
    """A result of eleven days ago counts for an outpatient, and for nobody in hospital."""
    told = answer(client, encounter_id="e1", encounter=encounter, conditions=bundle(condition("31722008")),
                  serum_magnesium=bundle(magnesium(2.1)))  # fmt: skip
    assert outcomes(told)[NOT_MEASURED] == outcome
    assert outcome == "quiet" or told["cards"]


@pytest.mark.parametrize("said", [None, "", "x", 5, {}, [], False])
def test_nobody_is_dead_of_what_says_no_date(client: FlaskClient, said: object) -> None:
    told = answer(client, patient=patient(deceasedDateTime=said), serum_magnesium=bundle(severe))
    assert SEVERE in fired(told)


@pytest.mark.parametrize("said", [{"deceasedDateTime": "2020"}, {"deceasedBoolean": True}])
def test_no_card_is_given_on_the_dead(client: FlaskClient, said: Json) -> None:
    assert answer(client, patient=patient(**said), serum_magnesium=bundle(severe))["cards"] == []


@pytest.mark.parametrize(("end", "outcome"), [(None, "fired"), ("", "not_evaluated"), ({}, "not_evaluated")])
def test_a_problem_does_not_end_where_no_end_is_said(client: FlaskClient, end: object, outcome: str) -> None:
    """What is no FHIR is not cited, and said."""
    ill = bundle(myasthenia | {"abatementDateTime": end})
    told = answer(client, "order-sign", drafts=[injected()], conditions=ill)
    assert outcomes(told)[MYASTHENIA] == outcome


@pytest.mark.parametrize(
    "named",
    [
        {"reference": "MedicationRequest/gone"},
        {"reference": "https://ehr.example/fhir/MedicationRequest/gone/_history/1"},
        {"reference": "urn:uuid:0d1f6a3e-7f4e-4d4b-b2c3-000000000001"},
        {"reference": "MedicationRequest?identifier=5"},
        {"display": "Magnesium sulfate"},
    ],
)
@pytest.mark.parametrize("kind", ["RequestGroup", "CarePlan"])
@pytest.mark.parametrize("slashes", ["/", "\\/"])
def test_an_order_of_a_group_that_is_not_among_the_drafts_is_missed(
    client: FlaskClient, named: Json, kind: str, slashes: str
) -> None:
    parts = (
        {"action": [{"action": [{"resource": named}]}]}
        if kind == "RequestGroup"
        else {"activity": [{"reference": named}]}
    )
    group = {"resourceType": kind, "id": "g", "status": "draft", "intent": "order", "subject": about()} | parts
    told = answer(client, "order-sign", drafts=[group],
                  written=lambda body: body.replace(b"/", slashes.encode()))  # fmt: skip
    (card,) = told["cards"]
    assert "something in draft orders could not be read" in card["detail"]


def test_an_order_of_a_group_that_is_there_under_its_full_url_is_not_missed(client: FlaskClient) -> None:
    urn = "urn:uuid:0d1f6a3e-7f4e-4d4b-b2c3-000000000001"
    group = {"resourceType": "RequestGroup", "id": "g", "status": "draft", "intent": "order", "subject": about(),
             "action": [{"resource": {"reference": urn}, "participant": [{"reference": "urn:uuid:p"}]}]}  # fmt: skip

    def addressed(body: bytes) -> bytes:
        entry = b'{"resource": {"resourceType": "MedicationRequest"'
        return body.replace(entry, entry.replace(b"{", b'{"fullUrl": "' + urn.encode() + b'", ', 1), 1)

    told = answer(client, "order-sign", drafts=[injected(), group], conditions=bundle(myasthenia), written=addressed)
    assert MYASTHENIA in fired(told)
    assert "draft orders" not in " ".join(card["detail"] for card in told["cards"])


def test_an_injection_that_cannot_be_read_may_be_of_any_dose(client: FlaskClient) -> None:
    high = injected("10 g over 2 minutes")
    assert EXTREME in fired(answer(client, "order-sign", drafts=[high], kidney=bundle(egfr(90))))
    told = answer(client, "order-sign", drafts=[high | {"implicitRules": "urn:x"}], kidney=bundle(egfr(90)))
    assert outcomes(told)[EXTREME] == "not_evaluated"


def test_letters_written_as_escapes_hide_nothing(client: FlaskClient) -> None:
    changed = bundle(myasthenia | {"implicitRules": "urn:x"})
    told = answer(client, "order-sign", drafts=[injected()], conditions=changed,
                  written=lambda body: body.replace(b"implicitRules", b"implicitRul\\u0065s"))  # fmt: skip
    assert outcomes(told)[MYASTHENIA] == "not_evaluated"
    part = bundle(magnesium(2.1) | {"meta": {"tag": [{"code": "SUBSETTED"}]}})
    told = answer(client, serum_magnesium=part,
                  written=lambda body: body.replace(b"SUBSETTED", b"SUBSETT\\u0045D"))  # fmt: skip
    assert outcomes(told)[LOW] == "not_evaluated"


@pytest.mark.parametrize(
    "changed", [{"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}, {"implicitRules": "x"}]
)
@pytest.mark.parametrize("display", [None, "Digoxin"])
def test_a_medication_that_may_mean_something_else_is_not_read(
    client: FlaskClient, changed: Json, display: str | None
) -> None:
    drug = {"resourceType": "Medication", "id": "m", "code": coded("197604", RXNORM)}
    taken = without(
        order(medicationReference={"reference": "Medication/m", "display": display}), "medicationCodeableConcept"
    )
    results = {"serum_magnesium": bundle(low)}
    assert DIGOXIN in fired(answer(client, medications=bundle(taken, drug), **results))
    told = answer(client, medications=bundle(taken, drug | changed), **results)
    assert outcomes(told)[DIGOXIN] == "not_evaluated"


def test_a_specimen_that_nothing_refers_to_spoils_no_result(client: FlaskClient) -> None:
    urine = {"resourceType": "Specimen", "id": "s9", "subject": about(), "type": {"text": "Urine"}}
    named = severe | {"specimen": {"display": "Serum"}}
    assert SEVERE in fired(answer(client, serum_magnesium=bundle(named, urine)))


@pytest.mark.parametrize("element", ["clinicalStatus", "verificationStatus"])
def test_a_code_of_the_hospitals_own_beside_hl7s_is_not_in_its_way(client: FlaskClient, element: str) -> None:
    name, code = {"clinicalStatus": ("clinical", "active"), "verificationStatus": ("ver-status", "confirmed")}[element]
    system = f"http://terminology.hl7.org/CodeSystem/condition-{name}"
    both = {"coding": [{"system": "urn:hospital", "code": "A"}, {"system": system, "code": code}]}
    told = answer(client, "order-sign", drafts=[injected()], conditions=bundle(myasthenia | {element: both}))
    assert MYASTHENIA in fired(told)


def test_an_order_being_changed_is_read_although_the_chart_holds_two_versions_of_it(client: FlaskClient) -> None:
    versions = [order(id="iv", dosageInstruction=[{"text": text}]) for text in ("one a day", "two a day")]
    told = answer(client, "order-sign", drafts=[injected()], conditions=bundle(myasthenia),
                  medications=bundle(versions[0]), medication_statements=bundle(versions[1]))  # fmt: skip
    assert MYASTHENIA in fired(told)


@pytest.mark.parametrize("url", ["https://ehr.example/object?id=1", "https://ehr.example/fhir/Condition/pain"])
def test_a_reason_is_found_under_whatever_address_its_entry_has(client: FlaskClient, url: str) -> None:
    pain = condition("37796009", id="pain")
    problems = bundle(pain)
    problems["entry"][0]["fullUrl"] = url
    wanted = order(id="d", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"},
                   reasonReference=[{"reference": url}])  # fmt: skip
    told = answer(client, "order-sign", drafts=[wanted], conditions=problems)
    assert outcomes(told)["magnesium_for_migraine"] == "fired"


def test_intake_that_is_one_of_several_nutrients_is_read(client: FlaskClient) -> None:
    amount = {"value": 120, "unit": "mg/d", "system": "http://unitsofmeasure.org", "code": "mg/d"}
    own = {"code": coded("81005-1", LOINC), "valueQuantity": amount}
    alone = without(low, "valueQuantity") | {"id": "intake"} | own
    panel = without(alone, "valueQuantity") | {
        "code": coded("75281-6", LOINC) | {"text": "Nutrients"},
        "component": [{"code": {"text": "Fibre"}, "valueQuantity": {"value": 9, "unit": "g"}}, own],
    }
    told = outcomes(answer(client, intake=bundle(panel)))
    assert told == outcomes(answer(client, intake=bundle(alone)))
    assert told["intake_below_allowance"] == "fired"


@pytest.mark.parametrize("where", ["bundle", "entry", "inner"])
def test_a_bundle_that_may_mean_something_else_proves_nothing(client: FlaskClient, where: str) -> None:
    found = bundle(condition("38341003", id="other"))
    if where == "entry":
        found["entry"][0]["modifierExtension"] = [{"url": "urn:not", "valueBoolean": True}]
    else:
        found["implicitRules"] = "urn:example:negated"
    if where == "inner":
        found = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": found}]}
    drafts = [injected()]
    plain = bundle(condition("38341003", id="other"))
    assert outcomes(answer(client, "order-sign", drafts=drafts, conditions=plain))[MYASTHENIA] == "quiet"
    assert outcomes(answer(client, "order-sign", drafts=drafts, conditions=found))[MYASTHENIA] == "not_evaluated"


def test_a_medicine_that_a_drafted_test_contains_is_not_overlooked(client: FlaskClient) -> None:
    contained = without(injected(), "subject") | {"id": "inner"}
    lab = {
        "resourceType": "ServiceRequest", "id": "lab", "status": "draft", "intent": "order", "subject": about(),
        "code": coded("2601-3", LOINC),
    }  # fmt: skip
    alone = answer(client, "order-sign", drafts=[lab])
    assert not any("could not be read" in card["summary"] + card["detail"] for card in alone["cards"])
    formula = {"additiveType": {"text": "magnesium"}, "additiveProductName": "magnesium citrate"}
    feed = {"resourceType": "NutritionOrder", "id": "feed", "status": "draft", "patient": about()}
    fed = answer(client, "order-sign", drafts=[feed | {"enteralFormula": formula}])
    assert any("could not be read" in card["summary"] + card["detail"] for card in fed["cards"])
    told = answer(client, "order-sign", drafts=[lab | {"contained": [contained]}])
    assert any("could not be read" in card["summary"] + card["detail"] for card in told["cards"])
