"""The stub on a port of its own, spoken to over HTTP, at a fixed time."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from cds_service.sandbox.stub import StubServer

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def stub() -> Iterator[str]:
    with StubServer(clock=lambda: NOW) as server:
        yield server.fhir


@pytest.fixture
def get(stub: str) -> Callable[..., Any]:
    """GET a path of the stub: the decoded body, which must come with the status expected."""

    def get(path: str, status: int = 200) -> Any:
        answer = requests.get(path if path.startswith("http") else f"{stub}/{path}", timeout=10)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/fhir+json"
        return answer.json()

    return get


@pytest.fixture
def post(stub: str) -> Callable[..., Any]:
    """POST a search form to the stub: the decoded body."""

    def post(kind: str, form: dict[str, str] | list[tuple[str, str]]) -> Any:
        answer = requests.post(f"{stub}/{kind}/_search", data=form, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post
