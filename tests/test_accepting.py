"""Taking a suggestion: the order says what was taken, and the next call is silent about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import orjson
import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW

SERVICE = "/cds-services/magnesium-order-select"


@pytest.fixture
def fresh(make_app: Callable[..., Flask]) -> FlaskClient:
    """A service whose database knows nothing yet."""
    return make_app().test_client()


def order(content: Content, client: FlaskClient, drugs: list[Any], drafts: list[Any]) -> dict[str, Any]:
    """A request of order-select."""
    case = Scenario.model_validate({
        "name": "an order with a suggestion", "kind": "fires", "hook": "order-select", "drugs": drugs, "drafts": drafts,
        "labs": [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}], "expect": {"outcome": "fired"},
    })  # fmt: skip
    services = client.get("/cds-services").json["services"]
    templates = next(item["prefetch"] for item in services if item["hook"] == "order-select")
    return Builder(content.library, NOW).request(case, templates)


def ask(client: FlaskClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = client.post(SERVICE, data=orjson.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.json
    return response.json["cards"]


def timing(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [card for card in cards if card["source"]["topic"]["code"] == "timing"]


def taken(card: dict[str, Any]) -> dict[str, Any]:
    """The resource of the card's only suggestion."""
    (suggestion,) = card["suggestions"]
    (action,) = suggestion["actions"]
    assert action["type"] == "update"
    return action["resource"]


