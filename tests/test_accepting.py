"""Taking a suggestion: the order says what was taken, and the next call is silent about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.hooks.app import Content
from tests.conftest import NOW
from tests.scenario import Builder, Scenario

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
    return Builder(content, NOW).request(case, templates)


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
    assert after["dosageInstruction"][0]["timing"] == before["dosageInstruction"][0]["timing"]
    assert "4 h" in after["dosageInstruction"][0]["patientInstruction"]
    body["context"]["draftOrders"]["entry"][0]["resource"] = after
    assert timing(ask(fresh, body)) == []


def test_a_client_that_keeps_only_the_drugs_text_and_code_is_silent_too(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    draft = body["context"]["draftOrders"]["entry"][0]["resource"]
    text = taken(timing(ask(fresh, body))[0])["medicationCodeableConcept"]["text"]
    assert text.endswith(", kept apart from levothyroxine")
    draft["medicationCodeableConcept"] |= {"text": text}
    draft["medicationCodeableConcept"]["coding"][0]["display"] = text
    assert timing(ask(fresh, body)) == []


def test_two_drugs_are_kept_apart_one_after_the_other(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine", "ciprofloxacin"], ["magnesium_oxide"])
    for left in (1, 0):
        after = taken(timing(ask(fresh, body))[0])
        body["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"] = after[
            "medicationCodeableConcept"
        ]
        assert len(timing(ask(fresh, body))) == left


def test_production_clients_find_nothing_of_ours_in_the_drugs_text(
    make_app: Callable[..., Flask], content: Content
) -> None:
    client = make_app(instruction_in_text=False).test_client()
    body = order(content, client, ["levothyroxine"], ["magnesium_oxide"])
    text = taken(timing(ask(client, body))[0])["medicationCodeableConcept"]["text"]
    assert text == body["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"]["text"]


def test_accepted_feedback_silences_the_same_finding_in_the_same_sitting(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    card = timing(ask(fresh, body))[0]
    item = {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": NOW.isoformat().replace("+00:00", "Z"),
    }
    assert fresh.post(f"{SERVICE}/feedback", json={"feedback": [item]}).status_code == 200
    assert timing(ask(fresh, body)) == []
    other = order(content, fresh, ["levothyroxine"], ["magnesium_citrate"])
    assert timing(ask(fresh, other)), "another magnesium product is another finding"
    elsewhere = orjson.loads(orjson.dumps(body).replace(b"scenario-patient", b"another-patient"))
    assert timing(ask(fresh, elsewhere)), "another patient has not been told"


def test_dismissing_a_card_does_not_silence_it(fresh: FlaskClient, content: Content) -> None:
    body = order(content, fresh, ["levothyroxine"], ["magnesium_oxide"])
    card = timing(ask(fresh, body))[0]
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
    assert fresh.post(f"{SERVICE}/feedback", json={"feedback": [item]}).status_code == 200
    body["hookInstance"] = str(uuid4())
    assert timing(ask(fresh, body))
