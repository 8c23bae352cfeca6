"""Where something may speak against magnesium and could not be looked at, no card proposes it, and it says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.rules import evaluate
from cds_service.sandbox.expected import offers
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW
from tests.test_not_identified import EXPECT, GOOD_KIDNEYS, order, problem, result
from tests.test_scenarios import TEMPLATES

FINDING = "**Not proposed:** times for magnesium or a changed order, because another finding speaks against magnesium."
HIDDEN = "**Not proposed:** times for magnesium or a changed order, because a reason against magnesium may be hidden: "
LOCAL = {"coding": [{"system": "http://hospital.example/codes", "code": "4711"}]}
MYASTHENIA = problem(coding=[{"system": "http://snomed.info/sct", "code": "91637004"}])


def spaced(client: FlaskClient, content: Content, change: Callable[[Any], None] | None = None, **more: Any) -> Any:
    """The card on doxycycline beside a draft of magnesium, and what its answer offers."""
    case = {"name": "doses that meet", "kind": "near_miss", "expect": EXPECT, "hook": "order-sign"}
    orders = {"drugs": [{"drug": "doxycycline", "at": ["08:00"]}], "drafts": ["magnesium_oxide"], "labs": GOOD_KIDNEYS}
    body = Builder(content.library, NOW).request(Scenario.model_validate(case | orders | more), TEMPLATES)
    if change:
        change(body)
    answered = client.post("/cds-services/magnesium-order-sign", json=body)
    assert answered.status_code == 200, answered.json
    found = answered.get_json()
    (card,) = [card for card in found["cards"] if "doxycycline" in card["summary"]]
    return card, list(offers(found))


def test_where_all_was_looked_at_times_and_a_changed_order_are_proposed(client: FlaskClient, content: Content) -> None:
    card, offered = spaced(client, content)
    assert {"Keep the doses apart"} <= {item["label"] for item in card["suggestions"]}
    assert offered and "Not proposed" not in card["detail"]


@pytest.mark.parametrize(
    ("patient", "why"),
    [
        ({"failed": ["conditions"]}, "problem list could not be read: the EHR reported an error"),
        ({"without": ["conditions"]}, "problem list not sent and not readable"),
        ({"raw": [problem(text="kidneys no good, machine thrice weekly")]}, "'kidneys no good, machine thrice weekly'"),
        ({"raw": [problem(**LOCAL)]}, "a problem that is in no code that is read here: '4711'"),
        ({"raw": [problem()]}, "something in problem list could not be read"),
        ({"raw": [MYASTHENIA | {"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}]}, "problem list could"),
        ({"failed": ["kidney"]}, "kidney function results could not be read: the EHR reported an error"),
        ({"without": ["kidney"]}, "kidney function results not sent and not readable"),
        ({"labs": [{"lab": "creatinine", "value": 600, "unit": "furlong"}]}, "the newest eGFR result cannot be used"),
        ({"labs": [{"lab": "creatinine", "value": 600, "unit": "umol/L", "status": "unknown"}]}, "eGFR result cannot"),
        ({"labs": [{"lab": "egfr", "value": 60, "unit": "mL/min/{1.73_m2}", "comparator": "<"}]}, "only as a bound"),
        ({"age": None, "labs": [{"lab": "creatinine", "value": 600, "unit": "umol/L"}]}, "age not known"),
        ({"failed": ["serum_magnesium"]}, "serum magnesium could not be read: the EHR reported an error"),
        ({"labs": [*GOOD_KIDNEYS, {"lab": "serum_magnesium", "value": 3, "unit": "furlong"}]}, "result cannot be used"),
    ],
)  # fmt: skip
def test_what_may_speak_against_magnesium_and_could_not_be_looked_at_stops_proposals(
    patient: dict[str, Any], why: str, client: FlaskClient, content: Content
) -> None:
    card, offered = spaced(client, content, **patient)
    assert offered == []
    assert HIDDEN in card["detail"] and why in card["detail"].partition(HIDDEN)[2].partition("\n")[0]
    assert "Consider" in card["detail"], "the distance itself is still told"
    assert card["detail"].count(why) == 1, "once is enough"


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("conditions", {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": {
            "resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "suppressed"}]}}]}),
        ("conditions", {"resourceType": "Bundle", "type": "searchset", "total": 3, "entry": []}),
        ("conditions", {"resourceType": "Bundle", "type": "searchset", "entry": [
            {"resource": {"resourceType": "Parameters"}}]}),
        ("conditions", [17]),
        ("kidney", {"resourceType": "Bundle", "type": "searchset", "entry": [
            {"response": {"status": "403 Forbidden"}}]}),
        ("kidney", {"resourceType": "Bundle", "meta": {"tag": [{"code": "SUBSETTED"}]}, "entry": []}),
    ],
)  # fmt: skip
def test_a_part_that_is_missing_stops_proposals_too(
    key: str, answer: Any, client: FlaskClient, content: Content
) -> None:
    card, offered = spaced(client, content, lambda body: body["prefetch"].update({key: answer}))
    assert offered == [] and HIDDEN in card["detail"]


def test_a_result_under_a_local_code_stops_proposals(client: FlaskClient, content: Content) -> None:
    def renamed(body: Any) -> None:
        body["prefetch"]["kidney"]["entry"][0]["resource"]["code"] = {"text": "Kreatinin"}

    card, offered = spaced(client, content, renamed)
    assert offered == [] and "a result sent for eGFR under no code that is read here: 'Kreatinin'" in card["detail"]


@pytest.mark.parametrize(
    "patient",
    [
        {"labs": []},
        {"labs": [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}", "taken": "500 days ago"}]},
        {"raw": [problem(coding=[{"system": "http://snomed.info/sct", "code": "195967001"}], text="Asthma")]},
        {"raw": [{**order(medicationCodeableConcept={"text": "Xyzzol 20 mg"}), "id": "o2"}]},
        {"raw": [result("19123-9", valueQuantity={"value": 2, "unit": "mg/dL"})]},
        {"failed": ["pregnancy"]},
    ],
)
def test_what_is_known_to_be_absent_or_harmless_stops_nothing(
    patient: dict[str, Any], client: FlaskClient, content: Content
) -> None:
    card, offered = spaced(client, content, **patient)
    assert offered and "Not proposed" not in card["detail"]


def test_a_finding_against_magnesium_is_named_as_the_reason(client: FlaskClient, content: Content) -> None:
    card, offered = spaced(client, content, raw=[MYASTHENIA])
    assert offered == [] and FINDING in card["detail"]
    both, offered = spaced(client, content, raw=[MYASTHENIA], failed=["kidney"])
    assert offered == [] and FINDING in both["detail"] and HIDDEN not in both["detail"]


def test_a_rule_against_magnesium_that_meets_a_fault_of_ours_stops_proposals(
    make_app: Callable[..., Flask], content: Content, monkeypatch: pytest.MonkeyPatch, expected_faults: list[Any]
) -> None:
    before = evaluate._try

    def try_rule(ready: Any, *asked: Any) -> Any:
        if ready.rule.id == "magnesium_with_heart_block":
            raise ZeroDivisionError
        return before(ready, *asked)

    monkeypatch.setattr(evaluate, "_try", try_rule)
    card, offered = spaced(make_app().test_client(), content, conditions=["heart_block"])
    assert offered == [] and HIDDEN + "an internal fault" in card["detail"]
    assert expected_faults


PRESUMES = "**Not proposed:** giving magnesium, because of another finding."
EGFR_50 = {"lab": "egfr", "value": 50, "unit": "mL/min/{1.73_m2}"}
SEVERELY_HIGH = {"lab": "serum_magnesium", "value": 2.3, "unit": "mmol/L"}
EGFR_22 = EGFR_50 | {"value": 22}
RISEN = [{"lab": "creatinine", "value": value, "unit": "umol/L", "taken": taken}
         for value, taken in ((150, "1 hour ago"), (80, "49 hours ago"))]  # fmt: skip
INFUSION = {"drug": "magnesium_sulfate", "text": "Magnesium sulfate 2 g in 50 mL infusion", "route": "intravenous"}
BY_VEIN = {"sex": "male", "age": 66, "drafts": [INFUSION]}


def signing(client: FlaskClient, content: Content, **patient: Any) -> list[dict[str, Any]]:
    """The cards at the signing of magnesium."""
    case = {"name": "magnesium signed", "kind": "near_miss", "expect": EXPECT, "hook": "order-sign"}
    body = Builder(content.library, NOW).request(Scenario.model_validate(case | patient), TEMPLATES)
    answered = client.post("/cds-services/magnesium-order-sign", json=body)
    assert answered.status_code == 200, answered.json
    return answered.get_json()["cards"]


@pytest.mark.parametrize(
    ("patient", "speaks_against", "presumes"),
    [
        ({"drafts": ["magnesium_oxide"], "labs": [EGFR_50]}, {"labs": [EGFR_50, SEVERELY_HIGH]}, "lowest dose"),
        ({"drafts": [{"drug": "magnesium_oxide", "reason": "migraine"}]}, {"conditions": ["ckd_stage_5"]}, "trial"),
        (BY_VEIN | {"conditions": ["torsades_de_pointes"], "labs": [EGFR_22]}, {"labs": [EGFR_22, SEVERELY_HIGH]},
         "fewer doses"),
        (BY_VEIN | {"encounter": "IMP", "labs": RISEN}, {"labs": [*RISEN, SEVERELY_HIGH]}, "slower dose"),
        (BY_VEIN | {"encounter": "IMP", "conditions": ["acute_kidney_injury"]}, {"labs": [SEVERELY_HIGH]},
         "slower dose"),
    ],
)  # fmt: skip
def test_s15_no_card_of_an_answer_speaks_for_magnesium_beside_one_against_it(
    patient: dict[str, Any], speaks_against: dict[str, Any], presumes: str, client: FlaskClient, content: Content
) -> None:
    """Nobody reads "Withholding this order" and, below, the dose in which to give it."""
    alone = "\n".join(card["detail"] for card in signing(client, content, **patient))
    assert presumes in alone and PRESUMES not in alone
    cards = signing(client, content, **(patient | speaks_against))
    told = "\n".join(card["detail"] for card in cards)
    assert cards[0]["indicator"] == "critical"
    assert presumes not in told and told.count(PRESUMES) == 1
    assert all("**Consider:**\n- " in card["detail"] for card in cards), "each has an option all the same"


@pytest.mark.parametrize(
    ("patient", "reason"),
    [
        ({"drafts": ["magnesium_oxide"], "conditions": ["dialysis"]},
         "Oral magnesium ordered for a patient on dialysis or with kidney failure on record"),
        ({"drafts": ["magnesium_oxide"], "labs": [EGFR_50, SEVERELY_HIGH]},
         "Magnesium ordered with severely high serum magnesium"),
    ],
)  # fmt: skip
def test_an_answer_proposes_a_test_once_and_for_what_was_found(
    patient: dict[str, Any], reason: str, client: FlaskClient, content: Content
) -> None:
    """One order of serum magnesium, be there two cards that ask for it; too much is no risk of deficiency."""
    cards = signing(client, content, **patient)
    orders = [one["actions"][0]["resource"] for card in cards for one in card.get("suggestions", ())]
    (order,) = [order for order in orders if order["code"]["coding"][0]["code"] == "19123-9"]
    assert order["reasonCode"] == [{"text": reason}]
    assert all(card.get("suggestions", [1]) for card in cards), "none is empty"
