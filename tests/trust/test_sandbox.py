"""The CDS Hooks Sandbox as a declared client of a service in profile dev: tokens are needed, as in production.

Profile dev only because everybody has its key. `sandbox_tokens.json` holds what the real Sandbox sent, one token for
each address that it calls; its requests are those of `tests/golden`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from cds_service.cli import main
from cds_service.sandbox.mock_ehr import Signer
from cds_service.trust.keys import SANDBOX_ISSUER
from tests.test_golden import CALLS, ORIGIN, recorded
from tests.trust.support import BASE, SANDBOX_JWK, Json, clients_file, running
from tests.trust.test_tokens import REFUSAL

ADDRESS = "http://127.0.0.1:8123"
JKU = f"{SANDBOX_ISSUER}/.well-known/jwks.json"
SENT: list[dict[str, str]] = json.loads(Path(__file__).with_name("sandbox_tokens.json").read_text("utf-8"))
SIGNED_AT = {one["path"]: jwt.decode(one["token"], options={"verify_signature": False})["iat"] for one in SENT}
FEEDBACK = [f"feedback-{name}" for name in ("accepted", "accepted-rx-view", "overridden", "overridden-with-reason")]
Make = Callable[..., FlaskClient]
# Every call that was recorded: its name, its path, its body.
RECORDED = [
    ("discovery", "/cds-services", None),
    *((name, f"/cds-services/magnesium-{recorded(name)['hook']}", recorded(name)) for name in CALLS),
    *((name, "/cds-services/magnesium-order-select/feedback", recorded(name)) for name in FEEDBACK),
]


@pytest.fixture
def signed_here() -> Signer:
    """A key of ours under the Sandbox's names: its tokens have the header and the claims of the Sandbox's own."""
    return Signer(SANDBOX_ISSUER, jku=JKU, kid=SANDBOX_JWK["kid"])


@pytest.fixture
def serving(make_app: Callable[..., Flask], tmp_path: Path) -> Make:
    """A service in profile dev that knows the Sandbox by this public key, given in the file."""

    def make(jwk: Json, **entry: Any) -> FlaskClient:
        client = {"name": "sandbox", "issuer": SANDBOX_ISSUER, "jwks": [jwk]} | entry
        return make_app(clients=clients_file(tmp_path, client), public_url=ADDRESS).test_client()

    return make


@pytest.fixture
def at_the_recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All clocks go on from the moment at which the first token was signed."""
    ahead = min(SIGNED_AT.values()) - time.time()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Then:
            return cls.fromtimestamp(time.time(), tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Then)
    yield


def send(http: FlaskClient, path: str, body: Json | None, token: str | None) -> TestResponse:
    headers = {"Origin": ORIGIN} | ({"Authorization": f"Bearer {token}"} if token is not None else {})
    return http.get(path, headers=headers) if body is None else http.post(path, json=body, headers=headers)


def test_what_was_recorded_covers_every_address_that_the_sandbox_calls() -> None:
    assert set(SIGNED_AT) == {path for _, path, _ in RECORDED}
    assert len(RECORDED) == 14


@pytest.mark.parametrize("path", SIGNED_AT)
def test_a_token_of_the_real_sandbox_passes_once_on_the_address_that_it_names_and_on_no_other(
    path: str, serving: Make, at_the_recording: None
) -> None:
    http = serving(SANDBOX_JWK)
    token = next(one["token"] for one in SENT if one["path"] == path)
    body_of = {path: body for _, path, body in RECORDED}
    others = [other for other in body_of if other != path]
    assert [send(http, other, body_of[other], token).status_code for other in others] == [401] * 4
    assert [send(http, path, body_of[path], token).status_code for _ in range(2)] == [200, 401]


def test_a_token_of_the_real_sandbox_has_expired_since(serving: Make) -> None:
    with capture_logs() as logs:
        assert send(serving(SANDBOX_JWK), "/cds-services", None, SENT[0]["token"]).status_code == 401
    assert [line["cause"] for line in logs if line["event"] == "call refused"] == ["expired"]


def test_every_recorded_call_of_the_sandbox_passes(serving: Make, signed_here: Signer) -> None:
    http = serving(signed_here.public())
    found = {name: send(http, path, body, signed_here.token(ADDRESS + path)) for name, path, body in RECORDED}
    written_down = {name: recorded(f"{name}.expected")["as recorded"]["status"] for name in CALLS}
    assert {name: answer.status_code for name, answer in found.items()} == {
        name: written_down.get(name, 200) for name, _, _ in RECORDED
    }
    assert list(written_down.values()).count(400) == 1, "the Sandbox once sends order-select without draftOrders"
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in found.values()} == {ORIGIN}


@pytest.mark.parametrize(
    "wrong",
    ["https://cds.example/cds-services", ADDRESS, f"{ADDRESS}/cds-services/", "http://localhost:8123/cds-services"],
)
def test_no_call_of_the_sandbox_passes_where_another_audience_is_declared(
    wrong: str, serving: Make, signed_here: Signer
) -> None:
    http = serving(signed_here.public(), audiences=[wrong])
    with capture_logs() as logs:
        found = [send(http, path, body, signed_here.token(ADDRESS + path)) for _, path, body in RECORDED]
    here = REFUSAL.replace(BASE.encode(), ADDRESS.encode())
    assert [(answer.status_code, answer.data) for answer in found] == [(401, here)] * len(RECORDED)
    assert [line["cause"] for line in logs if line["event"] == "call refused"] == ["audience"] * len(RECORDED)
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in found} == {ORIGIN}, "else the browser hides it"


def test_serve_says_that_tokens_are_needed_and_for_which_address(tmp_path: Path, signed_here: Signer) -> None:
    client = {"name": "sandbox", "issuer": SANDBOX_ISSUER, "jwks": [signed_here.public()]}
    with running(tmp_path, clients=clients_file(tmp_path, client)) as service:
        said = service.log.read_text("utf-8")
        assert "DEVELOPMENT PROFILE: calls need the token of a client" in said
        assert f"Client sandbox: tokens of {SANDBOX_ISSUER} for the address called, below" in said
        assert service.url in said
        answers = [
            requests.get(f"{service.url}/cds-services", headers=headers, timeout=10).status_code
            for headers in ({"Authorization": f"Bearer {signed_here.token(f'{service.url}/cds-services')}"}, {})
        ]
    assert answers == [200, 401]


def test_the_demo_which_has_no_tokens_says_that_the_folder_declares_clients(tmp_path: Path) -> None:
    clients_file(tmp_path, {"name": "sandbox", "issuer": SANDBOX_ISSUER, "jwks": [SANDBOX_JWK]})
    done = CliRunner().invoke(main, ["demo", "--once", "--data-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "declares clients, and the demo calls without a token" in done.output


def test_no_call_passes_without_a_token_or_with_the_key_of_another(serving: Make, signed_here: Signer) -> None:
    http = serving(SANDBOX_JWK)
    for _, path, body in RECORDED:
        assert send(http, path, body, None).status_code == 401
        assert send(http, path, body, signed_here.token(ADDRESS + path)).status_code == 401