def test_the_updated_order_keeps_everything_and_silences_the_card(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    before = body["context"]["draftOrders"]["entry"][0]["resource"]
    after = taken(timing(ask(fresh, body))[0])
    assert after["medicationCodeableConcept"]["coding"] == before["medicationCodeableConcept"]["coding"]
    assert after["dosageInstruction"][0]["doseAndRate"] == before["dosageInstruction"][0]["doseAndRate"]
    (time,) = after["dosageInstruction"][0]["timing"]["repeat"]["timeOfDay"]
    assert time[:5] in after["dosageInstruction"][0]["patientInstruction"]
    assert "4 h" in after["dosageInstruction"][0]["patientInstruction"]
    body["context"]["draftOrders"]["entry"][0]["resource"] = after
    assert timing(ask(fresh, body)) == []


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@example("0.10", False)
@example("1e2", False)
@example("2.50", True)
@example("12345678901234567890.123", False)
@example("123456789012345678901234567890", True)
@given(number=NUMBERS, mended=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_number_in_the_order_comes_back_with_every_digit(
    app: Flask, content: Content, number: str, mended: bool
) -> None:
    """FHIR's decimals keep their precision: 0.10 mg is no 0.1 mg. `mended`: in an order that needed a repair too."""
    client = app.test_client()
    body = order(content, client, ["levothyroxine"], ["magnesium_oxide"])
    draft = body["context"]["draftOrders"]["entry"][0]["resource"]
    draft["extension"] = [{"url": "urn:example:amount", "valueDecimal": "@"}]
    draft["dispenseRequest"] = {"quantity": {"value": "@", "unit": "tablet"}}
    if mended:
        draft["dosageInstruction"] = draft["dosageInstruction"][0]
    sent = orjson.dumps(body).replace(b'"@"', number.encode())
    answer = client.post(SERVICE, data=sent, content_type="application/json")
    assert answer.status_code == 200, answer.json
    (card,) = timing(json.loads(answer.data, parse_float=str, parse_int=str)["cards"])
    after = taken(card)
    assert (after["extension"][0]["valueDecimal"], after["dispenseRequest"]["quantity"]["value"]) == (number, number)


def test_a_client_that_keeps_only_the_drugs_text_and_code_is_silent_too(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    draft = body["context"]["draftOrders"]["entry"][0]["resource"]
    text = taken(timing(ask(fresh, body))[0])["medicationCodeableConcept"]["text"]
    assert text.endswith(", kept apart from levothyroxine")
    draft["medicationCodeableConcept"] |= {"text": text}
    draft["medicationCodeableConcept"]["coding"][0]["display"] = text
    assert timing(ask(fresh, body)) == []


def test_two_drugs_are_one_card_with_one_plan_and_one_suggestion(fresh: FlaskClient, content: Content) -> None:
    thyroid = {"drug": "levothyroxine", "at": ["07:00"]}
    antibiotic = {"drug": "ciprofloxacin", "at": ["08:00", "20:00"], "times": 2}
    body = order(content, fresh, [thyroid, antibiotic], ["magnesium_oxide"])
    (card,) = timing(ask(fresh, body))
    # 07:00 + 4 h = 11:00; 08:00 + 2 h = 10:00; 20:00 - 6 h = 14:00: free from 11:00 to 14:00.
    assert card["summary"].startswith("Magnesium at 12:30 fits: "), card["summary"]
    assert "| 12:30 | **magnesium** |" in card["detail"]
    after = taken(card)
    assert after["dosageInstruction"][0]["timing"]["repeat"]["timeOfDay"] == ["12:30:00"]
    codes = {item["coding"][0]["code"] for item in after["dosageInstruction"][0]["additionalInstruction"]}
    assert codes == {"levothyroxine", "ciprofloxacin"}
    MedicationRequest.model_validate(after)
    body["context"]["draftOrders"]["entry"][0]["resource"] = after
    assert timing(ask(fresh, body)) == []


def test_the_plan_is_a_picture_one_click_away_and_its_address_holds_no_patient(
    fresh: FlaskClient, content: Content
) -> None:
    body = order(content, fresh, [{"drug": "levothyroxine", "at": ["07:00"]}], ["magnesium_oxide"])
    (card,) = timing(ask(fresh, body))
    address = next(link["url"] for link in card["links"] if "/plan/" in link["url"])
    assert "scenario-patient" not in address
    path = address.split("localhost", 1)[1]
    assert "levothyroxine" in fresh.get(path).text
    assert fresh.get(path + ".svg").mimetype == "image/svg+xml"


def test_a_day_without_room_says_which_drugs_leave_none(fresh: FlaskClient, content: Content) -> None:
    drugs = [
        {"drug": "ciprofloxacin", "at": ["06:00", "11:00", "16:00", "21:00"], "times": 4},
        {"drug": "levothyroxine", "at": ["07:00"]},
    ]
    (card,) = timing(ask(fresh, order(content, fresh, drugs, ["magnesium_oxide"])))
    assert card["summary"].startswith("No time of day fits magnesium with ciprofloxacin")
    assert "Leaving magnesium out for now" in card["detail"]
    assert "timeOfDay" not in taken(card)["dosageInstruction"][0].get("timing", {}).get("repeat", {})


def test_production_clients_find_nothing_of_ours_in_the_drugs_text(
    make_app: Callable[..., Flask], content: Content
) -> None:
    client = make_app(instruction_in_text=False).test_client()
    body = order(content, client, ["levothyroxine"], ["magnesium_oxide"])
    text = taken(timing(ask(client, body))[0])["medicationCodeableConcept"]["text"]
    assert text == body["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"]["text"]


def accept(client: FlaskClient, card: dict[str, Any], hook: str) -> None:
    """Feedback that the first suggestion of the card was taken."""
    item = {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": NOW.isoformat().replace("+00:00", "Z"),
    }
    answer = client.post(f"/cds-services/magnesium-{hook}/feedback", json={"feedback": [item]})
    assert answer.status_code == 200, answer.json


def test_s20_an_accepted_test_silences_no_card_on_the_order_beside_which_it_was_proposed(
    fresh: FlaskClient, content: Content
) -> None:
    """Serum magnesium is ordered, and magnesium still is too: who signs is warned, be it the same user or another."""
    patient = {
        "name": "magnesium ordered in kidney failure", "kind": "fires", "drafts": ["magnesium_oxide"],
        "conditions": ["ckd_stage_5"], "expect": {"outcome": "fired"},
    }  # fmt: skip
    services = {item["hook"]: item for item in fresh.get("/cds-services").json["services"]}

    def told(hook: str, user: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
        case = Scenario.model_validate(patient | {"hook": hook})
        body = Builder(content.library, NOW).request(case, services[hook]["prefetch"])
        body["context"]["userId"] = user
        body["context"]["draftOrders"]["entry"] += [{"resource": item} for item in more]
        address = f"/cds-services/{services[hook]['id']}"
        answer = fresh.post(address, data=orjson.dumps(body), content_type="application/json")
        assert answer.status_code == 200, answer.json
        return answer.json["cards"]

    (card,) = told("order-select", "Practitioner/one")
    assert card["indicator"] == "critical"
    accept(fresh, card, "order-select")
    test = card["suggestions"][0]["actions"][0]["resource"] | {"id": "test"}
    for hook in ("order-select", "order-sign"):
        for user in ("Practitioner/one", "Practitioner/another"):
            for drafts in ((), (test,)):
                (again,) = told(hook, user, *drafts)
                assert (again["indicator"], again["summary"]) == ("critical", card["summary"]), (hook, user)


def test_accepted_information_is_not_told_again_in_the_same_sitting(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    (card,) = timing(ask(fresh, body))
    assert card["indicator"] == "info"
    accept(fresh, card, "order-select")
    assert timing(ask(fresh, body)) == []
    other = order(content, fresh, ["levothyroxine"], ["magnesium_citrate"])
    assert timing(ask(fresh, other)), "another magnesium product is another finding"
    elsewhere = orjson.loads(orjson.dumps(body).replace(b"scenario-patient", b"another-patient"))
    assert timing(ask(fresh, elsewhere)), "another patient has not been told"


def test_an_accepted_test_silences_no_result(fresh: FlaskClient, content: Content) -> None:
    """The repeat is ordered, the magnesium is low all the same: a colleague who opens the chart is told."""
    case = Scenario.model_validate({
        "name": "low magnesium", "kind": "fires", "hook": "patient-view", "expect": {"outcome": "fired"},
        "labs": [{"lab": "serum_magnesium", "value": 0.58, "unit": "mmol/L"}],
    })  # fmt: skip
    services = {item["hook"]: item for item in fresh.get("/cds-services").json["services"]}
    body = Builder(content.library, NOW).request(case, services["patient-view"]["prefetch"])

    def told() -> dict[str, Any]:
        (card,) = fresh.post("/cds-services/magnesium-patient-view", json=body).json["cards"]
        return card

    card = told()
    accept(fresh, card, "patient-view")
    body["context"]["userId"] = "Practitioner/another"
    assert told()["summary"] == card["summary"]


def test_dismissing_a_card_does_not_silence_it(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    card = timing(ask(fresh, body))[0]
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
    assert fresh.post(f"{SERVICE}/feedback", json={"feedback": [item]}).status_code == 200
    body["hookInstance"] = str(uuid4())
    assert timing(ask(fresh, body))
