"""What the prefetch left out: read from the EHR's FHIR server where that is allowed, and said where it is not."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from flask import Flask
from flask.testing import FlaskClient

from cds_service.sandbox import patients
from cds_service.sandbox.search import find, search, searchset
from cds_service.sandbox.stub import StubServer
from tests.conformance.calls import Body, answered, outcome, own, sample_call, serving
from tests.conftest import NOW
from tests.support.servers import ManyCallers
from tests.support.timing import within

TOKEN = "zzq-token-of-a-clinician"
AUTHORIZATION = {
    "access_token": TOKEN,
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "patient/*.rs",
    "subject": "cds-service",
    "patient": "low-magnesium",
}

# What is asked for by the encounter.
OF_AN_ENCOUNTER = {"encounter", "medication_administrations"}


@dataclass
class Ehr:
    """A FHIR server that tells what it was asked and can be told to misbehave."""

    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    page_size: int = 500
    status: int = 200
    seconds: float = 0.0
    content_type: str = "application/fhir+json"
    next_base: str | None = None
    body: bytes | None = None
    redirect: str | None = None

    def answer(self, path: str) -> Body:
        parts = urlsplit(path)
        resources = [resource for sample in patients.load().values() for resource in sample.resources(NOW)]
        kind, _, identifier = parts.path.removeprefix("/fhir/").partition("/")
        if identifier:
            return find(resources, kind, identifier) or {"resourceType": "OperationOutcome"}
        given = [(name, values[0]) for name, values in parse_qs(parts.query).items()]
        given = [(name, value) for name, value in given if name != "_count"] + [("_count", str(self.page_size))]
        return searchset(search(resources, kind, given), kind, self.next_base or self.url)

    def kinds(self) -> set[str]:
        return {urlsplit(path).path.removeprefix("/fhir/").split("/")[0] for path, _ in self.asked}


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    made = Ehr()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers.get("Authorization")))
            sleep(made.seconds)
            body = json.dumps(made.answer(self.path)).encode() if made.body is None else made.body
            self.send_response(302 if made.redirect else made.status)
            if made.redirect:
                self.send_header("Location", made.redirect)
            self.send_header("Content-Type", made.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:
                return  # the service waits no longer

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ManyCallers(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/fhir"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def reading(make_app: Callable[..., Flask], ehr: Ehr) -> FlaskClient:
    """A service that may read this EHR."""
    return make_app(fhir_servers=(ehr.url,), fetch_seconds=5).test_client()


def call(client: FlaskClient, ehr: Ehr, *without: str, **more: Any) -> Body:
    """The call of the patient with low magnesium, with the keys `without` left out ("all" for every key)."""
    body = sample_call(client, "low-magnesium", fhirServer=ehr.url, **more)
    if "prefetch" not in more:
        kept = {} if "all" in without else {k: v for k, v in body["prefetch"].items() if k not in without}
        body["prefetch"] = kept
    return body


def test_what_was_sent_is_not_read_again(reading: FlaskClient, ehr: Ehr) -> None:
    answered(reading, call(reading, ehr))
    assert ehr.asked == []


def test_only_the_keys_left_out_are_read(reading: FlaskClient, ehr: Ehr) -> None:
    answer = answered(reading, call(reading, ehr, "serum_magnesium", "patient"))
    assert ehr.kinds() == {"Observation", "Patient"}
    assert len(ehr.asked) == 2
    assert {key for key, state in own(answer)["inputs"].items() if state == "fetched"} == {"patient", "serum_magnesium"}
    assert "0.58 mmol/L" in answer["cards"][0]["summary"]


def test_a_call_without_any_prefetch_is_read_whole(reading: FlaskClient, ehr: Ehr) -> None:
    whole = answered(reading, call(reading, ehr))
    read = answered(reading, call(reading, ehr, "all"))
    assert own(read)["outcomes"] == own(whole)["outcomes"]
    assert {state for key, state in own(read)["inputs"].items() if key not in OF_AN_ENCOUNTER} <= {"fetched", "empty"}
    assert {own(read)["inputs"][key] for key in OF_AN_ENCOUNTER} == {"absent"}, "no encounter was named"


def test_the_sandbox_stub_is_read_like_any_server(make_app: Callable[..., Flask]) -> None:
    with StubServer(clock=lambda: NOW) as stub:
        client = make_app(fhir_servers=(stub.fhir,), fetch_seconds=5).test_client()
        body = sample_call(client, "low-magnesium", fhirServer=stub.fhir, prefetch={})
        assert "0.58 mmol/L" in answered(client, body)["cards"][0]["summary"]


def test_the_query_that_is_read_is_the_template_that_was_published(reading: FlaskClient, ehr: Ehr) -> None:
    answered(reading, call(reading, ehr, "serum_magnesium"))
    query = parse_qs(urlsplit(ehr.asked[0][0]).query)
    assert query["patient"] == ["low-magnesium"]
    assert query["_sort"] == ["-date"]
    assert "http://loinc.org|19123-9" in query["code"][0].split(",")


def test_a_server_that_is_not_allowed_is_never_asked(client: FlaskClient, ehr: Ehr) -> None:
    answer = answered(client, call(client, ehr, "all", fhirAuthorization=AUTHORIZATION))
    assert ehr.asked == []
    assert set(own(answer)["inputs"].values()) == {"absent"}
    assert "not complete" in answer["cards"][0]["summary"]


@pytest.mark.parametrize("change", ["{}x", "{}/../other", "{}.evil.example", "http://user@127.0.0.1/fhir"])
def test_an_address_that_only_looks_like_an_allowed_one_is_never_asked(
    reading: FlaskClient, ehr: Ehr, change: str
) -> None:
    body = call(reading, ehr, "all") | {"fhirServer": change.format(ehr.url)}
    response = reading.post("/cds-services/magnesium-patient-view", json=body)
    assert response.status_code in (200, 400)
    assert ehr.asked == []


def test_a_base_address_with_a_slash_at_its_end_is_the_same(reading: FlaskClient, ehr: Ehr) -> None:
    body = call(reading, ehr, "serum_magnesium") | {"fhirServer": f"{ehr.url}/"}
    assert own(answered(reading, body))["inputs"]["serum_magnesium"] == "fetched"


# The states of a key.


def test_given(reading: FlaskClient, ehr: Ehr) -> None:
    answer = answered(reading, call(reading, ehr))
    assert own(answer)["inputs"]["serum_magnesium"] == "given"
    assert outcome(answer, "low_serum_magnesium")["outcome"] == "fired"


@pytest.mark.parametrize("value", [None, {"resourceType": "Bundle", "type": "searchset", "total": 0}])
def test_empty_and_null_are_known_to_hold_nothing(reading: FlaskClient, ehr: Ehr, value: Any) -> None:
    body = call(reading, ehr)
    body["prefetch"]["serum_magnesium"] = value
    answer = answered(reading, body)
    assert ehr.asked == []
    assert own(answer)["inputs"]["serum_magnesium"] == "empty"
    assert "no serum magnesium result on record" in outcome(answer, "low_serum_magnesium")["reason"]
    assert outcome(answer, "no_recent_magnesium_with_two_risks")["outcome"] == "fired"


def test_absent_is_not_taken_for_empty(client: FlaskClient) -> None:
    body = sample_call(client, "low-magnesium")
    del body["prefetch"]["serum_magnesium"]
    answer = answered(client, body)
    assert own(answer)["inputs"]["serum_magnesium"] == "absent"
    for rule in ("low_serum_magnesium", "no_recent_magnesium_with_two_risks"):
        assert outcome(answer, rule)["outcome"] == "not_evaluated"
        assert "not sent and not readable" in outcome(answer, rule)["reason"]


def test_an_operation_outcome_says_that_the_client_failed(client: FlaskClient) -> None:
    body = sample_call(client, "low-magnesium")
    body["prefetch"]["serum_magnesium"] = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception", "diagnostics": "zzq stack trace"}],
    }
    answer = answered(client, body)
    assert own(answer)["inputs"]["serum_magnesium"] == "failed"
    assert "could not be read" in outcome(answer, "low_serum_magnesium")["reason"]
    assert "zzq" not in json.dumps(answer)


def test_an_operation_outcome_is_read_from_the_server_or_stays_failed_and_is_never_quiet(
    reading: FlaskClient, ehr: Ehr
) -> None:
    body = call(reading, ehr)
    body["prefetch"]["serum_magnesium"] = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "timeout"}],
    }
    answer = answered(reading, body)
    state = own(answer)["inputs"]["serum_magnesium"]
    kind = outcome(answer, "low_serum_magnesium")["outcome"]
    assert (state, kind) in {("fetched", "fired"), ("failed", "not_evaluated")}


def test_fewer_entries_than_announced_are_incomplete(client: FlaskClient) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    body["prefetch"]["medications"]["total"] = 40
    body["prefetch"]["medications"]["entry"] = body["prefetch"]["medications"]["entry"][1:]
    answer = answered(client, body)
    assert own(answer)["inputs"]["medications"] == "incomplete"
    quiet = [item["rule"] for item in own(answer)["outcomes"] if item["outcome"] == "quiet"]
    assert "levothyroxine_timing" not in quiet
    assert "alendronic_acid_timing" not in quiet


@pytest.mark.parametrize(("in_order", "kind"), [(True, "fired"), (False, "not_evaluated")])
@pytest.mark.parametrize(
    ("name", "key", "rule"),
    [
        ("low-magnesium", "serum_magnesium", "low_serum_magnesium"),
        ("kidney", "kidney", "magnesium_in_use_with_low_kidney_function"),
    ],
)
def test_as_many_results_as_were_asked_for_and_no_total_may_not_be_all(
    client: FlaskClient, name: str, key: str, rule: str, in_order: bool, kind: str
) -> None:
    """Then only their order shows that the first one is the newest there is."""
    body = sample_call(client, name)
    results = body["prefetch"][key]
    newest = results["entry"][0]["resource"]
    older = [
        {"resource": newest | {"id": f"older-{days}", "effectiveDateTime": (NOW - timedelta(days=days)).isoformat()}}
        for days in range(200, 219)
    ]
    results["entry"] = [results["entry"][0], *older] if in_order else [*older, results["entry"][0]]
    results["total"] = 20
    assert outcome(answered(client, body), rule)["outcome"] == "fired"
    del results["total"]
    answer = answered(client, body)
    assert own(answer)["inputs"][key] == "incomplete"
    assert outcome(answer, rule)["outcome"] == kind


# Paging.


def test_every_page_of_a_search_is_read(reading: FlaskClient, ehr: Ehr) -> None:
    ehr.page_size = 1
    answer = answered(reading, call(reading, ehr, "conditions", "medications"))
    assert own(answer)["inputs"]["conditions"] == "fetched"
    assert own(answer)["inputs"]["medications"] == "fetched"
    assert len([path for path, _ in ehr.asked if "/Condition?" in path]) == 2
    assert len([path for path, _ in ehr.asked if "/MedicationRequest?" in path]) == 3
    ehr.page_size = 500
    assert own(answer)["outcomes"] == own(answered(reading, call(reading, ehr)))["outcomes"]


def test_a_next_page_elsewhere_is_not_followed_and_the_key_is_incomplete(reading: FlaskClient, ehr: Ehr) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        ehr.page_size = 1
        ehr.next_base = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/fhir"
        answer = answered(reading, call(reading, ehr, "medications", fhirAuthorization=AUTHORIZATION))
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert own(answer)["inputs"]["medications"] == "incomplete"
    assert outcome(answer, "levothyroxine_timing")["outcome"] == "not_evaluated"


# The token.


def test_the_token_is_sent_with_every_read_and_only_as_a_bearer(reading: FlaskClient, ehr: Ehr) -> None:
    ehr.page_size = 1
    answered(reading, call(reading, ehr, "all", fhirAuthorization=AUTHORIZATION))
    assert len(ehr.asked) > 8
    assert {header for _, header in ehr.asked} == {f"Bearer {TOKEN}"}
    assert not [path for path, _ in ehr.asked if TOKEN in path]


def test_without_authorization_no_token_is_made_up(reading: FlaskClient, ehr: Ehr) -> None:
    answered(reading, call(reading, ehr, "all", fhirAuthorization=AUTHORIZATION))
    ehr.asked.clear()
    answered(reading, call(reading, ehr, "all"))
    assert {header for _, header in ehr.asked} == {None}


def test_a_redirect_is_not_followed_with_the_token(reading: FlaskClient, ehr: Ehr) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        ehr.redirect = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/steal"
        answer = answered(reading, call(reading, ehr, "serum_magnesium", fhirAuthorization=AUTHORIZATION))
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert own(answer)["inputs"]["serum_magnesium"] == "failed"


def test_nothing_of_the_token_is_in_answers_or_logs(
    reading: FlaskClient, ehr: Ehr, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as lines:
        for status in (200, 401, 500):
            ehr.status = status
            answer = answered(reading, call(reading, ehr, "all", fhirAuthorization=AUTHORIZATION))
            assert TOKEN not in json.dumps(answer)
        bad = AUTHORIZATION | {"expires_in": "soon"}
        response = reading.post(
            "/cds-services/magnesium-patient-view", json=call(reading, ehr, "all", fhirAuthorization=bad)
        )
        assert response.status_code == 400 and TOKEN not in response.text
    assert lines
    assert TOKEN not in str(lines)
    # The HTTP library's own debug lines name paths; a running service switches them off (next test).
    assert TOKEN not in caplog.text


def test_a_running_service_logs_neither_token_nor_query(ehr: Ehr, tmp_path: Path) -> None:
    with serving(tmp_path, "--fhir-server", ehr.url) as service:
        answer = service.call("low-magnesium", prefetch={}, fhirServer=ehr.url, fhirAuthorization=AUTHORIZATION)
        assert answer.status_code == 200
        assert ehr.asked
        ehr.status = 500
        assert service.call("low-magnesium", prefetch={}, fhirServer=ehr.url).status_code == 200
        log = service.log()
    for secret in (TOKEN, "low-magnesium", "patient="):
        assert secret not in log


# A server in trouble.


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_a_server_that_refuses_makes_rules_not_evaluated(reading: FlaskClient, ehr: Ehr, status: int) -> None:
    ehr.status = status
    answer = answered(reading, call(reading, ehr, "serum_magnesium"))
    assert own(answer)["inputs"]["serum_magnesium"] == "failed"
    reason = outcome(answer, "low_serum_magnesium")["reason"]
    assert "could not be read" in reason
    assert ("not permitted" in reason) == (status in (401, 403))
    # One more try where it is busy, between restarts, or may only be unable to sort, and none where it refuses.
    assert len(ehr.asked) <= (2 if status in (400, 502, 503) else 1)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>Sign in</html>", "text/html"),
        (b"not json", "application/fhir+json"),
        (b"[]", "application/fhir+json"),
        (b'{"resourceType": "Binary"}', "application/fhir+json"),
    ],
)
def test_an_answer_that_is_not_fhir_makes_rules_not_evaluated(
    reading: FlaskClient, ehr: Ehr, body: bytes, content_type: str
) -> None:
    ehr.body, ehr.content_type = body, content_type
    answer = answered(reading, call(reading, ehr, "serum_magnesium"))
    assert own(answer)["inputs"]["serum_magnesium"] == "failed"
    assert outcome(answer, "low_serum_magnesium")["outcome"] == "not_evaluated"


def test_a_slow_server_is_not_waited_for_longer_than_the_setting_says(make_app: Callable[..., Flask], ehr: Ehr) -> None:
    client = make_app(fhir_servers=(ehr.url,), fetch_seconds=0.5).test_client()
    ehr.seconds = 60
    body = call(client, ehr, "all")
    body["prefetch"] = {}
    with within(20, least=0.4):
        answer = answered(client, body)
    assert {state for key, state in own(answer)["inputs"].items() if key not in OF_AN_ENCOUNTER} == {"failed"}
    assert "timed out" in outcome(answer, "low_serum_magnesium")["reason"]


def test_a_server_that_is_not_there_is_said_at_once(make_app: Callable[..., Flask]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/fhir"
    client = make_app(fhir_servers=(url,), fetch_seconds=2).test_client()
    body = sample_call(client, "low-magnesium", fhirServer=url, prefetch={})
    assert "not reachable" in outcome(answered(client, body), "low_serum_magnesium")["reason"]


def test_another_patients_resource_from_the_server_evaluates_nothing(reading: FlaskClient, ehr: Ehr) -> None:
    other = next(r for r in patients.load()["healthy"].resources(NOW) if r["resourceType"] == "Observation")
    ehr.body = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": other}]}).encode()
    response = reading.post("/cds-services/magnesium-patient-view", json=call(reading, ehr, "serum_magnesium"))
    assert response.status_code == 412
    assert "serum_magnesium" in json.loads(response.data)["issue"][0]["expression"][0]
