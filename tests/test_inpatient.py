"""In hospital a magnesium of three days ago says nothing about today; at home it does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from tests.conftest import NOW
from tests.scenario import PATIENT, Builder, Scenario


def outcomes(client: FlaskClient, content: Content, days: int, encounter: str | None) -> dict[str, Any]:
    case = Scenario.model_validate(
        {"name": "a low magnesium of some days ago", "kind": "stale", "expect": {"outcome": "fired"},
         "labs": [{"lab": "serum_magnesium", "value": 0.58, "unit": "mmol/L", "taken": f"{days} days ago"}]}
    )  # fmt: skip
    service = client.get("/cds-services").json["services"][0]
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
