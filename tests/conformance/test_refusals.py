"""Every refusal carries a code of the closed catalogue, and every code of the catalogue is one that is answered."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fhir.resources.R4B import get_fhir_model_class
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import cds_service
from cds_service.hooks import errors, feedback
from cds_service.hooks.problems import OF_A_MEMBER
from cds_service.planner import token
from cds_service.planner.model import MOST_DRUGS
from cds_service.publish.refusals import ERROR_SYSTEM, example, refusals
from cds_service.store.errors import unavailable
from tests.conformance.calls import Body, in_production, post, sample_call

PACKAGE = Path(cds_service.__file__).parent
# What makes a refusal. Only the errors of the framework leave their code to the status.
MAKERS = ("Issue", "Problem.of", "NotStrict")
FRAMEWORK = "Issue(text)"  # their handler
SERVICE = "/cds-services/magnesium-patient-view"
FEEDBACK = f"{SERVICE}/feedback"


def places() -> Iterator[tuple[str, ast.Call]]:
    """Every call that makes an issue, with its file and line."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in MAKERS:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def given(call: ast.Call) -> ast.expr | None:
    """What a call gives as the code: the keyword, or the last of what NotStrict takes."""
    if ast.unparse(call.func) == "NotStrict":
        return call.args[2] if len(call.args) == 3 else None
    return next((keyword.value for keyword in call.keywords if keyword.arg == "error"), None)


