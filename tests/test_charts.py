"""What real charts hold, sent to the service over HTTP: each patient is one example of a kind."""

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.loaded_content import Content
from cds_service.fhir.medications import Named
from tests.conftest import NOW
from tests.fhir.charts import (
    MG_SUBSTANCE,
    RXNORM,
    SNOMED,
    Json,
    about,
    bundle,
    coded,
    condition,
    magnesium,
    order,
    quantity,
    statement,
)

HOOKS = {"order-sign": "magnesium-order-sign", "patient-view": "magnesium-patient-view"}
DAY = f"{NOW:%Y-%m}-01T08:00:00Z"
ADHERENCE_R5 = "http://hl7.org/fhir/CodeSystem/medication-statement-adherence"
ADHERENCE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-medication-adherence"


def answer(client: FlaskClient, hook: str = "patient-view", drafts: Json | None = None, **sent: Any) -> Json:
    """The whole answer for a man of 70 whose every key was searched and, but for `sent`, empty."""
    service = next(s for s in client.get("/cds-services").json["services"] if s["id"] == HOOKS[hook])
    man = {"resourceType": "Patient", "id": "mona", "gender": "male", "birthDate": f"{NOW.year - 70}-01-01"}
    prefetch = {key: bundle(total=0) for key in service["prefetch"]} | {"patient": man, "encounter": None} | sent
    context: Json = {"userId": "Practitioner/p", "patientId": "mona"}
    if hook == "order-sign":
        context["draftOrders"] = drafts or bundle(oxide(), type="collection")
    body = {"hook": hook, "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "context": context}
    response = client.post(f"/cds-services/{service['id']}", json=body | {"prefetch": prefetch})
    assert response.status_code == 200, response.json
    return dict(response.json)


def summaries(answered: Json) -> str:
    return " | ".join(card["summary"] for card in answered["cards"])


def outcome(answered: Json, rule: str) -> str:
    said = next(each for each in answered["extension"][EXTENSION]["outcomes"] if each["rule"] == rule)
    return str(said["outcome"])


def oxide(**more: Any) -> Json:
    daily = {"text": "1 tablet daily", "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}}
    return order(
        id="draft", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"},
        dosageInstruction=[daily],
    ) | more  # fmt: skip


def low(**more: Any) -> Json:
    return magnesium(0.4, "mmol/L", code="2601-3", effectiveDateTime=DAY) | more


def creatinine(value: float, **more: Any) -> Json:
    return magnesium(value, "mg/dL", code="2160-0", id="creatinine", effectiveDateTime=DAY) | more


@pytest.mark.parametrize(
    "sent",
    [
        bundle(bundle(low())),
        bundle(low(resourceType="observation")),
        [low()],
        bundle(low(meta={"lastUpdated": "2026-11-26T09:00:00"})),
        bundle(low(resultStatus="F")),
        bundle(low(method="ISE")),
    ],
)
def test_a_severely_low_result_is_found_whatever_it_is_wrapped_in(client: FlaskClient, sent: Any) -> None:
    assert "Severely low magnesium 0.4 mmol/L" in summaries(answer(client, serum_magnesium=sent))


@pytest.mark.parametrize("status", ["unknown", "sent"])
def test_an_older_normal_result_never_passes_for_a_newest_of_unknown_status(client: FlaskClient, status: str) -> None:
    older = magnesium(0.8, "mmol/L", code="2601-3", id="older", effectiveDateTime=f"{NOW.year - 1}-12-20T08:00:00Z")
    answered = answer(client, serum_magnesium=bundle(older, low(status=status)))
    assert "its status is not known" in summaries(answered)


def test_what_was_suppressed_is_said(client: FlaskClient) -> None:
    told = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "suppressed"}]}
    assert "something was left out" in summaries(answer(client, serum_magnesium=bundle(told)))


def test_a_problem_with_a_fault_in_its_date_of_record_is_a_problem(client: FlaskClient) -> None:
    drip = oxide(
        medicationCodeableConcept={"text": "Magnesium sulfate 2 g/50 ml"},
        dosageInstruction=[{"text": "2 g once", "route": {"text": "intravenous"}}],
    )
    problems = bundle(condition("91637004", recordedDate="2020-01-01T00:00:00"))
    answered = answer(client, "order-sign", bundle(drip), conditions=problems, kidney=bundle(creatinine(0.8)))
    assert "myasthenia gravis on record" in summaries(answered)


