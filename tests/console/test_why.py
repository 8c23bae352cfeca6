"""Why a card came: what is on record of it, each test where its facts were kept; and any request that is pasted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask

from cds_service.content.site import read_site
from cds_service.store import NewRevision, Revision
from tests.conformance.calls import invoke
from tests.conftest import NOW
from tests.console.support import Visitor, visitor
from tests.population.test_uploads import SAMPLES
from tests.trust.support import SERVICE, body_for

DOCUMENT = """site: Test hospital
rules:
  shared:
    thresholds:
      lower_limit: {value: 0.68, reason: Our own interval}
"""
RULE = "low_magnesium_to_correct_before_qt_drug"


@pytest.fixture
def app(make_app: Callable[..., Flask], tmp_path: Path) -> Flask:
    return make_app(console=True, managed_by="console", keep_facts=10, data_dir=tmp_path / "data")


def shown(app: Flask) -> dict[str, Any]:
    answer = app.test_client().post(SERVICE, data=orjson.dumps(body_for(app)), content_type="application/json")
    card: dict[str, Any] = answer.get_json()["cards"][0]
    app.extensions["facts"].flush()
    return card


def publish(app: Flask) -> Revision:
    advisor = app.extensions["advisor"]
    values = read_site(DOCUMENT, "r", advisor.current.library, advisor.current.input_keys)
    began = NOW - timedelta(days=1)
    made = advisor.store.publish(NewRevision(DOCUMENT, values.digest, "Anna", "Our own interval", began, began, 0))
    assert isinstance(made, Revision)
    advisor.current.take(values)
    return made


def test_a_card_leads_to_its_rule_revision_thresholds_and_each_test(app: Flask) -> None:
    publish(app)
    card = shown(app)
    page = visitor(app, "anna").get(f"/why?card={card['uuid']}").text
    assert "Revision 1 of Anna" in page
    assert "Our own interval" in page
    assert card["extension"]["org.magnesium-cds"]["rule"] in page
    assert "0.68" in page
    assert "this site" in page
    assert "holds" in page
    assert "found: serum_magnesium" in page
    assert "no answer came" in page
    assert "were not kept" not in page


def test_without_kept_facts_the_page_says_what_to_do(app: Flask) -> None:
    card = shown(app)
    app.extensions["facts"].purge()
    page = visitor(app, "anna").get(f"/why?card={card['uuid']}").text
    assert "The facts of this call were not kept" in page
    assert "none were set" in page


def test_a_card_that_is_not_on_record_is_said(app: Flask) -> None:
    found = visitor(app, "anna").get("/why?card=11111111-1111-4111-8111-111111111111")
    assert found.status_code == 404
    assert "No such card is on record" in found.text


def test_values_that_are_not_on_record_tell_no_thresholds(app: Flask) -> None:
    publish(app)
    card = shown(app)
    fresh = read_site("site: Another one\n", "r", app.extensions["advisor"].current.library, frozenset())
    app.extensions["advisor"].current.take(fresh)
    page = visitor(app, "anna").get(f"/why?card={card['uuid']}").text
    assert "Revision 1 of Anna" in page, "those of the card, not those of now"


@pytest.mark.parametrize("form", ["request", "bundle"])
def test_a_pasted_patient_gets_every_outcome_and_the_tests_of_one_rule(app: Flask, form: str) -> None:
    anna = visitor(app, "anna")
    sample = next(each for each in SAMPLES if each.id == "sotalol")
    body = json.dumps(body_for(app) if form == "request" else sample.bundle(NOW))
    found = anna.post("/why", body=body, hook="patient-view", rule=RULE, submit="1")
    assert found.status_code == 200, found.text
    assert f"Each test of {RULE}" in found.text
    assert "Every rule of this hook" in found.text
    told = json.loads(anna.post("/why", body=body, hook="patient-view", rule=RULE, json="1").text)
    assert told["why"]["rule"] == RULE
    assert {each["outcome"] for each in told["outcomes"]} >= {"fired", "quiet"}


@pytest.mark.parametrize(
    ("body", "rule", "said"),
    [
        ("{", "", "not JSON"),
        ("", "", "Paste the request"),
        ("[]", "", "neither a CDS Hooks request nor a FHIR Bundle"),
        ('{"resourceType": "Bundle"}', "", "0 Patient resources"),
        ('{"hook": "patient-view", "context": {}}', "", "userId is required"),
        ('{"hook": "Zq7", "context": {}}', "", "no service answers the hook"),
    ],
)
def test_what_cannot_be_read_is_told_and_not_repeated(app: Flask, body: str, rule: str, said: str) -> None:
    found = visitor(app, "anna").post("/why", body=body, hook="patient-view", rule=rule, submit="1")
    assert found.status_code == 400
    assert said in found.text


def test_a_rule_that_is_not_tried_there_is_told(anna: Visitor) -> None:
    body = json.dumps(SAMPLES[0].bundle(NOW))
    found = anna.post("/why", body=body, hook="patient-view", rule="low_serum_magnesum", submit="1")
    assert "did you mean low_serum_magnesium" in found.text


def test_the_command_tells_the_same_of_a_card(app: Flask, tmp_path: Path) -> None:
    publish(app)
    card = shown(app)
    app.extensions["facts"].close()
    app.extensions["advisor"].store.close()
    done = invoke("why", "--card", card["uuid"], "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "revision 1 of Anna: Our own interval" in done.stdout
    assert "found: serum_magnesium" in done.stdout
    told = json.loads(invoke("why", "--card", card["uuid"], "--json", "--data-dir", tmp_path / "data").stdout)
    assert told["revision"]["author"] == "Anna"
    missing = invoke("why", "--card", "nobody", "--data-dir", tmp_path / "data")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "No such card" in missing.stderr
    assert invoke("why").returncode == 2
