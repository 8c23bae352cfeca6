"""What the EHR left out may be the newest result: an older one says what it says, and is no all-clear."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.expected import outcome_of
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW
from tests.test_not_identified import EXPECT, told
from tests.test_scenarios import TEMPLATES

PAGE = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]


def searched(*entries: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in entries], **more}


def outcome(code: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": code}]}


# Each takes the search that was whole, and leaves out something of unknown time.
LEFT_OUT = {
    "suppressed": lambda whole: {**whole, "entry": [*whole["entry"], {"resource": outcome("suppressed")}]},
    "timed out": lambda whole: {**whole, "entry": [*whole["entry"], {"resource": outcome("timeout")}]},
    "subsetted": lambda whole: {**whole, "meta": {"tag": [{"code": "SUBSETTED"}]}},
    "one of two refused": lambda whole: {"resourceType": "Bundle", "type": "batch-response", "entry": [
        {"resource": whole, "response": {"status": "200 OK"}}, {"response": {"status": "403 Forbidden"}}]},
    "another search goes on": lambda whole: searched(whole, searched(link=PAGE)),
    "another search goes on, nobody says where": lambda whole: searched(whole, searched(link=[{"relation": "next"}])),
    "another search lacks one": lambda whole: searched(whole, searched(total=1)),
    "deep inside": lambda whole: searched(searched(whole, searched(link=PAGE))),
}  # fmt: skip


def asked(client: FlaskClient, content: Content, key: str, left_out: Any, **patient: Any) -> dict[str, Any]:
    case = Scenario.model_validate({"name": "a part is missing", "kind": "near_miss", "expect": EXPECT, **patient})
    body = Builder(content.library, NOW).request(case, TEMPLATES)
    body["prefetch"][key] = left_out(body["prefetch"][key])
    answered = client.post(f"/cds-services/magnesium-{case.hook}", json=body)
    assert answered.status_code == 200, answered.json
    found: dict[str, Any] = answered.get_json()
    return found


def level(value: float, taken: str = "2 hours ago") -> list[dict[str, Any]]:
    return [{"lab": "serum_magnesium", "value": value, "unit": "mmol/L", "taken": taken}]


@pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_normal_result_beside_which_something_was_left_out_is_no_all_clear(
    left_out: Any, client: FlaskClient, content: Content
) -> None:
    found = asked(client, content, "serum_magnesium", left_out, labs=level(0.85))
    assert outcome_of("severely_low_serum_magnesium", found)["outcome"] == "not_evaluated"
    assert "serum magnesium arrived incomplete" in told(found)
    drafted = {"hook": "order-sign", "drafts": ["magnesium_oxide"]}
    kidney = [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}]
    found = asked(client, content, "kidney", left_out, labs=kidney, **drafted)
    assert outcome_of("magnesium_with_kidney_failure", found)["outcome"] == "not_evaluated"
    assert "arrived incomplete" in told(found)


@pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_finding_stands_and_says_what_was_left_out(left_out: Any, client: FlaskClient, content: Content) -> None:
    found = asked(client, content, "serum_magnesium", left_out, labs=level(0.42))
    card = found["cards"][0]
    assert card["summary"].startswith("Severely low magnesium 0.42")
    assert "serum magnesium arrived incomplete" in card["detail"]
    assert "arrived incomplete" in outcome_of("severely_low_serum_magnesium", found)["reason"]


@pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)
def test_no_missing_result_is_told_where_one_may_have_been_left_out(
    left_out: Any, client: FlaskClient, content: Content
) -> None:
    drugs = [{"drug": "omeprazole", "since": "400 days ago"}]
    for labs in ([], level(0.85, "500 days ago")):
        found = asked(client, content, "serum_magnesium", left_out, labs=labs, drugs=drugs)
        assert "No magnesium result" not in told(found)
        assert "serum magnesium arrived incomplete" in told(found)


@pytest.mark.parametrize("more", [{"total": 40}, {"total": "40"}, {"link": PAGE}, {"link": [{"relation": "Next"}]}])
def test_what_only_goes_on_with_older_results_leaves_the_newest_known(
    more: Any, client: FlaskClient, content: Content
) -> None:
    found = asked(client, content, "serum_magnesium", lambda whole: {**whole, **more}, labs=level(0.85))
    assert outcome_of("severely_low_serum_magnesium", found)["outcome"] == "quiet"
    assert found["extension"]["org.magnesium-cds"]["inputs"]["serum_magnesium"] == "incomplete"