def test_one_order_of_an_older_version_does_not_refuse_the_others(client: FlaskClient) -> None:
    syrup = oxide(id="syrup", medicationCodeableConcept={"text": "Amoxicillin 250 mg/5 mL suspension"})
    syrup["dosageInstruction"] = [{"text": "5 mL twice daily", "doseQuantity": quantity(5, "mL")}]
    older = {"resourceType": "MedicationOrder", "id": "older", "patient": about()}
    for other in (syrup, older):
        answered = answer(client, "order-sign", bundle(oxide(), other), kidney=bundle(creatinine(6)))
        assert "kidney failure range" in summaries(answered)


def adherence(*codings: Json) -> Json:
    held = [{"url": "medicationAdherence", "valueCodeableConcept": {"coding": [each]}} for each in codings]
    return {"extension": [{"url": ADHERENCE, "extension": [each]} for each in held]}


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (adherence({"system": SNOMED, "code": "715036001"}), False),
        (adherence({"system": "urn:oid:2.16.840.1.113883.6.96", "code": "715036001"}), False),
        (adherence({"system": ADHERENCE_R5, "code": "stopped"}), False),
        (adherence({"system": SNOMED, "code": "1156699004"}), True),
        (adherence({"system": SNOMED, "code": "702565001"}), True),
        (adherence({"system": "urn:local", "code": "715036001"}), True),
        (adherence({"system": SNOMED, "code": "715036001"}, {"system": SNOMED, "code": "1156699004"}), True),
        ({"extension": [{"url": ADHERENCE}, 17]}, True),
        ({"extension": [{"url": "urn:other", "extension": [{"url": "x", "valueCodeableConcept": {"coding": [
            {"system": SNOMED, "code": "715036001"}]}}]}]}, True),
        ({}, True),
    ],
)  # fmt: skip
def test_a_medicine_recorded_as_not_taken_makes_no_card(client: FlaskClient, said: Json, taken: bool) -> None:
    answered = answer(client, "order-sign", medications=bundle(order(**said)))
    assert ("levothyroxine: keep the doses" in summaries(answered)) is taken


@pytest.mark.parametrize(
    "given",
    [
        {"reasonCode": [{"coding": [{"system": "http://snomed.info/sct", "code": "14760008"}]}]},
        {"reasonCode": [{"text": "Constipation"}]},
        {"reasonReference": [{"reference": "Condition/elsewhere"}]},
        {"reasonReference": [{"display": "Constipation"}]},
        {"reasonCode": [coded("K59.00", "http://hl7.org/fhir/sid/icd-10-cm")]},
    ],
)
def test_an_order_for_something_else_is_not_said_to_be_for_diabetes(client: FlaskClient, given: Json) -> None:
    diabetes = bundle(condition("44054006"))
    answered = answer(client, "order-sign", bundle(oxide(**given)), conditions=diabetes)
    assert outcome(answered, "magnesium_for_diabetes") == "quiet"
    unsaid = answer(client, "order-sign", bundle(oxide(reasonCode=[{}])), conditions=diabetes)
    assert outcome(unsaid, "magnesium_for_diabetes") == "quiet"
    assert "drafted for diabetes" not in str(unsaid["cards"])


def test_drafts_that_count_themselves_are_no_reason_for_a_notice(client: FlaskClient) -> None:
    counted = answer(client, "order-sign", bundle(oxide(), total=1), kidney=bundle(creatinine(0.8)))
    assert "arrived incomplete" not in str(counted["cards"])
    missing = answer(client, "order-sign", bundle(oxide(), total=2), kidney=bundle(creatinine(0.8)))
    assert "arrived incomplete: fewer entries than announced" in str(missing["cards"])


def person(**more: Any) -> Json:
    return {"resourceType": "Patient", "id": "mona", "gender": "male", "birthDate": f"{NOW.year - 70}-01-01"} | more