def codes_in(path: Path) -> set[str]:
    """Every text of a file that is a code."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and node.value in refusals()}


def test_every_place_that_refuses_names_its_code() -> None:
    found = list(places())
    assert len(found) > 35, "too little to look at"
    bare = [place for place, call in found if given(call) is None and ast.unparse(call) != FRAMEWORK]
    without = [place for place in bare if not place.startswith("hooks/problems.py")]
    assert without == []


def test_every_code_named_is_in_the_catalogue() -> None:
    named = {code.value: place for place, call in places() if isinstance(code := given(call), ast.Constant)}
    assert {code: place for code, place in named.items() if code not in refusals()} == {}
    assert {*OF_A_MEMBER.values(), *errors.ERRORS.values()} <= refusals().keys()


def test_every_code_of_the_catalogue_is_answered_somewhere() -> None:
    answered = set().union(*(codes_in(path) for path in PACKAGE.rglob("*.py") if path.stem != "refusals"))
    assert {code for code, refusal in refusals().items() if refusal.by == "service"} == answered


def test_a_refusal_without_a_code_of_its_own_gets_that_of_its_status(app: Flask) -> None:
    with app.test_request_context():
        for status in (400, 401, 404, 405, 413, 415, 429, 500, 503):
            made = json.loads(errors.outcome_response(status, [errors.Issue("A text.")]).data)
            assert status in refusals()[code_of(made["issue"][0])].status


@pytest.mark.parametrize("code", list(refusals()))
def test_an_example_is_valid_fhir_and_says_what_to_change(code: str) -> None:
    refusal = refusals()[code]
    assert get_fhir_model_class("OperationOutcome").model_validate(example(code, refusal, "https://cds.example"))
    for text in (refusal.means, refusal.change):
        assert text.strip().endswith("."), text
    assert not refusal.title.endswith(".")


# Each of them, provoked.


def code_of(issue: Body) -> str:
    (coding,) = issue["details"]["coding"]
    assert coding["system"] == ERROR_SYSTEM
    return str(coding["code"])


def cut_off(client: FlaskClient) -> TestResponse:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, _: int = -1) -> bytes:
            raise ConnectionResetError

    more = {"wsgi.input": Broken(), "CONTENT_LENGTH": "9"}
    return client.open(SERVICE, method="POST", content_type="application/json", environ_overrides=more)


def with_prefetch(client: FlaskClient, **changes: Any) -> TestResponse:
    body = sample_call(client, "healthy")
    return post(client, body | {"prefetch": body["prefetch"] | changes})


def with_token(client: FlaskClient, **more: Any) -> TestResponse:
    token = {"access_token": "x", "token_type": "Bearer", "expires_in": 9, "scope": "patient/*.rs", "subject": "x"}
    return post(client, sample_call(client, "healthy") | {"fhirAuthorization": token | more})


def raw(client: FlaskClient, body: bytes, path: str = SERVICE, kind: str = "application/json") -> TestResponse:
    return client.post(path, data=body, content_type=kind)


def feedback_of(client: FlaskClient, *items: Body) -> TestResponse:
    return client.post(FEEDBACK, json={"feedback": list(items)})


ITEM = {"card": "a-card", "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
DRUG = {"name": "levothyroxine", "times": ["07:00"]}
OTHER = {"resourceType": "Patient", "id": "somebody-else"}

PROVOKED: dict[str, Callable[[FlaskClient], TestResponse]] = {
    "not-json": lambda c: raw(c, b"{"),
    "wrong-type": lambda c: post(c, sample_call(c, "healthy") | {"context": 1}),
    "member-missing": lambda c: raw(c, b"{}"),
    "member-unknown": lambda c: c.post("/plan", json={"medications": [], "more": 1}),
    "value-not-allowed": lambda c: post(c, sample_call(c, "healthy") | {"hookInstance": "x"}),
    "nul-character": lambda c: raw(c, b'{"hook": "\\u0000"}'),
    "member-twice": lambda c: raw(c, b'{"hook": 1, "hook": 1}'),
    "too-many-parts": lambda c: raw(c, b"[" + b"[]," * 200_001 + b"[]]"),
    "too-deep": lambda c: raw(c, b"[" * 100 + b"]" * 100),
    "request-unreadable": cut_off,
    "wrong-hook": lambda c: post(c, sample_call(c, "healthy"), "order-sign"),
    "fhir-version": lambda c: post(c, sample_call(c, "healthy") | {"fhirVersion": "1.0.2"}),
    "fhir-unreadable": lambda c: post(
        c, sample_call(c, "levothyroxine", "order-sign") | {"context": {
            "patientId": "levothyroxine", "userId": "Practitioner/x", "draftOrders": {"resourceType": "Patient"}}}
    ),
    "feedback-empty": lambda c: feedback_of(c),
    "items-stored": lambda c: feedback_of(c, ITEM, {}),
    "export-format": lambda c: c.get("/feedback?format=xml"),
    "export-moment": lambda c: c.get("/feedback?since=yesterday"),
    "waking-hours": lambda c: c.post("/plan", json={"medications": [], "waking": ["07:00", "07:00"]}),
    "plan-too-large": lambda c: c.post("/plan", json={"medications": [DRUG | {"times": [f"{h:02}:{m:02}"
        for h in range(24) for m in (0,)]} for _ in range(MOST_DRUGS)]}),
    "unknown-address": lambda c: c.get("/nothing/here"),
    "no-such-service": lambda c: c.post("/cds-services/none", json={}),
    "no-such-entry": lambda c: c.get("/evidence/none.json"),
    "no-such-plan": lambda c: c.get("/plan/none.svg"),
    "method-not-allowed": lambda c: c.get(SERVICE),
    "another-patient": lambda c: with_prefetch(c, patient=OTHER),
    "token-of-another-patient": lambda c: with_token(c, patient="somebody-else"),
    "too-many-items": lambda c: feedback_of(c, *[{}] * (feedback.MAX_ITEMS + 1)),
    "body-too-large": lambda c: raw(c, b" " * (feedback.MAX_BYTES + 1), FEEDBACK),
    "content-type": lambda c: raw(c, b"<x/>", kind="application/xml"),
    "content-encoding": lambda c: c.post(SERVICE, data=b"{}", headers={
        "Content-Type": "application/json", "Content-Encoding": "gzip"}),
}  # fmt: skip


def broken_store(app: Flask, name: str) -> Any:
    def fail(*_: object) -> None:
        raise unavailable("locked")

    return patch.object(app.extensions["advisor"].store, name, fail)


def check(code: str, answer: TestResponse) -> None:
    """The answer carries the code, the status, the FHIR type and the address that the catalogue says."""
    refusal = refusals()[code]
    assert answer.status_code in refusal.status, answer.text
    assert answer.json is not None
    issues = answer.json["issue"]
    named = [issue for issue in issues if code_of(issue) == code]
    assert named, [code_of(issue) for issue in issues]
    assert named[0]["diagnostics"].endswith(f"/errors/{code}")
    assert {issue["code"] for issue in named} <= {refusal.issue, "invalid"}
    assert get_fhir_model_class("OperationOutcome").model_validate(answer.json)


@pytest.mark.parametrize("code", list(PROVOKED))
def test_a_refusal_has_its_code(code: str, client: FlaskClient) -> None:
    check(code, PROVOKED[code](client))


def test_a_plan_of_last_month_says_that_its_address_has_expired(app: Flask, client: FlaskClient) -> None:
    link = client.post("/plan", json={"medications": [DRUG]}).json["link"]  # type: ignore[index]
    with patch.object(token, "read", side_effect=token.ExpiredToken):
        check("plan-expired", client.get(link))


def test_a_call_without_a_token_names_the_page_at_the_public_address(make_app: Callable[..., Flask]) -> None:
    client = in_production(make_app).test_client()
    answer = client.post(SERVICE, json={})
    check("not-authenticated", answer)
    assert answer.json is not None
    assert answer.json["issue"][0]["diagnostics"] == "https://cds.example/errors/not-authenticated"


def test_where_nothing_could_be_checked_and_the_client_wants_a_412_it_has_its_code(
    make_app: Callable[..., Flask],
) -> None:
    client = make_app(on_incomplete="412").test_client()
    check("not-checked", post(client, sample_call(client, "healthy") | {"prefetch": {}}))


def test_a_caller_that_calls_too_often_is_told_so(make_app: Callable[..., Flask]) -> None:
    client = make_app(address_rate=0.001).test_client()
    answers = [client.post(SERVICE, json={}) for _ in range(3)]
    check("too-many-calls", answers[-1])


def test_a_worker_whose_places_are_all_taken_says_so(make_app: Callable[..., Flask]) -> None:
    with patch("cds_service.trust.limits.Gate._enter", return_value=False):
        check("busy", make_app().test_client().post(SERVICE, json={}))


def test_a_database_that_does_not_answer_is_told_by_what_was_asked(app: Flask, client: FlaskClient) -> None:
    with broken_store(app, "record_feedback"):
        check("feedback-not-stored", feedback_of(client, ITEM))
    with broken_store(app, "export"):
        check("feedback-not-read", client.get("/feedback"))
    with patch("cds_service.trust.gatekeeper.Gatekeeper.admit", side_effect=unavailable("locked")):
        check("token-not-checked", client.post(SERVICE, json={}))


def test_a_fault_of_ours_is_told_as_one(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    client = app.test_client()
    body = sample_call(client, "healthy")
    with patch("cds_service.hooks.services.advise", side_effect=RuntimeError):
        check("fault-of-ours", post(client, body))


APART = {"plan-expired", "not-authenticated", "not-checked", "too-many-calls", "busy", "feedback-not-stored",
         "feedback-not-read", "token-not-checked", "fault-of-ours"}  # fmt: skip


def test_every_refusal_of_the_service_is_provoked_here() -> None:
    ours = {code for code, refusal in refusals().items() if refusal.by == "service"}
    assert ours == PROVOKED.keys() | APART
