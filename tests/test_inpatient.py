"""In hospital a magnesium of three days ago says nothing about today; at home it does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from tests.conftest import NOW
from tests.scenario import PATIENT, Builder, Scenario


def outcomes(
    client: FlaskClient, content: Content, days: int, encounter: str | None, hook: str = "patient-view"
) -> dict[str, Any]:
    """Of a patient with a low magnesium, for whom magnesium is drafted on order hooks."""
    case = Scenario.model_validate(
        {"name": "a low magnesium of some days ago", "kind": "stale", "expect": {"outcome": "fired"}, "hook": hook,
         "drafts": [{"text": "Magnesium Oxide 400 MG Oral Tablet", "rxnorm": "198741", "times": 2}],
         "labs": [{"lab": "serum_magnesium", "value": 0.58, "unit": "mmol/L", "taken": f"{days} days ago"}]}
    )  # fmt: skip
    service = next(item for item in client.get("/cds-services").json["services"] if item["hook"] == hook)
    body = Builder(content, NOW).request(case, {k: v for k, v in service["prefetch"].items() if k != "encounter"})
    if encounter:
        body["prefetch"]["encounter"] = {
            "resourceType": "Encounter",
            "id": "stay",
            "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": encounter},
            "subject": {"reference": f"Patient/{PATIENT}"},
        }
    response = client.post(f"/cds-services/{service['id']}", data=orjson.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.json
    found = response.json["extension"]["org.magnesium-cds"]["outcomes"]
    return {item["rule"]: item for item in found}


@pytest.mark.parametrize(
    ("days", "encounter", "expected"),
    [
        (3, "IMP", "not_applicable"),
        (1, "IMP", "fired"),
        (3, "EMER", "not_applicable"),
        (3, "AMB", "fired"),
        (3, None, "fired"),
    ],
)
def test_results_age_faster_in_hospital(
    client: FlaskClient, content: Content, days: int, encounter: str | None, expected: str
) -> None:
    found = outcomes(client, content, days, encounter)
    assert found["low_serum_magnesium"]["outcome"] == expected
    if expected == "not_applicable":
        assert "3 days old" in found["low_serum_magnesium"]["reason"]
        assert found["low_magnesium_not_repeated"]["outcome"] == "fired"


@pytest.mark.parametrize(
    ("days", "encounter", "expected"),
    [(7, "IMP", "quiet"), (8, "IMP", "fired"), (8, "AMB", "quiet"), (90, None, "quiet"), (91, None, "fired")],
)
def test_an_order_replaces_a_low_level_of_a_week_in_hospital_and_of_three_months_outside(
    client: FlaskClient, content: Content, days: int, encounter: str | None, expected: str
) -> None:
    found = outcomes(client, content, days, encounter, "order-sign")
    assert found["magnesium_above_upper_level"]["outcome"] == expected
