"""The service with its console on each kind of database, and visitors of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask

from cds_service.console import passwords
from cds_service.content.publishing import Publishing
from cds_service.sandbox.mock_ehr import Signer
from tests.conftest import NOW
from tests.console.support import Visitor, visitor
from tests.store.conftest import postgres, shared_postgres
from tests.trust.support import ISSUER, client_entry, clients_file

__all__ = ["postgres", "shared_postgres"]
Maker = Callable[..., Flask]


class Clock:
    """The time that the service reads; `on` moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def on(self, **more: float) -> None:
        self.now += timedelta(**more)


@pytest.fixture
def dear_hashes() -> None:
    """For a test of the cost of a hash: as the service makes them."""


@pytest.fixture(autouse=True)
def cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost nothing, but for the tests of their cost."""
    if "dear_hashes" not in request.fixturenames:
        hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr(passwords, "_hasher", hasher)
        nobody = hasher.hash("of nobody")
        monkeypatch.setattr(passwords, "_nobody", lambda: nobody)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(make_app: Maker, clock: Clock, tmp_path: Path) -> Maker:
    """A worker of a service with a console, on the one database of the test: as often as it is called, another."""

    def make(**settings: Any) -> Flask:
        values = {"console": True, "managed_by": "console", "data_dir": tmp_path / "data", **settings}
        return make_app(now=clock, **values)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, worker: Maker) -> Maker:
    """As `worker`, on each kind of database."""
    if request.param == "sqlite":
        return worker
    url, engine = request.getfixturevalue("shared_postgres")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return lambda **settings: worker(database=url, **settings)


@pytest.fixture
def console(worker: Maker) -> Flask:
    """The service with a console of its own database; what hospitals set is managed there."""
    return worker()


@pytest.fixture
def anna(console: Flask) -> Visitor:
    """A person with all roles, signed in."""
    return visitor(console, "anna")


@pytest.fixture
def publishing(console: Flask) -> Publishing:
    """Another way to the same revisions, as the command line has."""
    advisor = console.extensions["advisor"]
    return Publishing(advisor.store, advisor.current.library, advisor.current.input_keys, now=advisor.now)


@pytest.fixture
def second(make_app: Maker) -> Flask:
    """A console where nobody publishes alone."""
    return make_app(console=True, managed_by="console", second_person=True)


@pytest.fixture(scope="session")
def signer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the one client that production needs."""
    return clients_file(tmp_path_factory.mktemp("clients"), client_entry(Signer(ISSUER)))
