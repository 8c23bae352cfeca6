"""C1-C9 and C20-C25: transport, JSON, discovery and the prefetch templates that discovery publishes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.sandbox import patients
from tests.conformance.calls import (
    Body,
    answered,
    every_sample_call,
    inpatient_call,
    outcome,
    own,
    post,
    sample_call,
    services,
    walk,
    young_woman_call,
)
from tests.conftest import NOW
from tests.support.some import some

# The hook pages of the specification's library: hookVersion, and the context fields with "Prefetch Token: Yes".
PUBLISHED = {
    "patient-view": ("1.0", {"userId", "patientId", "encounterId"}),
    "order-select": ("1.0", {"userId", "patientId", "encounterId"}),
    "order-sign": ("1.0", {"userId", "patientId", "encounterId"}),
}
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?\Z")
TOKEN = re.compile(r"\{\{(.*?)\}\}")


def published_templates(client: FlaskClient) -> Iterator[tuple[str, str, str]]:
    for hook, service in services(client).items():
        for key, template in service["prefetch"].items():
            yield hook, key, template


def strict_json(data: bytes) -> Any:
    """JSON without what RFC 8259 forbids; a key that stands twice is a fault too."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), "a key stands twice"
        return dict(pairs)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)


def test_c01_answers_are_json_and_refusals_are_fhir_json(client: FlaskClient) -> None:
    assert client.get("/cds-services").content_type == "application/json"
    assert post(client, sample_call(client, "low-magnesium")).content_type == "application/json"
    assert post(client, {"hook": "patient-view"}).content_type == "application/fhir+json"


def test_c01_a_body_that_is_not_sent_as_json_is_refused(client: FlaskClient) -> None:
    body = json.dumps(sample_call(client, "healthy")).encode()
    assert post(client, body, "patient-view", content_type="text/plain").status_code == 415
    assert post(client, body, "patient-view", content_type="application/json; charset=utf-8").status_code == 200


def test_c02_nothing_empty_stands_in_any_answer(client: FlaskClient) -> None:
    documents = [("discovery", client.get("/cds-services").json)]
    documents += [(name, answered(client, body)) for name, body in every_sample_call(client)]
    refusal = post(client, sample_call(client, "healthy", context={}))
    documents.append(("a refusal", json.loads(refusal.data)))
    faults = [
        f"{name}: {path}"
        for name, document in documents
        for path, value in walk(document)
        if (value is None or value == "" or value == [] or value == {}) and path != ("cards",)
    ]
    assert not faults


def test_c02_a_draft_with_empty_members_comes_back_without_them(client: FlaskClient) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    for entry in body["context"]["draftOrders"]["entry"]:
        entry["resource"] |= {"reasonCode": [], "note": [], "category": []}
    answer = answered(client, body)
    assert answer["cards"][0]["suggestions"]
    faults = [path for path, value in walk(answer) if value is None or value == "" or value == [] or value == {}]
    assert not faults


def test_c03_answers_hold_no_comment_no_trailing_comma_and_no_key_twice(client: FlaskClient) -> None:
    answers = [client.get("/cds-services"), client.get("/readyz")]
    answers += [post(client, body) for _, body in every_sample_call(client)]
    assert all(strict_json(answer.data) for answer in answers)


def test_c04_discovery_is_at_cds_services(client: FlaskClient) -> None:
    answer = client.get("/cds-services")
    assert answer.status_code == 200
    found = strict_json(answer.data)["services"]
    assert isinstance(found, list)
    assert {item["hook"] for item in found} == set(PUBLISHED)


def test_c05_each_service_says_hook_title_description_id_and_specification_version(client: FlaskClient) -> None:
    for service in some(services(client).values()):
        for member in ("hook", "title", "description", "id", "version", "usageRequirements"):
            assert isinstance(service[member], str)
            assert service[member] == service[member].strip() != ""
        assert SEMVER.match(service["version"])
        assert service["version"] == "3.0.0"
        assert all(isinstance(template, str) for template in service["prefetch"].values())