@pytest.mark.parametrize("gender", ["other", "unknown", None, "divers"])
@pytest.mark.parametrize(
    ("milligrams", "says", "open_rules"),
    [
        (4.5, "eGFR 10 to 13 mL/min/1.73 m", ()),  # under 15 by either sex
        (2.1, "eGFR 25 to 33 mL/min/1.73 m", ("magnesium_with_low_kidney_function",)),  # on both sides of 30
        (0.8, "", ()),
    ],
)
def test_where_sex_is_not_known_the_kidney_rules_say_what_holds_for_both(
    client: FlaskClient, gender: str | None, milligrams: float, says: str, open_rules: tuple[str, ...]
) -> None:
    sent = {"patient": person(gender=gender), "kidney": bundle(creatinine(milligrams))}
    answered = answer(client, "order-sign", **sent)
    assert says in summaries(answered)
    assert ("kidney function not known" in summaries(answered)) is False
    for rule in open_rules:
        assert outcome(answered, rule) == "not_evaluated"


@pytest.mark.parametrize(
    ("born", "expected"),
    [
        (f"{NOW.year - 80}", "fired"),
        (f"{NOW.year - 80}-12", "fired"),
        (f"{NOW.year - 65}", "not_evaluated"),  # 64 or 65
        (f"{NOW.year - 40}", "quiet"),
        ("about 1950", "not_evaluated"),
    ],
)
def test_a_year_of_birth_decides_where_every_age_in_it_agrees(client: FlaskClient, born: str, expected: str) -> None:
    thrice = oxide(
        medicationCodeableConcept={"coding": [{"system": RXNORM, "code": "252430"}], "text": "Magnesium oxide 400 mg"},
    )
    thrice["dosageInstruction"] = [{
        "timing": {"repeat": {"frequency": 6, "period": 1, "periodUnit": "d"}},
        "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "capsule"}}],
    }]  # fmt: skip
    sent = {"patient": person(birthDate=born), "kidney": bundle(creatinine(0.8))}
    answered = answer(client, "order-sign", bundle(thrice), **sent)
    assert outcome(answered, "laxative_dose_in_older_people") == expected


MODIFIER = {"modifierExtension": [{"url": "https://ehr.example/negated", "valueBoolean": True}]}


@pytest.mark.parametrize(
    ("sent", "key", "rule"),
    [
        ({"conditions": bundle(condition("44054006", **MODIFIER))}, "problem list", "magnesium_with_dialysis"),
        (
            {"conditions": bundle(condition("44054006", implicitRules="urn:x"))},
            "problem list",
            "magnesium_with_dialysis",
        ),
        ({"medications": bundle(order(**MODIFIER))}, "medication", "levothyroxine_timing"),
        ({"medications": bundle(order(implicitRules="urn:x"))}, "medication", "levothyroxine_timing"),
        ({"medications": bundle(order(dosageInstruction=[MODIFIER]))}, "medication", "levothyroxine_timing"),
        ({"kidney": bundle(creatinine(6, implicitRules="urn:x"))}, "eGFR", "magnesium_with_kidney_failure"),
        ({"patient": person(**MODIFIER), "kidney": bundle(creatinine(6))}, "patient", "magnesium_with_kidney_failure"),
    ],
)
def test_what_may_mean_something_else_is_not_used_and_that_is_said(
    client: FlaskClient, sent: Json, key: str, rule: str
) -> None:
    answered = answer(client, "order-sign", **sent)
    assert outcome(answered, rule) == "not_evaluated"
    assert "could not be read" in str(answered["cards"]) or "not known" in summaries(answered)


def simvastatin(**more: Any) -> Json:
    return order(medicationCodeableConcept={"text": "Simvastatin 20 mg tablet"}) | more


