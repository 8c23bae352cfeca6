"""C10-C19 and C26-C30: what a call must hold, what is done about what it lacks, and access to the FHIR server."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from cds_service.sandbox.stub import StubServer
from tests.conformance.calls import answered, outcome, own, places, post, problem, sample_call
from tests.conftest import NOW
from tests.store.helpers import counts
from tests.store.test_trouble import eventually

TOKEN = "secret-token-of-a-clinician"
AUTHORIZATION = {
    "access_token": TOKEN,
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "patient/*.rs user/Patient.read",
    "subject": "cds-service",
}


@pytest.fixture(scope="module")
def stub() -> Iterator[str]:
    with StubServer(clock=lambda: NOW) as server:
        yield server.fhir


@pytest.fixture(scope="module")
def reading(make_app: Callable[..., Flask], stub: str) -> FlaskClient:
    """A service that may read the stub."""
    return make_app(fhir_servers=(stub,), fetch_seconds=5).test_client()


@pytest.mark.parametrize("member", ["hook", "hookInstance", "context"])
def test_c10_a_call_without_a_required_member_is_refused_with_its_place(client: FlaskClient, member: str) -> None:
    body = sample_call(client, "healthy")
    del body[member]
    assert member in places(problem(post(client, body, "patient-view"), 400))


@pytest.mark.parametrize("member", ["patientId", "userId"])
def test_c10_a_context_without_a_required_field_is_refused_with_its_place(client: FlaskClient, member: str) -> None:
    body = sample_call(client, "healthy")
    del body["context"][member]
    assert f"context.{member}" in places(problem(post(client, body), 400))


def test_c10_every_fault_is_named_at_once(client: FlaskClient) -> None:
    body = sample_call(client, "healthy", hookInstance="one", context={"patientId": "a b", "userId": "nobody"})
    found = places(problem(post(client, body), 400))
    assert {"hookInstance", "context.patientId", "context.userId"} <= set(found)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"7", b'"text"', b"\xff\xfe", b'{"hook": NaN}', b"[" * 5000 + b"]" * 5000]
)
def test_c10_what_is_not_a_json_object_is_refused(client: FlaskClient, data: bytes) -> None:
    problem(post(client, data, "patient-view"), 400)


@pytest.mark.parametrize("member", ["draftOrders", "selections"])
def test_c10_order_select_needs_its_drafts_and_its_selections(client: FlaskClient, member: str) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    del body["context"][member]
    assert f"context.{member}" in places(problem(post(client, body), 400))


def test_c10_a_call_of_another_hook_is_refused(client: FlaskClient) -> None:
    body = sample_call(client, "healthy")
    assert "hook" in places(problem(post(client, body, "order-sign"), 400))


@pytest.mark.parametrize("instance", ["", "1", "not-a-uuid", 5, None, ["x"]])
def test_c11_a_hook_instance_that_is_no_uuid_is_refused(client: FlaskClient, instance: Any) -> None:
    body = sample_call(client, "healthy", hookInstance=instance)
    assert "hookInstance" in places(problem(post(client, body), 400))


def test_c12_authorization_without_a_fhir_server_is_refused(client: FlaskClient) -> None:
    body = sample_call(client, "healthy", fhirAuthorization=AUTHORIZATION)
    assert "fhirServer" in places(problem(post(client, body), 400))


def test_c12_a_fhir_server_on_plain_http_is_taken_in_the_development_profile(client: FlaskClient) -> None:
    body = sample_call(client, "healthy", fhirServer="http://127.0.0.1:9/fhir", fhirAuthorization=AUTHORIZATION)
    answered(client, body)


def test_c13_a_call_without_prefetch_is_answered(client: FlaskClient) -> None:
    body = sample_call(client, "low-magnesium")
    del body["prefetch"]
    answer = answered(client, body)
    assert own(answer)["inputs"] == dict.fromkeys(own(answer)["inputs"], "absent")
    assert [card["indicator"] for card in answer["cards"]] == ["info"]
    assert "not complete" in answer["cards"][0]["summary"]


@pytest.mark.parametrize("prefetch", [None, {}])
def test_c13_a_prefetch_of_null_or_of_nothing_is_the_same_as_none(client: FlaskClient, prefetch: Any) -> None:
    assert "not complete" in answered(client, sample_call(client, "healthy", prefetch=prefetch))["cards"][0]["summary"]


def test_c14_what_the_prefetch_lacks_is_read_key_by_key(reading: FlaskClient, stub: str) -> None:
    body = sample_call(reading, "low-magnesium", fhirServer=stub)
    del body["prefetch"]["serum_magnesium"], body["prefetch"]["kidney"]
    answer = answered(reading, body)
    assert {key for key, state in own(answer)["inputs"].items() if state == "fetched"} == {"serum_magnesium", "kidney"}
    assert "0.58 mmol/L" in answer["cards"][0]["summary"]


def test_c14_data_that_can_be_got_neither_way_is_said_on_a_card(client: FlaskClient) -> None:
    body = sample_call(client, "healthy")
    del body["prefetch"]["serum_magnesium"]
    answer = answered(client, body)
    assert "serum magnesium not sent" in answer["cards"][0]["summary"]
    assert answer["cards"][0]["indicator"] == "info"


def test_c14_or_is_a_412_where_the_setting_says_so(make_app: Callable[..., Flask]) -> None:
    client = make_app(on_incomplete="412").test_client()
    body = sample_call(client, "healthy")
    del body["prefetch"]["serum_magnesium"]
    issues = problem(post(client, body), 412)
    assert any("serum magnesium" in issue["details"]["text"] for issue in issues)
    # What fired is still said: a card is worth more than a refusal.
    low = sample_call(client, "low-magnesium")
    del low["prefetch"]["intake"]
    assert answered(client, low)["cards"]


@pytest.mark.parametrize(
    ("value", "state", "kind"),
    [
        ("left out", "absent", "not_evaluated"),
        (None, "empty", "not_applicable"),
        ({"resourceType": "Bundle", "type": "searchset", "total": 0}, "empty", "not_applicable"),
        (
            {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]},
            "failed",
            "not_evaluated",
        ),
        ("as sent", "given", "fired"),
    ],
)
def test_c15_a_key_left_out_null_failed_and_given_are_four_things(
    client: FlaskClient, value: Any, state: str, kind: str
) -> None:
    body = sample_call(client, "low-magnesium")
    if value == "left out":
        del body["prefetch"]["serum_magnesium"]
    elif value != "as sent":
        body["prefetch"]["serum_magnesium"] = value
    answer = answered(client, body)
    assert own(answer)["inputs"]["serum_magnesium"] == state
    assert outcome(answer, "low_serum_magnesium")["outcome"] == kind


def test_c15_null_is_known_to_be_nothing_and_is_not_read_again(reading: FlaskClient, stub: str) -> None:
    body = sample_call(reading, "low-magnesium", fhirServer=stub)
    body["prefetch"]["serum_magnesium"] = None
    answer = answered(reading, body)
    assert own(answer)["inputs"]["serum_magnesium"] == "empty"
    assert outcome(answer, "low_serum_magnesium")["reason"].startswith("no serum magnesium result")


def test_c16_a_bundle_with_a_next_page_is_incomplete_without_access(client: FlaskClient) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    medications = body["prefetch"]["medications"]
    medications["link"] = [{"relation": "next", "url": "http://127.0.0.1:9/fhir?page=2"}]
    medications["entry"] = []
    answer = answered(client, body)
    assert own(answer)["inputs"]["medications"] == "incomplete"
    assert outcome(answer, "levothyroxine_timing")["outcome"] == "not_evaluated"


def test_c16_the_next_pages_are_read_where_that_is_allowed(reading: FlaskClient, stub: str) -> None:
    body = sample_call(reading, "low-magnesium", fhirServer=stub)
    first = requests.get(f"{stub}/Condition?patient=low-magnesium&_count=1", timeout=10).json()
    assert [link["relation"] for link in first["link"]] == ["self", "next"]
    body["prefetch"]["conditions"] = first
    whole = answered(reading, sample_call(reading, "low-magnesium"))
    answer = answered(reading, body)
    assert own(answer)["inputs"]["conditions"] in ("given", "fetched")
    assert own(answer)["outcomes"] == own(whole)["outcomes"]


def test_c17_keys_that_were_not_asked_for_change_nothing(client: FlaskClient) -> None:
    body = sample_call(client, "healthy")
    more = copy.deepcopy(body)
    more["prefetch"]["somebody_elses_key"] = sample_call(client, "low-magnesium")["prefetch"]["serum_magnesium"]
    plain, other = own(answered(client, body)), own(answered(client, more))
    assert other.pop("diagnostics") == {"unknownPrefetchKeys": ["somebody_elses_key"]}
    assert plain == other


def test_c17_a_result_that_the_template_did_not_ask_for_is_not_used(client: FlaskClient) -> None:
    # A client that sends an unfilled token as text gets back whatever matches; it all lands under our key.
    body = sample_call(client, "healthy")
    stray = copy.deepcopy(body["prefetch"]["serum_magnesium"]["entry"][0]["resource"])
    stray |= {"id": "stray", "code": {"coding": [{"system": "http://loinc.org", "code": "2597-3"}]}}
    stray["valueQuantity"] = {"value": 0.2, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}
    body["prefetch"]["serum_magnesium"]["entry"].append({"resource": stray})
    assert outcome(answered(client, body), "low_serum_magnesium")["outcome"] == "quiet"


@pytest.mark.parametrize(("patient", "most"), [("low-magnesium", 0), ("diet", 1)])
def test_c18_a_typical_call_waits_for_one_look_at_the_database_at_most_and_for_nothing_else(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, patient: str, most: int
) -> None:
    """Only of information is it asked whether it was accepted. How long a call's own work takes is in the benchmarks,
    beside a floor."""
    store = client.application.extensions["advisor"].store
    looks: list[float] = []
    read = store._read

    def counted(query: Any, wait: float) -> Any:
        looks.append(wait)
        return read(query, wait)

    monkeypatch.setattr(store, "_read", counted)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it asked a server"))
    late = store.counters().shown_late
    assert answered(client, sample_call(client, patient))["cards"]
    assert looks == [store.shown_wait] * most
    assert store.counters().shown_late == late


def test_c19_prefetch_and_access_to_the_server_give_the_same_cards(reading: FlaskClient, stub: str) -> None:
    sent = answered(reading, sample_call(reading, "low-magnesium"))
    body = sample_call(reading, "low-magnesium", fhirServer=stub, fhirAuthorization=AUTHORIZATION)
    del body["prefetch"]
    read = answered(reading, body)
    assert own(read)["outcomes"] == own(sent)["outcomes"]
    assert [card["summary"] for card in read["cards"]] == [card["summary"] for card in sent["cards"]]
    of_a_stay = ("encounter", "medication_administrations")
    assert {state for key, state in own(read)["inputs"].items() if key not in of_a_stay} <= {"fetched", "empty"}
    assert {own(read)["inputs"][key] for key in of_a_stay} == {"absent"}, "no encounter was named"


def test_c19_what_was_given_is_read_from_the_server_in_a_call_that_names_an_encounter(
    reading: FlaskClient, stub: str
) -> None:
    body = sample_call(reading, "low-magnesium", fhirServer=stub, fhirAuthorization=AUTHORIZATION)
    del body["prefetch"]
    body["context"]["encounterId"] = "stay"
    assert own(answered(reading, body))["inputs"]["medication_administrations"] == "empty"


@pytest.mark.parametrize("member", ["access_token", "token_type", "expires_in", "scope", "subject"])
def test_c26_an_authorization_without_a_required_member_is_refused(client: FlaskClient, member: str) -> None:
    given = {key: value for key, value in AUTHORIZATION.items() if key != member}
    body = sample_call(client, "healthy", fhirServer="http://127.0.0.1:9/fhir", fhirAuthorization=given)
    issues = problem(post(client, body), 400)
    assert f"fhirAuthorization.{member}" in places(issues)
    assert TOKEN not in json.dumps(issues)


@pytest.mark.parametrize(("member", "value"), [("token_type", "MAC"), ("expires_in", "soon"), ("expires_in", 0)])
def test_c26_an_authorization_of_another_kind_is_refused(client: FlaskClient, member: str, value: Any) -> None:
    given = {**AUTHORIZATION, member: value}
    body = sample_call(client, "healthy", fhirServer="http://127.0.0.1:9/fhir", fhirAuthorization=given)
    assert f"fhirAuthorization.{member}" in places(problem(post(client, body), 400))


def test_c27_a_token_for_another_patient_evaluates_nothing(client: FlaskClient) -> None:
    given = AUTHORIZATION | {"patient": "somebody-else"}
    body = sample_call(client, "low-magnesium", fhirServer="http://127.0.0.1:9/fhir", fhirAuthorization=given)
    assert "fhirAuthorization.patient" in places(problem(post(client, body), 412))


def test_c27_a_token_for_this_patient_is_used(reading: FlaskClient, stub: str) -> None:
    given = AUTHORIZATION | {"patient": "low-magnesium"}
    body = sample_call(reading, "low-magnesium", fhirServer=stub, fhirAuthorization=given, prefetch={})
    assert "0.58 mmol/L" in answered(reading, body)["cards"][0]["summary"]


def test_c28_the_token_is_neither_answered_nor_stored(
    make_app: Callable[..., Flask], stub: str, tmp_path: Path
) -> None:
    app = make_app(fhir_servers=(stub,), fetch_seconds=5, data_dir=tmp_path)
    client = app.test_client()
    body = sample_call(client, "low-magnesium", fhirServer=stub, fhirAuthorization=AUTHORIZATION, prefetch={})
    response = post(client, body)
    assert response.status_code == 200
    assert TOKEN.encode() not in response.data
    store = app.extensions["advisor"].store
    assert eventually(lambda: counts(store)), "nothing was stored, so this test would show nothing"
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


def test_c30_a_server_that_nobody_allowed_is_not_read(client: FlaskClient, stub: str) -> None:
    body = sample_call(client, "low-magnesium", fhirServer=stub, prefetch={})
    assert set(own(answered(client, body))["inputs"].values()) == {"absent"}


def test_c30_an_allowed_server_is_read_without_authorization(reading: FlaskClient, stub: str) -> None:
    body = sample_call(reading, "low-magnesium", fhirServer=stub, prefetch={})
    assert "fhirAuthorization" not in body
    assert own(answered(reading, body))["inputs"]["serum_magnesium"] == "fetched"


def test_c30_a_call_whose_patient_is_not_on_the_server_is_no_all_clear(reading: FlaskClient, stub: str) -> None:
    body = sample_call(reading, "low-magnesium", fhirServer=stub, prefetch={}, hookInstance=str(uuid4()))
    body["context"]["patientId"] = "nobody"
    assert answered(reading, body)["cards"], "an empty list is shown as an all-clear"
