"""One second server with some sample patients in it, for all tests that leave these as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.sandbox import patients
from cds_service.sandbox.mock_ehr import MockEhr
from tests.conftest import NOW
from tests.fhir_server.running import SAMPLES, Json, SecondServer, second_server


@pytest.fixture(scope="session")
def server() -> Iterator[SecondServer]:
    with second_server() as running:
        yield running


@pytest.fixture(scope="session")
def stored(server: SecondServer) -> dict[str, list[Json]]:
    """What the server holds of each sample patient, the Patient first."""
    return {name: server.load(patients.load()[name].resources(NOW)) for name in SAMPLES}


@pytest.fixture(scope="session")
def fake(stored: dict[str, list[Json]]) -> Iterator[MockEhr]:
    """The fake EHR with the same resources."""
    resources = list(chain.from_iterable(stored.values()))
    with MockEhr(resources=lambda: resources) as ehr:
        yield ehr


@pytest.fixture(scope="session")
def client(make_app: Callable[..., Flask], server: SecondServer, fake: MockEhr) -> FlaskClient:
    """A service that may read both."""
    return make_app(fhir_servers=(server.url, fake.fhir), fetch_seconds=10).test_client()