PAST = {"boundsPeriod": {"start": "2020-01-01", "end": "2020-01-08"}}
NOT_TAKEN = {"url": ADHERENCE, "extension": [{"url": "x", "valueCodeableConcept": coded("not-taking", ADHERENCE_R5)}]}
USED_UP = {"validityPeriod": {"end": "2020-01-08"}, "expectedSupplyDuration": {"value": 30, "code": "d"}}
OTHERS = [
    simvastatin(id="plain"),
    simvastatin(id="oral", dosageInstruction=[{"text": "1 tablet daily", "route": {"text": "oral"}}]),
    simvastatin(id="unclear", dosageInstruction=[{"text": "as told", "timing": {"repeat": {"frequency": -1}}}]),
    simvastatin(id="over", dosageInstruction=[{"timing": {"repeat": PAST}}]),
    simvastatin(id="dispensed", dispenseRequest=USED_UP),
    simvastatin(id="both", dispenseRequest=USED_UP,
                dosageInstruction=[{"timing": {"repeat": PAST}}]),
    simvastatin(id="not-taken", extension=[NOT_TAKEN]),
    simvastatin(id="for", reasonCode=[condition()["code"]]),
    simvastatin(id="ended", status="completed"),
]  # fmt: skip


@pytest.mark.parametrize("hook", ["patient-view", "order-sign"])
@pytest.mark.parametrize("drafts", [[oxide()], [oxide(), simvastatin(id="ordered", status="draft")]])
def test_how_a_medicine_that_is_none_of_ours_is_taken_changes_no_answer(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, hook: str, drafts: list[Json]
) -> None:
    taken = simvastatin(resourceType="MedicationStatement", id="said")
    sent = {"medications": bundle(*OTHERS, order()), "ended_medications": bundle(OTHERS[-1])}
    sent |= {"medication_statements": bundle(taken, statement()), "serum_magnesium": bundle(low())}
    answers = []
    for others in (Named.of_others, False):  # False: everything is read whole
        monkeypatch.setattr(Named, "of_others", others)
        answered = answer(client, hook, bundle(*drafts, type="collection"), **sent)
        assert {"active_order_ended": 1, "recorded_as_not_taken": 1}.items() <= repairs(answered).items()
        answers.append(re.sub(r"\w{8}(-\w{4}){3}-\w{12}", "", json.dumps(answered)))
    assert answers[0] == answers[1]


def repairs(answered: Json) -> Json:
    return dict(answered["extension"][EXTENSION]["repairs"])


@pytest.mark.parametrize(
    ("comparator", "end", "rule", "said"),
    [
        ("<", "lower_limit", "low_serum_magnesium", "fired"),
        ("<=", "lower_limit", "low_serum_magnesium", "not_evaluated"),  # it may be the limit itself, which is not low
        (">=", "lower_limit", "low_serum_magnesium", "quiet"),
        (">", "lower_limit", "low_serum_magnesium", "quiet"),
        (">=", "severe_upper_limit", "severely_high_serum_magnesium", "fired"),
        ("<=", "severe_upper_limit", "severely_high_serum_magnesium", "not_evaluated"),
        ("<", "severe_upper_limit", "severely_high_serum_magnesium", "quiet"),
    ],
)
def test_a_result_that_is_only_a_bound_may_be_its_own_end(
    comparator: str, end: str, rule: str, said: str, client: FlaskClient, content: Content
) -> None:
    limit = content.library.shared_thresholds[end].values[max(content.library.shared_thresholds[end].values)]
    bound = {**quantity(float(limit), "mmol/L"), "comparator": comparator}
    taken = f"{NOW:%Y-%m-%d}T00:00:00Z"
    result = magnesium(code=MG_SUBSTANCE, valueQuantity=bound, effectiveDateTime=taken)
    answered = answer(client, serum_magnesium=bundle(result))
    assert outcome(answered, rule) == said


ALMASILATE_CODE = {"system": "http://www.whocc.no/atc", "code": "A02AD05"}


@pytest.mark.parametrize(
    "named",
    [
        {"text": "almasilate 500 mg chewable tablet"},
        {"coding": [ALMASILATE_CODE]},
        {"coding": [ALMASILATE_CODE], "text": "almasilate"},
    ],
)
def test_a_magnesium_antacid_is_magnesium_by_name_and_by_code(client: FlaskClient, named: Json) -> None:
    failing = condition({"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "N18.5"}]})
    answered = answer(
        client, "order-sign", bundle(oxide(medicationCodeableConcept=named), type="collection"),
        conditions=bundle(failing),
    )  # fmt: skip
    assert "agnesium ordered; on record: kidney failure" in summaries(answered)
