"""A production service that knows one EHR by its pinned key, and a fake EHR to call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.sandbox.mock_ehr import MockEhr, Signer
from cds_service.sandbox.patients import load
from tests.conftest import NOW
from tests.trust.support import BASE, ISSUER, MARK, SERVICE, client_entry, clients_file


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The EHR's own key."""
    return Signer(ISSUER)


@pytest.fixture(scope="session")
def production(make_app: Callable[..., Flask], signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The service in profile production, with the signer as its only client."""
    file = clients_file(tmp_path_factory.mktemp("clients"), client_entry(signer, origins=["https://ehr.example"]))
    return make_app(profile="production", public_url=BASE, clients=file, client_rate=100_000, address_rate=100_000)


@pytest.fixture
def http(production: Flask) -> FlaskClient:
    return production.test_client()


@pytest.fixture
def call(http: FlaskClient, signer: Signer) -> Callable[..., TestResponse]:
    """GET a path, or POST `json` to it, with `token` (default: a good one for that path; "" for none)."""

    def call(path: str = SERVICE, token: str | None = None, **how: Any) -> TestResponse:
        chosen = signer.token(BASE + path) if token is None else token
        headers = {"Authorization": f"Bearer {chosen}"} if chosen else {}
        headers |= how.pop("headers", {})
        method = how.pop("method", "POST" if {"json", "data"} & how.keys() else "GET")
        return http.open(path, method=method, headers=headers, **how)

    return call


@pytest.fixture(scope="session")
def one_ehr() -> Iterator[MockEhr]:
    resources = [resource for sample in load().values() for resource in sample.resources(NOW)]
    with MockEhr(resources=lambda: resources) as ehr:
        yield ehr


@pytest.fixture
def ehr(one_ehr: MockEhr) -> Iterator[MockEhr]:
    """The fake EHR in good health."""
    one_ehr.heal()
    yield one_ehr
    one_ehr.heal()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def post(app: Flask) -> Callable[..., TestResponse]:
    """POST bytes or an object to the service: an answer that is never a 5xx and echoes no mark."""
    http_client = app.test_client()

    def post(body: Any, path: str = SERVICE, kind: str = "application/json", **headers: str) -> TestResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = http_client.post(path, data=raw, content_type=kind, headers=sent)
        assert answer.status_code < 500, answer.text
        if answer.status_code != 200:
            assert answer.json is not None
            assert answer.json["resourceType"] == "OperationOutcome"
            assert MARK not in answer.text
        return answer

    return post
