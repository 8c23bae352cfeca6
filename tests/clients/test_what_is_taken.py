"""Calls as EHRs document them are taken: long ids, scopes, slashes and discovery without a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.fhir.identity import is_id
from cds_service.sandbox.mock_ehr import MockEhr, Signer
from tests.clients.shapes import EPIC_SCOPE, epic, long_id
from tests.conformance.calls import answered, own, places, post, problem, sample_call
from tests.trust.support import BASE, bare_body, client_entry, clients_file

HOOKS = ("order-select", "order-sign")


def said(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(card["summary"], card["indicator"]) for card in answer["cards"]]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("length", [64, 65, 194, 216, 512])
def test_e14_an_order_with_a_long_id_is_read_as_one_with_a_short_id(
    client: FlaskClient, hook: str, length: int
) -> None:
    body = sample_call(client, "levothyroxine", hook)
    short, long = answered(client, body), answered(client, epic(body, order_id=length, medication_id=length))
    assert said(short)
    assert said(long) == said(short)
    (order, *_) = epic(body, order_id=length)["context"]["draftOrders"]["entry"]
    updates = [
        action["resource"]["id"]
        for card in long["cards"]
        for s in card.get("suggestions", ())
        for action in s["actions"]
    ]
    assert updates == [order["resource"]["id"][:length]] * len(updates)


@pytest.mark.parametrize("hook", HOOKS)
def test_e14_the_critical_card_of_a_failing_kidney_stands_whatever_the_length_of_ids(
    client: FlaskClient, hook: str
) -> None:
    """With an id of 65 characters it was an information card that said it was not checked."""
    body = sample_call(client, "kidney", hook)
    for entry in body["prefetch"]["kidney"]["entry"]:
        entry["resource"]["valueQuantity"] = {"value": 9, "unit": "mL/min/{1.73_m2}", "code": "mL/min/{1.73_m2}",
                                              "system": "http://unitsofmeasure.org"}  # fmt: skip
        entry["resource"]["code"] = {"coding": [{"system": "http://loinc.org", "code": "98979-8"}]}
    assert answered(client, body)["cards"][0]["indicator"] == "critical"
    assert said(answered(client, epic(body))) == said(answered(client, body))


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("context.selections.0", {"selections": ["MedicationRequest/" + "x" * 513]}),
        ("context.selections.0", {"selections": ["medicationRequest/x"]}),
        ("context.selections.0", {"selections": ["MedicationRequest/a/b"]}),
        ("context.selections.0", {"selections": ["MedicationRequest/.."]}),
        ("context.patientId", {"patientId": "x" * 513}),
        ("context.userId", {"userId": "PractitionerRole/" + "x" * 513}),
        ("context.userId", {"userId": "Organization/x"}),
    ],
)
def test_what_no_ehr_sends_is_still_refused_with_its_place(
    client: FlaskClient, place: str, change: dict[str, Any]
) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    body["context"] |= change
    assert places(problem(post(client, body), 400)) == [place]


def test_an_id_has_at_most_512_characters_and_is_no_way_up() -> None:
    assert is_id(long_id("x", 512))
    assert not is_id(long_id("x", 513))
    assert not is_id("." * 216)


def test_e7_a_user_may_be_a_practitioner_role_with_a_long_id(client: FlaskClient) -> None:
    body = sample_call(client, "low-magnesium")
    body["context"]["userId"] = f"PractitionerRole/{long_id('e', 300)}"
    assert answered(client, body)["cards"]


@pytest.fixture
def ehr() -> Iterator[MockEhr]:
    with MockEhr() as running:
        yield running


def test_e11_a_medication_with_a_long_id_is_read_from_the_server(
    make_app: Callable[..., Flask], client: FlaskClient
) -> None:
    """Before 2024 the order holds a reference and a display only."""
    body = epic(sample_call(client, "levothyroxine", "order-select"))
    drafts = body["context"]["draftOrders"]
    (medication,) = [e["resource"] for e in drafts["entry"] if e["resource"]["resourceType"] == "Medication"]
    drafts["entry"] = [e for e in drafts["entry"] if e["resource"]["resourceType"] != "Medication"]
    for entry in drafts["entry"]:
        del entry["resource"]["medicationReference"]["display"]
    wanted = answered(client, sample_call(client, "levothyroxine", "order-select"))
    token = {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "scope": EPIC_SCOPE, "subject": "cds"}
    with MockEhr(resources=lambda: [medication]) as ehr:
        reader = make_app(fhir_servers=(ehr.fhir,)).test_client()
        answer = answered(reader, body | {"fhirServer": ehr.fhir, "fhirAuthorization": token})
        assert ehr.asked(f"Medication/{medication['id']}") == 1
    assert said(answer) == said(wanted)


def test_e15_with_the_scopes_of_epics_page_the_chart_is_read(make_app: Callable[..., Flask], ehr: MockEhr) -> None:
    client = make_app(fhir_servers=(ehr.fhir,)).test_client()
    token = {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "scope": EPIC_SCOPE, "subject": "cds"}
    body = bare_body() | {"fhirServer": ehr.fhir, "fhirAuthorization": token}
    inputs = own(answered(client, body))["inputs"]
    read = {
        "patient",
        "conditions",
        "medications",
        "medication_statements",
        "serum_magnesium",
        "electrolytes",
        "kidney",
    }
    assert {key for key, state in inputs.items() if state == "fetched"} >= read - {
        key for key, state in inputs.items() if state == "empty"
    }
    assert {key for key, state in inputs.items() if state == "failed"} == {
        "ecg",
        "intake",
        "pregnancy",
        "screener",
    } & set(inputs)


def test_s2_an_address_with_two_slashes_is_the_service(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    """The token names it with both."""
    signer = Signer("https://ehr.example")
    app = make_app(profile="production", public_url=BASE, clients=clients_file(tmp_path, client_entry(signer)))
    client = app.test_client()
    for path in ("/cds-services//magnesium-patient-view", "/cds-services/magnesium-patient-view"):
        token = {"Authorization": f"Bearer {signer.token(BASE + path)}"}
        assert client.post(path, json=bare_body(), headers=token).status_code == 200, path
    feedback = "/cds-services//magnesium-patient-view/feedback"
    item = {"card": "x", "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
    token = {"Authorization": f"Bearer {signer.token(BASE + feedback)}"}
    assert client.post(feedback, json={"feedback": [item]}, headers=token).status_code == 200
    assert client.post("/cds-services///magnesium-patient-view", json=bare_body()).status_code == 404


def test_r3_discovery_is_read_without_a_token_where_a_setting_says_so(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    file = clients_file(tmp_path, client_entry(Signer("https://ehr.example")))
    given = {"profile": "production", "public_url": BASE, "clients": file}
    closed, opened = make_app(**given).test_client(), make_app(**given, open_discovery=True).test_client()
    assert closed.get("/cds-services").status_code == 401
    assert opened.get("/cds-services").json["services"]
    assert opened.get("/cds-services", headers={"Authorization": "Bearer x"}).status_code == 401
    assert opened.post("/cds-services/magnesium-patient-view", json=bare_body()).status_code == 401
