"""What nobody here can identify: a draft is always said, anything else where its worst reading could warn."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from tests.conftest import NOW
from tests.scenario import Builder, Scenario
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
        ({"rxnorm": "999999999", "text": ""}, "an ordered medicine without a name or known code"),
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
    body = Builder(content, NOW).request(scenario, TEMPLATES)
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
    body = Builder(content, NOW).request(scenario, TEMPLATES)
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