def test_c06_hook_versions_are_those_of_the_published_hooks(client: FlaskClient) -> None:
    assert {hook: item["hookVersion"] for hook, item in services(client).items()} == {
        hook: version for hook, (version, _) in PUBLISHED.items()
    }


def test_c07_no_two_hooks_share_an_id_since_a_real_client_breaks_on_that(client: FlaskClient) -> None:
    ids = [item["id"] for item in services(client).values()]
    assert len(set(ids)) == len(ids) == 3
    body = sample_call(client, "healthy", "order-sign") if patients.load()["healthy"].drafts else None
    wrong = post(client, body or sample_call(client, "levothyroxine", "order-sign"), "order-select")
    assert wrong.status_code == 400


def test_c08_other_statuses_tell_what_is_wrong_with_an_address(client: FlaskClient) -> None:
    assert client.post("/cds-services/no-such-service", json={}).status_code == 404
    assert client.get("/cds-services/").status_code == 404
    wrong = client.get("/cds-services/magnesium-patient-view")
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["Allow"]
    assert client.delete("/cds-services").status_code == 405


def test_c09_what_the_service_does_is_published_for_people(client: FlaskClient) -> None:
    home = client.get("/")
    assert home.mimetype == "text/html"
    for service in services(client).values():
        assert service["id"] in home.text
        assert "prefetch" in service["usageRequirements"] or "draftOrders" in service["usageRequirements"]
    assert client.get("/evidence").mimetype == "text/html"


def test_c20_templates_are_reads_or_searches_with_known_tokens(client: FlaskClient) -> None:
    read = r"Patient/\{\{context\.patientId\}\}|Encounter/\{\{context\.encounterId\}\}"
    for hook, key, template in some(published_templates(client)):
        path = template.split("?")[0]
        assert re.fullmatch(rf"[A-Z][A-Za-z]+|{read}", path), (hook, key, template)
        assert TOKEN.findall(template), (hook, key)
        assert "{{" not in TOKEN.sub("", template)


def test_c21_tokens_are_context_fields_that_the_hook_allows(client: FlaskClient) -> None:
    for hook, key, template in some(published_templates(client)):
        for token in some(TOKEN.findall(template)):
            assert re.fullmatch(r"context\.[A-Za-z]+", token), (hook, key, token)
            assert token.removeprefix("context.") in PUBLISHED[hook][1]


def test_c22_templates_stay_in_the_widely_supported_subset(client: FlaskClient) -> None:
    searchable = {
        "Condition": {"patient"},
        "MedicationRequest": {"patient", "status"},
        "MedicationStatement": {"patient", "status"},
        "MedicationAdministration": {"patient", "status"},
        "Observation": {"patient", "code"},
        "QuestionnaireResponse": {"patient", "questionnaire"},
    }
    reads = {template for _, _, template in published_templates(client) if "?" not in template}
    assert reads <= {"Patient/{{context.patientId}}", "Encounter/{{context.encounterId}}"}
    for hook, key, template in some(one for one in published_templates(client) if "?" in one[2]):
        path, _, query = template.partition("?")
        names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
        assert len(set(names)) == len(names), f"{hook} {key}: a real client sends a repeated parameter as one"
        assert set(names) <= searchable[path] | {"_count", "_sort"}, (hook, key, names)
        assert ":" not in "".join(names)


def test_c23_templates_hold_no_today_for_clients_that_cannot_fill_it(client: FlaskClient) -> None:
    assert not [template for _, _, template in published_templates(client) if "today()" in template]


def test_c23_windows_of_today_are_published_where_the_setting_asks_for_them(make_app: Callable[..., Flask]) -> None:
    client = make_app(today_windows=True).test_client()
    windows = [template for _, _, template in published_templates(client) if "today()" in template]
    assert windows, "today_windows changes nothing"
    for template in windows:
        assert re.search(r"&date=ge\{\{today\(\) - \d{1,4} days\}\}", template), template
        assert template.count("date=") == 1


def test_c24_no_template_depends_on_another_key(client: FlaskClient) -> None:
    assert not [template for _, _, template in published_templates(client) if "%" in template]


