"""F13: our own clock jumps, and the calendar has its odd days. Tokens go by the clock on the wall, deadlines do not.

The wall's clock is read in few places, and a test holds that; here it is put forward and back in all of them.
"""

from __future__ import annotations

import ast
import datetime as datetimes
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt.api_jwt
import pytest
from flask import Flask

from cds_service.sandbox.mock_ehr import MockEhr, Signer
from cds_service.store import Store
from cds_service.trust.limits import Buckets
from tests.store.conftest import database, postgres, shared_postgres  # noqa: F401 - fixtures
from tests.trust.support import (
    BASE,
    DISCOVERY,
    SERVICE,
    bare_body,
    body_for,
    client_entry,
    clients_file,
    inputs,
    reasons,
    states,
)

PACKAGE = Path(__file__).resolve().parents[2] / "cds_service"
HOUR = 3600.0
# Where the wall's clock is read: what is passed on as `now`, the times of tokens, and the age of their memory.
READS_THE_WALL = {
    "__init__.py", "content/publishing.py", "hooks/keeping.py", "store/keys.py",
    "store/migrations/versions/0009_hash_keys.py", "store/tokens.py", "trust/gatekeeper.py",
}  # fmt: skip


class Wall:
    """A clock on the wall that can be set."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.real = time.time

    def __call__(self) -> float:
        return self.real() + self.ahead

    def now(self) -> datetime:
        return datetime.fromtimestamp(self(), UTC)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    clock = Wall()

    class Datetime(datetimes.datetime):
        @classmethod
        def now(cls, tz: datetimes.tzinfo | None = None) -> Any:
            return datetimes.datetime.fromtimestamp(clock(), tz)

    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setattr(jwt.api_jwt, "datetime", Datetime)
    return clock


@pytest.fixture
def get(
    make_app: Callable[..., Flask], signer: Signer, folder: Path, wall: Wall
) -> Iterator[tuple[Flask, Callable[[str], int]]]:
    """A production service by this clock, and the status of a call with a token."""
    file = clients_file(folder, client_entry(signer))
    app = make_app(now=wall.now, profile="production", public_url=BASE, clients=file)
    http = app.test_client()
    yield app, lambda token: http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code


def reads_the_wall(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = f"{node.value.id}.{node.attr}"
            if named in ("time.time", "datetime.now", "datetime.utcnow", "date.today", "datetime.today"):
                return True
        if isinstance(node, ast.ImportFrom) and node.module == "time" and any(a.name == "time" for a in node.names):
            return True
    return False


def test_f13_the_walls_clock_is_read_in_these_places_only() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("commands", "sandbox")
        and reads_the_wall(ast.parse(path.read_text()))
    }
    assert found == READS_THE_WALL


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_f13_a_token_goes_by_the_clock_on_the_wall(
    get: tuple[Flask, Callable[[str], int]], signer: Signer, wall: Wall, jump: float
) -> None:
    _, status = get
    assert status(signer.token(BASE + DISCOVERY)) == 200
    before = signer.token(BASE + DISCOVERY)
    wall.ahead += jump
    assert status(before) == 401, "expired, or of the future"
    assert status(replace(signer, clock=jump).token(BASE + DISCOVERY)) == (200 if jump > 0 else 401), (
        "older than our memory"
    )
    wall.ahead -= jump
    assert status(before) == 200, "it was not used yet"


def test_f13_a_clock_that_was_ahead_for_a_while_lets_no_token_be_used_again(
    get: tuple[Flask, Callable[[str], int]], signer: Signer, wall: Wall
) -> None:
    app, status = get
    used = signer.token(BASE + DISCOVERY, life=60)
    assert status(used) == 200
    wall.ahead += HOUR
    app.extensions["advisor"].store._cleaned_at = float("-inf")  # and what is forgotten now is gone
    assert status(replace(signer, clock=HOUR).token(BASE + DISCOVERY)) == 200
    wall.ahead -= HOUR
    assert status(used) == 401


def test_f13_on_either_database_a_token_is_remembered_beyond_a_jump(database: Callable[..., Store]) -> None:  # noqa: F811
    store, signed = database(), datetime.now(UTC) + timedelta(minutes=1)
    expires = signed + timedelta(minutes=5)
    assert store.use_token("one", "a", expires, signed, signed)
    store._cleaned_at = float("-inf")
    assert store.use_token("one", "b", expires + timedelta(hours=1), signed + timedelta(hours=1), signed)
    assert not store.use_token("one", "a", expires, signed, signed)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, -10 * 365 * 24 * HOUR])
def test_f13_a_read_takes_its_time_and_no_more_when_the_clock_jumps(
    make_app: Callable[..., Flask], ehr: MockEhr, wall: Wall, jump: float
) -> None:
    app = make_app(fhir_servers=(ehr.fhir,), fetch_seconds=1.0)
    ehr.fail("Observation", delay=60)
    jumps = threading.Timer(0.4, lambda: setattr(wall, "ahead", jump))
    start = time.monotonic()
    jumps.start()
    answer = app.test_client().post(SERVICE, json=bare_body(fhirServer=ehr.fhir))
    took = time.monotonic() - start
    jumps.join()
    assert answer.status_code == 200
    assert 0.9 < took < 30, "not at once, and not when the server answers"
    assert "serum magnesium could not be read: timed out" in reasons(dict(answer.json or {}))
    assert inputs(dict(answer.json or {}))["conditions"] == "fetched"


def test_f13_rates_and_the_store_go_on_when_the_clock_jumps(
    make_app: Callable[..., Flask], wall: Wall, folder: Path
) -> None:
    app, buckets = make_app(), Buckets(1)
    store = app.extensions["advisor"].store
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1]
    for jump in (HOUR, -HOUR):
        wall.ahead = jump
        assert buckets.take("a") == 1, "no second has passed"
        assert app.test_client().post(SERVICE, json=body_for(app)).status_code == 200
        store.ping()


ODD_DAYS = [
    "2028-02-29T00:00:00", "2028-02-29T23:59:59", "2028-03-01T00:00:00", "2027-03-01T09:00:00", "2026-12-31T23:59:59",
    "2027-01-01T00:00:00", "2026-03-29T00:59:59", "2026-03-29T01:00:00", "2026-10-25T00:30:00", "2026-10-25T01:30:00",
    "2026-11-01T06:30:00", "2027-03-14T07:00:00", "2026-06-30T23:59:59",
]  # fmt: skip
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("day", ODD_DAYS)
def test_f13_on_odd_days_and_in_any_zone_the_same_patient_gets_the_same_outcome(
    app: Flask, make_app: Callable[..., Flask], zone: Callable[[str], None], day: str
) -> None:
    usual = states(dict(app.test_client().post(SERVICE, json=body_for(app)).json or {}))
    there = make_app(now=lambda: datetime.fromisoformat(day).replace(tzinfo=UTC))
    body = body_for(there)
    for name in ZONES:
        zone(name)
        answer = there.test_client().post(SERVICE, json=body)
        assert states(dict(answer.json or {})) == usual, name
