"""The canary (A43, A44, A42): a call in which every name, number, text and token is marked, down every path, at debug
level. Afterwards no mark is in a log, an error, the database or a temporary file.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from flask import Flask

import cds_service.hooks.app  # noqa: F401 - bound before a test replaces what it names
from cds_service.fhir import FhirServer
from cds_service.logs import configure
from cds_service.sandbox.mock_ehr import MockEhr, Signer
from cds_service.store.engine import FILE_NAME
from cds_service.store.facts import FACTS_FILE, KEY_FILE
from cds_service.trust.outbound import guarded_session
from tests.store.helpers import locked
from tests.trust.support import BASE, DISCOVERY, FEEDBACK, PATIENT, SERVICE, body_for, client_entry, clients_file

MARK = "Zq7xKw9Vb2"  # long: what is kept is encrypted, and a short one is there by chance
PERSON = f"{MARK}-person"
DIGITS = "40817263"  # the mark of numbers
SIGNED = r"eyJ[\w-]+\.[\w-]+"  # how a token begins


def marked(value: Any, key: str = "") -> Any:
    """The same, with every free text, identifier and name marked; codes and addresses of code systems stay."""
    if isinstance(value, dict):
        return {name: marked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, key) for inner in value]
    if isinstance(value, str) and key in ("family", "given", "text", "display", "div", "note"):
        return f"{value} {MARK}{key}"
    return value


def canary(app: Flask, **changes: Any) -> dict[str, Any]:
    """A call about a marked person, with everything in it that the rules need to fire."""
    text = orjson.dumps(body_for(app)).replace(PATIENT.encode(), PERSON.encode())
    body = marked(orjson.loads(text))
    patient = body["prefetch"]["patient"]
    patient |= {
        "identifier": [{"system": "urn:mrn", "value": DIGITS}],
        "telecom": [{"system": "phone", "value": f"+{DIGITS}"}],
        "address": [{"line": [f"{MARK} Street"], "postalCode": DIGITS}],
        "text": {"status": "generated", "div": f"<div>{MARK}</div>"},
    }
    for entry in body["prefetch"]["serum_magnesium"]["entry"]:
        entry["resource"]["note"] = [{"text": f"{MARK} note"}]
    body["context"] |= {"userId": f"Practitioner/{MARK}-user", "encounterId": f"{MARK}-encounter"}
    body["extension"] = {"note": f"{MARK} extension"}
    return body | changes


class Seen:
    """Everything that was written to the log, and every answer that was no card."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.errors: list[str] = []
        self.answers = 0

    def of(self, answer: Any) -> Any:
        self.answers += 1
        self.errors.append(str(dict(answer.headers)))
        if answer.status_code != 200:
            self.errors.append(answer.text)
        return answer


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """The log of everything at debug level, libraries included."""
    found = Seen()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", found.log)
    configure("DEBUG")
    structlog.configure(cache_logger_on_first_use=False)
    yield found
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, and the data."""
    monkeypatch.setenv("TMPDIR", str(folder))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


TOKEN = f"{MARK}-access-token"
AUTHORIZATION = {
    "access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read",
    "subject": f"{MARK}-cds", "patient": PERSON,
}  # fmt: skip


def test_a43_a44_no_mark_of_a_patient_or_token_is_left_anywhere(
    make_app: Callable[..., Flask], seen: Seen, place: Path
) -> None:
    signer = Signer("https://ehr.example")
    with MockEhr(resources=list) as ehr:
        file = clients_file(place, client_entry(signer, fhir_servers=[ehr.fhir]))
        app = make_app(clients=file, public_url=BASE, data_dir=place / "data", fetch_seconds=0.3,
                       keep_facts=1000)  # fmt: skip
        app.testing = False  # an unexpected error is answered as in production
        http = app.test_client()

        def post(body: Any, path: str = SERVICE, **headers: str) -> Any:
            token = signer.token(BASE + path, sub=f"{MARK}-sub", name=f"{MARK} Name")
            sent = {"Authorization": f"Bearer {token}"} | headers
            raw = body if isinstance(body, bytes) else orjson.dumps(body)
            answer = http.post(path, data=raw, headers={"Content-Type": "application/json"} | sent)
            again = http.post(path, data=raw, headers={"Content-Type": "application/json"} | sent)
            assert again.status_code == 401
            seen.of(again)
            return seen.of(answer)

        fired = post(canary(app))
        assert fired.status_code == 200
        assert "Low magnesium" in fired.json["cards"][0]["summary"]
        assert not re.search(f"{MARK}(family|given)|{MARK} note|{DIGITS}", fired.text), "a card names no patient"
        fetch = {"fhirServer": ehr.fhir, "fhirAuthorization": AUTHORIZATION, "prefetch": {}}
        for fault in (
            {}, {"status": 500, "body": MARK}, {"status": 401}, {"body": f"<html>{MARK}"}, {"delay": 1}, {"cut_at": 0},
            {"cut_at": 150}, {"status": 302, "headers": {"Location": f"http://{MARK}.example/{PERSON}"}},
            {"body": orjson.dumps({"resourceType": "Patient", "id": f"{MARK}-other"}).decode()},
            {"body": orjson.dumps({"resourceType": "OperationOutcome", "issue": [{"diagnostics": MARK}]}).decode()},
            {"next_link": f"http://{MARK}.example/"},
        ):  # fmt: skip
            ehr.heal()
            if fault:
                ehr.fail("", **fault)
            post(canary(app, **fetch))
            assert ehr.calls or fault
        good = canary(app)
        raw = orjson.dumps(good)
        wrong = canary(app)
        wrong["prefetch"]["serum_magnesium"]["entry"][0]["resource"]["subject"] = {"reference": f"Patient/{MARK}-other"}
        unreadable = canary(app)
        unreadable["prefetch"]["medications"] = {"resourceType": MARK}
        unreadable["prefetch"]["serum_magnesium"]["entry"][0]["resource"]["valueQuantity"] = {"value": MARK}
        other_token = AUTHORIZATION | {"patient": f"{MARK}-b"}
        statuses = [
            post(wrong).status_code, post(unreadable).status_code, post(raw[:-40]).status_code,
            post(good | {"hook": MARK}).status_code, post(good | {"fhirServer": f"https://{MARK}.example"}).status_code,
            post(good | {"context": {"patientId": f"{MARK}!", "userId": MARK, "encounterId": [MARK]}}).status_code,
            post(good | {"fhirServer": ehr.fhir, "fhirAuthorization": other_token}).status_code,
            post(good | {"fhirAuthorization": {"access_token": TOKEN}}).status_code,
            post(raw.replace(b'"patientId"', f'"patientId":"{MARK}","patientId"'.encode())).status_code,
            post(b'{"a":' * 99 + f'"{MARK}"'.encode() + b"}" * 99).status_code,
            post(f'"{MARK}\\u0000"'.encode()).status_code,
            post(raw, **{"Content-Type": f"text/{MARK}"}).status_code, post(raw, f"/cds-services/{MARK}").status_code,
            post(raw, Authorization=f"Bearer {MARK}.{MARK}.{MARK}").status_code,
            post(raw, Authorization=f"Basic {MARK}").status_code,
        ]  # fmt: skip
        assert statuses == [412, 200, 400, 400, 200, 400, 412, 400, 400, 400, 400, 415, 404, 401, 401]
        card = fired.json["cards"][0]["uuid"]
        item = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
        for feedback in (
            item | {"overrideReason": {"reason": {"code": "x", "system": "y", "display": MARK}}},
            item | {"overrideReason": {}}, item | {"card": f"{MARK} \u00e9"}, item | {"outcome": MARK},
            item | {"outcomeTimestamp": MARK},
        ):  # fmt: skip
            post({"feedback": [feedback]}, FEEDBACK)
        app.extensions["advisor"].store.feedback_wait = 0.5
        with locked(place / "data"):
            post(good)
            post({"feedback": [item | {"overrideReason": {"reason": {"code": "z"}}}]}, FEEDBACK)
        for path in (f"/{PERSON}", f"{DISCOVERY}?patient={PERSON}", f"/evidence/{PERSON}", f"{DISCOVERY}/%0a{MARK}"):
            seen.of(http.get(path, headers={"X-Forwarded-For": MARK, "User-Agent": MARK, "Origin": f"https://{MARK}.example",
                                            "Referer": MARK}))  # fmt: skip
        explode = app.extensions["advisor"].store.past_outcomes
        try:  # a fault of ours: the answer and the log of an exception that nobody expected
            app.extensions["advisor"].store.past_outcomes = lambda *_: {}[PERSON]
            assert post(good).status_code == 500
        finally:
            app.extensions["advisor"].store.past_outcomes = explode
        facts = app.extensions["facts"]
        facts.flush()
        kept = list(facts.all())
        facts.close()
        app.extensions["advisor"].store.close()
    assert len(kept) >= 10, "calls were kept"
    assert facts.dropped == 0
    birth = canary(app)["prefetch"]["patient"]["birthDate"]
    for raw in kept:
        text = raw.decode()
        assert not re.search(rf"{MARK}|{DIGITS}|{PATIENT}|{birth}|[12][0-9]{{3}}-[0-9]{{2}}|Patient/", text), text
    log = seen.log.getvalue()
    assert log.count('"request"') >= 60, "the log was at work"
    assert '"unexpected fault"' in log
    for text in (log, "\n".join(seen.errors)):
        found = re.search(rf".{{0,80}}({MARK}|{DIGITS}|{PATIENT}|{SIGNED}).{{0,40}}", text, re.IGNORECASE)
        assert found is None, found
    files = [
        path
        for path in place.rglob("*")
        if path.is_file() and path != file and not path.name.startswith(("hash-key", KEY_FILE))
    ]
    assert {place / "data" / FILE_NAME, place / "data" / FACTS_FILE} <= {*files}
    for path in files:
        held = path.read_bytes()
        for mark in (MARK, DIGITS, SIGNED):
            assert not re.search(mark.encode(), held), (path.name, mark)


def test_a44_a_token_does_not_show_itself(ehr: MockEhr) -> None:
    server = FhirServer(ehr.fhir, TOKEN, session=guarded_session([]))
    assert MARK not in repr(server)
    assert MARK not in repr(server.__dict__)
    from cds_service.hooks.request import FhirAuthorization

    assert MARK not in repr(FhirAuthorization.model_validate(AUTHORIZATION)).replace(f"{MARK}-cds", "").replace(
        PERSON, ""
    )