def test_c25_results_are_sorted_newest_first_in_the_way_that_fhir_has(client: FlaskClient) -> None:
    order = {"Observation": "-date", "QuestionnaireResponse": "-authored"}
    seen = set()
    for _, key, template in published_templates(client):
        kind, _, query = template.partition("?")
        assert "sort:" not in query
        if kind in order:
            seen.add(kind)
            assert dict(parse_qsl(query))["_sort"] == order[kind], key
    assert "Observation" in seen


def said(answer: dict[str, Any]) -> list[Any]:
    """What an answer says, without what differs from call to call."""
    cards = [(card["summary"], card["detail"]) for card in answer["cards"]]
    return [*cards, *own(answer)["outcomes"]]


def weighing(kilograms: int, patient: str) -> Body:
    """A search that found one body weight, of the day of the tests."""
    weight = {
        "resourceType": "Observation",
        "id": "weight",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": NOW.isoformat(),
        "valueQuantity": {"value": kilograms, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    }
    return {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [{"resource": weight}]}


def with_other_drafts(body: Body) -> Iterator[Body]:
    """The same call with a drug that prolongs QT for the first draft, and with magnesium by vein for a child."""
    for name, born in (("haloperidol", None), ("magnesium sulfate", "2021-01-01")):
        changed = copy.deepcopy(body)
        order = changed["context"]["draftOrders"]["entry"][0]["resource"]
        order["medicationCodeableConcept"] = {"text": name}
        order["dosageInstruction"] = [{"text": "2 g IV over 20 minutes"}]
        if born:
            changed["prefetch"]["patient"]["birthDate"] = born
            changed["prefetch"]["weight"] = weighing(18, body["context"]["patientId"])
        yield changed


@pytest.mark.parametrize("hook", sorted(PUBLISHED))
def test_c17_a_key_that_was_asked_for_and_not_sent_is_missed_somewhere(hook: str, client: FlaskClient) -> None:
    for key in some(services(client)[hook]["prefetch"]):
        calls = [body for _, body in every_sample_call(client) if body["hook"] == hook]
        calls += [other for body in calls if "draftOrders" in body["context"] for other in with_other_drafts(body)]
        before = [said(answered(client, body)) for body in calls]
        for body in calls:
            body["prefetch"].pop(key, None)
        assert [said(answered(client, body)) for body in calls] != before, f"nobody misses {key}"


def test_c17_that_pregnancy_could_not_be_read_is_said_on_a_card_that_it_would_change(client: FlaskClient) -> None:
    body = young_woman_call(client)
    assert answered(client, body)["cards"][0]["indicator"] == "warning"
    del body["prefetch"]["pregnancy"]
    assert "pregnancy" in answered(client, body)["cards"][0]["detail"]


@pytest.mark.parametrize("hook", sorted(PUBLISHED))
def test_c17_no_key_is_read_that_was_not_asked_for(hook: str, client: FlaskClient) -> None:
    asked = set(services(client)[hook]["prefetch"])
    for _, body in every_sample_call(client):
        if body["hook"] == hook:
            assert set(own(answered(client, body))["inputs"]) - {"draft_orders"} == asked


def test_c17_that_the_encounter_could_not_be_read_is_said_on_a_card_that_it_would_change(client: FlaskClient) -> None:
    body = inpatient_call(client)
    assert outcome(answered(client, body), "low_serum_magnesium")["outcome"] == "not_applicable"
    del body["prefetch"]["encounter"]
    assert "encounter" in answered(client, body)["cards"][0]["detail"]


def test_c17_an_input_that_this_ehr_has_not_got_is_not_asked_for(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    absent = {"medication_statements": {"available": False, "reason": "none are kept here"}}
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump({"site": "Test hospital", "inputs": absent}), "utf-8")
    client = make_app(site=file).test_client()
    for service in services(client).values():
        assert "medication_statements" not in service["prefetch"]
        assert "medications" in service["prefetch"]
    answer = answered(client, sample_call(client, "levothyroxine", "order-select"))
    assert outcome(answer, "levothyroxine_timing")["outcome"] == "fired"
