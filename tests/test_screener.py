"""The short intake screener: published as FHIR, its answers read as a range."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from fhir.resources.R4B.questionnaire import Questionnaire
from fhir.resources.R4B.questionnaireresponse import QuestionnaireResponse
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.scenario import PATIENT, Builder, Scenario
from tests.conftest import NOW


def answers(content: Content, code: str, leave_out: str = "") -> dict[str, Any]:
    """The same answer to every question."""
    screener = content.library.screener
    coding = {"system": screener.answer_system, "code": code}
    items = [{"linkId": name, "answer": [{"valueCoding": coding}]} for name in screener.items if name != leave_out]
    sheet = {
        "resourceType": "QuestionnaireResponse",
        "id": "sheet-1",
        "questionnaire": screener.canonical,
        "status": "completed",
        "authored": "2026-11-20T10:00:00Z",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "item": items,
    }
    QuestionnaireResponse.model_validate(sheet)
    return sheet


def outcome(
    client: FlaskClient, content: Content, sheet: dict[str, Any], sex: str = "female"
) -> tuple[dict[str, Any], list[Any]]:
    case = Scenario.model_validate(
        {"name": "somebody answered the screener", "kind": "fires", "sex": sex, "age": 40, "raw": [sheet],
         "expect": {"outcome": "fired"}}
    )  # fmt: skip
    services = client.get("/cds-services").json["services"]
    service = next(item for item in services if item["hook"] == "patient-view")
    body = Builder(content.library, NOW).request(case, service["prefetch"])
    response = client.post(f"/cds-services/{service['id']}", data=orjson.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.json
    found = response.json["extension"]["org.magnesium-cds"]["outcomes"]
    cards = [card for card in response.json["cards"] if card["source"]["topic"]["code"] == "intake"]
    return next(item for item in found if item["rule"] == "intake_below_allowance"), cards


def test_the_questionnaire_is_valid_r4_and_says_that_it_is_experimental(client: FlaskClient) -> None:
    body = client.get("/fhir/Questionnaire/magnesium-intake").json
    Questionnaire.model_validate(body)
    assert body["experimental"] is True
    assert "ot validated" in body["description"]


def test_somebody_who_rarely_eats_any_of_it_is_below_the_allowance(client: FlaskClient, content: Content) -> None:
    found, cards = outcome(client, content, answers(content, "rarely"))
    assert found["outcome"] == "fired"
    assert "0 to" in cards[0]["summary"]
    assert "not validated" in cards[0]["detail"]


def test_somebody_who_eats_all_of_it_daily_is_not(client: FlaskClient, content: Content) -> None:
    assert outcome(client, content, answers(content, "daily"))[0]["outcome"] == "quiet"


def test_a_range_that_spans_the_allowance_does_not_decide(client: FlaskClient, content: Content) -> None:
    found, _ = outcome(client, content, answers(content, "often"))
    assert found["outcome"] == "not_evaluated"
    assert "spans the allowance" in found["reason"]


@pytest.mark.parametrize("link", ["nuts", "fruit"])
def test_a_sheet_with_a_gap_gives_no_estimate(client: FlaskClient, content: Content, link: str) -> None:
    found, _ = outcome(client, content, answers(content, "rarely", leave_out=link))
    assert found["outcome"] == "not_evaluated"
    assert "not answered" in found["reason"]


def test_the_range_is_what_the_foods_give(client: FlaskClient, content: Content) -> None:
    library = content.library
    least = sum(
        min(library.foods[name].magnesium for name in item.foods) * library.screener.answers["weekly"].low
        for item in library.screener.items.values()
    )
    _, cards = outcome(client, content, answers(content, "weekly"))
    assert f"{least.quantize(Decimal(1))} to" in cards[0]["summary"]
