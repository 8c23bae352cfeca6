"""What nobody here can identify: a draft is always said, anything else where its worst reading could warn."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW
from tests.test_scenarios import TEMPLATES, post

POOR_KIDNEYS = [{"lab": "creatinine", "value": 600, "unit": "umol/L"}]
GOOD_KIDNEYS = [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}]
EXPECT = {"outcome": "quiet"}


def answer(client: FlaskClient, content: Content, **patient: Any) -> dict[str, Any]:
    case = {"name": "a patient of this test", "kind": "near_miss", "expect": EXPECT, **patient}
    return post(client, content, Scenario.model_validate(case))


def told(found: dict[str, Any]) -> str:
    return " ".join(f"{card['summary']} {card['detail']}" for card in found["cards"])


def order(**medication: Any) -> dict[str, Any]:
    return {"resourceType": "MedicationRequest", "id": "order-1", "status": "active", "intent": "order", **medication}


def problem(**code: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": "problem-1", "code": code}


def result(key_code: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": "result-1", "status": "final", "effectiveDateTime": "2026-11-20T08:00:00Z",
        "code": {"coding": [{"system": "http://loinc.org", "code": key_code}]}, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        ({"text": "Xyzzol 20 mg tablets"}, "an ordered medicine that is not known here: 'Xyzzol 20 mg tablets'"),
        ({"text": "Formula 17 powder"}, "'Formula 17 powder'"),
        (
            {"text": "", "route": None, "amount": None, "times": None},
            "an ordered medicine without a name or known code",
        ),
        ({"rxnorm": "999999999", "text": ""}, "an ordered medicine that is not known here: '999999999'"),
        ({"text": "Mag-XYZ 2 g in sodium chloride 0.9% 50 mL"}, "Mag-XYZ 2 g in sodium chloride 0.9% 50 mL"),
        ({"text": "**Bold** <b>x</b> http://evil.example/a_b [k](l)"}, "'Bold b x /b http //evil example/a b"),
    ],
)
@pytest.mark.parametrize("labs", [GOOD_KIDNEYS, POOR_KIDNEYS, []])
def test_an_ordered_medicine_that_nobody_knows_is_always_said(
    draft: dict[str, Any], words: str, labs: list[dict[str, Any]], client: FlaskClient, content: Content
) -> None:
    for hook in ("order-select", "order-sign"):
        assert words in told(answer(client, content, hook=hook, drafts=[draft], labs=labs))


@pytest.mark.parametrize(
    "text",
    ["Metformin 850 mg tablets", "Metformina 850 mg", "Amoxicilline 500 mg", "Bisoprololum 5 mg", "Ramipril",
     "Sodium chloride 0.9% infusion 1000 mL", "Lisinoprilo 10 mg", "Digoxin Immune Fab 40 mg"],
)  # fmt: skip
def test_an_ordinary_medicine_in_the_languages_of_charts_is_known_and_says_nothing(
    text: str, client: FlaskClient, content: Content
) -> None:
    assert answer(client, content, hook="order-sign", drafts=[{"text": text}], labs=GOOD_KIDNEYS)["cards"] == []


def test_an_unknown_medicine_in_the_chart_blocks_a_warning_and_no_information(
    client: FlaskClient, content: Content
) -> None:
    unknown = [{"text": "Xyzzol 20 mg tablets"}]
    found = answer(client, content, hook="order-sign", drugs=unknown, drafts=["magnesium_oxide"], labs=GOOD_KIDNEYS)
    outcomes = {item["rule"]: item for item in found["extension"]["org.magnesium-cds"]["outcomes"]}
    warned, informed = outcomes["doxycycline_timing"], outcomes["gabapentin_timing"]
    assert (warned["outcome"], informed["outcome"]) == ("not_evaluated", "not_applicable")
    assert "a medicine that is not known here: 'Xyzzol 20 mg tablets'" in warned["reason"]
    assert informed["reason"] == "what is not known here cannot change the advice"
    assert "Xyzzol" in told(found)


def test_an_unknown_medicine_says_nothing_where_nothing_could_come_of_it(client: FlaskClient, content: Content) -> None:
    unknown = [{"text": "Xyzzol 20 mg tablets"}]
    assert answer(client, content, drugs=unknown, labs=GOOD_KIDNEYS)["cards"] == []
    low = [{"lab": "serum_magnesium", "value": 0.62, "unit": "mmol/L"}]
    assert "Xyzzol" in told(answer(client, content, drugs=unknown, labs=low))


@pytest.mark.parametrize(
    "code",
    [
        {"text": "muscle trouble of the old kind"},
        {"coding": [{"system": "http://hospital.example/problems", "code": "4711"}], "text": "muscle trouble"},
    ],
)
def test_a_problem_in_no_code_that_is_read_blocks_what_it_could_be(
    code: dict[str, Any], client: FlaskClient, content: Content
) -> None:
    drafts = [{"drug": "magnesium_sulfate", "route": "intravenous", "amount": 2, "unit": "g"}]
    found = answer(client, content, hook="order-sign", drafts=drafts, raw=[problem(**code)], labs=GOOD_KIDNEYS)
    assert "a problem that is in no code that is read here: 'muscle trouble" in told(found)


def test_a_problem_in_a_code_that_is_read_and_is_none_of_ours_blocks_nothing(
    client: FlaskClient, content: Content
) -> None:
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "195967001"}], "text": "Asthma"}
    drafts = [{"drug": "magnesium_sulfate", "route": "intravenous", "amount": 2, "unit": "g"}]
    found = answer(client, content, hook="order-sign", drafts=drafts, raw=[problem(**code)], labs=GOOD_KIDNEYS)
    assert "no code" not in told(found)


def test_a_result_under_a_local_code_is_no_missing_result(client: FlaskClient, content: Content) -> None:
    local = result("2601-3", valueQuantity={"value": 0.42, "unit": "mmol/L"})
    request_code = {"coding": [{"system": "http://hospital.example/tests", "code": "MG"}], "text": "Magnesium"}
    case = {"name": "a result of the laboratory's own", "kind": "near_miss", "expect": EXPECT, "drugs": ["omeprazole"]}
    scenario = Scenario.model_validate({**case, "raw": [local]})
    body = Builder(content.library, NOW).request(scenario, TEMPLATES)
    entries = [e for bundle in body["prefetch"].values() for e in bundle.get("entry", ())]
    sent = [e["resource"] for e in entries if e["resource"]["id"] == "result-1"]
    assert sent
    for resource in sent:
        resource["code"] = request_code
    found = client.post("/cds-services/magnesium-patient-view", json=body).get_json()
    words = told(found)
    assert "a result sent for serum magnesium under no code that is read here: 'Magnesium'" in words
    assert "No magnesium result" not in words


def test_an_older_result_that_nobody_knows_hides_no_newer_one(client: FlaskClient, content: Content) -> None:
    fresh = [{"lab": "serum_magnesium", "value": 0.42, "unit": "mmol/L", "taken": "2 hours ago"}]
    found = answer(client, content, labs=fresh)
    assert "Severely low magnesium 0.42" in told(found)


def test_an_integrator_is_told_what_to_mend(client: FlaskClient, content: Content) -> None:
    scenario = Scenario.model_validate({"name": "a patient of this test", "kind": "near_miss", "expect": EXPECT})
    body = Builder(content.library, NOW).request(scenario, TEMPLATES)
    body["prefetch"]["serum_magnesum"] = body["prefetch"].pop("serum_magnesium")
    code = {"coding": [{"system": "http://hospital.example/problems", "code": "4711"}], "text": "muscle trouble"}
    whose = {"reference": f"Patient/{body['context']['patientId']}"}
    body["prefetch"]["conditions"]["entry"] = [{"resource": {**problem(**code), "subject": whose}}]
    found = client.post("/cds-services/magnesium-patient-view", json=body).get_json()
    said = found["extension"]["org.magnesium-cds"]["diagnostics"]
    assert said["unknownPrefetchKeys"] == ["serum_magnesum (did you mean serum_magnesium?)"]
    assert said["notIdentified"]["counts"] == {"conditions": 1}
    (met,) = said["notIdentified"]["codes"]
    assert (met["system"], met["code"], met["count"]) == ("http://hospital.example/problems", "4711", 1)
    assert said["notIdentified"]["entries"][0]["name"] == "muscle trouble"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The body is empty"),
        (b"  ", "The body is empty"),
        (b'{"hook": "patient-view",\n "x": }', "line 2, column 7"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(body: bytes, words: str, client: FlaskClient) -> None:
    answered = client.post("/cds-services/magnesium-patient-view", data=body, content_type="application/json")
    assert answered.status_code == 400
    assert words in answered.get_json()["issue"][0]["details"]["text"]


def drafted(client: FlaskClient, content: Content, *orders: dict[str, Any], **patient: Any) -> dict[str, Any]:
    """The answer where these resources stand in the draft orders, beside what a scenario says."""
    case = {"name": "orders of this test", "kind": "near_miss", "expect": EXPECT, "hook": "order-sign", **patient}
    body = Builder(content.library, NOW).request(Scenario.model_validate(case), TEMPLATES)
    whose = {"reference": f"Patient/{body['context']['patientId']}"}
    body["context"]["draftOrders"]["entry"] += [{"resource": {"subject": whose, **order}} for order in orders]
    answered = client.post("/cds-services/magnesium-order-sign", json=body)
    assert answered.status_code == 200
    found: dict[str, Any] = answered.get_json()
    return found


@pytest.mark.parametrize(
    ("medicine", "words"),
    [
        ({"coding": [{"system": "http://hospital.example/drugs", "code": "4711"}]}, "not known here: '4711'"),
        ({"coding": [{"system": "http://hl7.org/fhir/sid/ndc", "code": "00409-6727-14"}]}, "'00409-6727-14'"),
        ({"coding": [{"code": "MGSO4-LOCAL"}]}, "not known here: 'MGSO4-LOCAL'"),
        ({"coding": [{"system": "http://hospital.example/drugs", "code": "<b>x</b> [a](b)"}]}, "'b x /b a (b)'"),
        ({"coding": [{"display": "Qwertin 5"}]}, "not known here: 'Qwertin 5'"),
        ({"coding": [{"system": "http://hospital.example/drugs"}]}, "an ordered medicine without a name or known code"),
        ({"text": "\u200b"}, "an ordered medicine without a name or known code"),
        ({"text": "Qwert\u202e\x07in\u00ad 5"}, "not known here: 'Qwert in 5'"),
    ],
)
def test_an_order_is_called_by_its_name_or_else_by_its_code(
    medicine: dict[str, Any], words: str, client: FlaskClient, content: Content
) -> None:
    assert words in told(drafted(client, content, order(medicationCodeableConcept=medicine), labs=GOOD_KIDNEYS))


@pytest.mark.parametrize("more", [{}, {"drafts": ["magnesium_oxide"], "drugs": ["levothyroxine"]}])
def test_all_of_many_unknown_orders_are_said_whatever_else_is_to_be_said(
    more: dict[str, Any], client: FlaskClient, content: Content
) -> None:
    names = ["Xyzzol", "Qwertin", "Plughane", "Frobicil", "Wibblex"]
    orders = [{**order(medicationCodeableConcept={"text": name}), "id": name} for name in names]
    found = drafted(client, content, *orders, labs=POOR_KIDNEYS, **more)
    assert all(f"'{name}'" in card["detail"] for name in names for card in found["cards"])
    many = [{**order(medicationCodeableConcept={"text": f"Xyzzol {name}ex"}), "id": name} for name in "abcdefgh"]
    assert "'Xyzzol fex' and 2 more" in told(drafted(client, content, *many, labs=POOR_KIDNEYS, **more))


def test_an_order_whose_code_and_name_disagree_is_said_by_its_name(client: FlaskClient, content: Content) -> None:
    rxnorm = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "10582"}
    torn = {"coding": [rxnorm], "text": "Metformin 850 mg"}
    found = drafted(client, content, order(medicationCodeableConcept=torn), labs=GOOD_KIDNEYS)
    assert "a medication whose code and name disagree: 'Metformin 850 mg'" in told(found)


NAMED = {"medicationCodeableConcept": {"text": "Magnesium oxide 400 mg"}}


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "MedicationDispense", "status": "preparation", **NAMED},
        {"resourceType": "MedicationAdministration", "status": "in-progress", **NAMED},
        {"resourceType": "MedicationUsage", "status": "recorded", "medication": {"concept": {"text": "Magnesium"}}},
        {"resourceType": "RequestGroup", "contained": [order(**NAMED)]},
        {"resourceType": "CarePlan", "contained": [{"resourceType": "MedicationOrder", "id": "o", **NAMED}]},
        {"resourceType": "Parameters", "parameter": [{"name": "order", "resource": order(**NAMED)}]},
        {"resourceType": "NutritionOrder", "supplement": [{"type": {"text": "Magnesium oxide 400 mg"}}]},
        {"resourceType": "medicationDispense", "contained": [order(**NAMED)]},
    ],
)
def test_a_medicine_ordered_in_a_resource_that_is_not_read_is_no_all_clear(
    resource: dict[str, Any], client: FlaskClient, content: Content
) -> None:
    found = drafted(client, content, {"id": "x1", "status": "draft", **resource}, labs=GOOD_KIDNEYS)
    assert "something in draft orders could not be read" in told(found)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        *((kind, {"code": {"text": "medication"}}) for kind in ("ServiceRequest", "DeviceRequest", "RequestGroup")),
        ("VisionPrescription", {}),
        ("CommunicationRequest", {"payload": [{"contentString": "medication review, supplement"}]}),
        ("NutritionOrder", {"oralDiet": {"instruction": "salt free"}}),
        ("Task", {"description": "medicationReference"}),
    ],
)
def test_an_order_of_something_else_is_no_medicine(
    kind: str, more: dict[str, Any], client: FlaskClient, content: Content
) -> None:
    other = {"resourceType": kind, "id": "x1", "status": "draft", **more}
    assert drafted(client, content, other, labs=GOOD_KIDNEYS)["cards"] == []


def test_one_unknown_medicine_is_not_two_but_two_may_meet(client: FlaskClient, content: Content) -> None:
    one, other = {"text": "Xyzzol 20 mg tablets"}, {"text": "Qwertin 5 mg tablets"}
    assert answer(client, content, drugs=[one, one], labs=GOOD_KIDNEYS)["cards"] == []
    assert "medicines that are not known here: 'Xyzzol 20 mg tablets' and 'Qwertin 5 mg tablets'" in told(
        answer(client, content, drugs=[one, other], labs=GOOD_KIDNEYS)
    )
    assert "Xyzzol" in told(answer(client, content, drugs=[one, "magnesium_oxide"], labs=GOOD_KIDNEYS))


def test_what_nobody_knows_says_nothing_where_no_result_is_there_to_speak_of(
    client: FlaskClient, content: Content
) -> None:
    found = answer(client, content, hook="order-sign", drafts=[{"text": "Xyzzol 20 mg"}], labs=GOOD_KIDNEYS)
    assert "no serum magnesium result" not in told(found)
    assert "'Xyzzol 20 mg'" in told(found)


@pytest.mark.parametrize(
    ("code", "offered"),
    [
        ({"text": "kidneys no good, machine thrice weekly"}, False),
        ({"coding": [{"system": "http://hospital.example/problems", "code": "4711"}]}, False),
        ({"coding": [{"system": "http://snomed.info/sct", "code": "195967001"}], "text": "Asthma"}, True),
    ],
)
def test_no_magnesium_is_proposed_where_an_unknown_problem_may_speak_against_it(
    code: dict[str, Any], offered: bool, client: FlaskClient, content: Content
) -> None:
    chart = {"drugs": ["doxycycline"], "drafts": ["magnesium_oxide"], "labs": GOOD_KIDNEYS, "raw": [problem(**code)]}
    found = answer(client, content, hook="order-sign", **chart)
    (card,) = [card for card in found["cards"] if "doxycycline" in card["summary"]]
    assert bool(card.get("suggestions")) is offered


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"code": {"text": "Panel"}, "component": [{"code": {"text": "S-Mg"}}]}, "'S-Mg'"),
        (
            {"component": [{"code": {"coding": [{"system": "http://hospital.example", "code": "MG"}]}}]},
            "no code that is read here: 'MG'",
        ),
        ({"code": {"coding": [{"system": "http://hospital.example", "code": "MG"}]}}, "'MG'"),
        ({"code": {"coding": [{"display": "Magnesium im Serum"}]}}, "'Magnesium im Serum'"),
        ({"code": {}}, "could not be read"),
        ({"code": {"coding": [{"system": "http://hospital.example"}]}}, "could not be read"),
    ],
)
def test_a_result_of_ours_in_a_shape_that_is_not_read_is_no_missing_result(
    more: dict[str, Any], words: str, client: FlaskClient, content: Content
) -> None:
    drug = {"drug": "omeprazole", "since": "400 days ago"}
    case = {"name": "an odd result", "kind": "near_miss", "expect": EXPECT, "drugs": [drug], "raw": [result("19123-9")]}
    body = Builder(content.library, NOW).request(Scenario.model_validate(case), TEMPLATES)
    (entry,) = body["prefetch"]["serum_magnesium"]["entry"]
    panel = {"coding": [{"system": "http://loinc.org", "code": "24323-8"}]}
    entry["resource"] |= {"code": panel, **more}
    words_said = told(client.post("/cds-services/magnesium-patient-view", json=body).get_json())
    assert words in words_said
    assert "No magnesium result" not in words_said


def test_an_input_with_other_resources_alone_says_nothing_of_what_was_asked(
    client: FlaskClient, content: Content
) -> None:
    case = {"name": "what was given", "kind": "near_miss", "expect": EXPECT, "drafts": ["magnesium_oxide"]}
    body = Builder(content.library, NOW).request(
        Scenario.model_validate({**case, "hook": "order-sign", "labs": GOOD_KIDNEYS}), TEMPLATES
    )
    whose = {"reference": f"Patient/{body['context']['patientId']}"}
    given = {"resourceType": "MedicationAdministration", "id": "a1", "status": "completed", "subject": whose, **NAMED}
    for search, said in ((None, True), ({"mode": "include"}, False)):
        entry = {"resource": given} | ({"search": search} if search else {})
        body["prefetch"]["medications"] = {"resourceType": "Bundle", "type": "searchset", "entry": [entry]}
        found = client.post("/cds-services/magnesium-order-sign", json=body).get_json()
        assert ("entries of another type than asked for" in told(found)) is said
