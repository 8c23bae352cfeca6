"""What was shown is on record; no answer waits for that, and what could not be recorded is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection

from cds_service.advice.loaded_content import Content
from cds_service.store import FeedbackResult, Store, statements
from cds_service.store import store as stores
from cds_service.store.writer import Job
from tests.conftest import NOW
from tests.store.conftest import postgres  # noqa: F401 - a fixture
from tests.store.helpers import locked, rows
from tests.store.test_trouble import eventually
from tests.test_repetition import ask
from tests.trust.support import FEEDBACK, SERVICE, Json, bare_body, body_for, running

Make = Callable[..., Flask]
ORDERS = {"drugs": ["levothyroxine"], "drafts": ["magnesium_oxide"], "value": 0.85}


def store_of(app: Flask) -> Store:
    store: Store = app.extensions["advisor"].store
    return store


def shown(app: Flask) -> Json:
    """The first card of the sample patient."""
    answer = app.test_client().post(SERVICE, json=body_for(app))
    assert answer.status_code == 200, answer.text
    return dict(answer.json["cards"][0])


def dismissed(card: Json) -> Json:
    reason = card["overrideReasons"][0]
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}
    return {"feedback": [item | {"overrideReason": {"reason": {"code": reason["code"], "system": reason["system"]}}}]}


def test_f24_feedback_in_another_worker_that_overtakes_the_record_is_linked_when_that_comes(
    make_app: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_app(data_dir=tmp_path), make_app(data_dir=tmp_path)
    late: list[Job] = []
    writer = store_of(one)._writer
    with monkeypatch.context() as patch:
        patch.setattr(writer, "submit", late.append)
        card = shown(one)
    assert other.test_client().post(FEEDBACK, json=dismissed(card)).status_code == 200
    assert rows(tmp_path, "SELECT card_match, reason_display FROM feedback") == [
        {"card_match": "unknown_card", "reason_display": None}
    ]
    for job in late:
        writer.submit(job)
    assert eventually(lambda: store_of(one).counters().shown_written == 1)
    (row,) = rows(tmp_path, "SELECT card_match, reason_display FROM feedback")
    assert row == {"card_match": "matched", "reason_display": card["overrideReasons"][0]["display"]}


def test_f17_no_answer_waits_for_a_locked_database_and_no_record_is_lost(make_app: Make, tmp_path: Path) -> None:
    app = make_app(data_dir=tmp_path)
    client = app.test_client()
    client.post(SERVICE, json=bare_body())
    with locked(tmp_path):
        for _ in range(10):
            assert client.post(SERVICE, json=bare_body()).status_code == 200
    assert store_of(app).counters().shown_late == 0, "no answer waited for its record"
    assert eventually(lambda: store_of(app).counters().shown_written == 11)
    assert client.get("/readyz").json["cards_not_recorded"] == 0


def test_f17_records_that_find_no_room_are_counted_where_operators_look(
    make_app: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_QUEUE", 3)
    app = make_app(data_dir=tmp_path)
    client = app.test_client()
    with locked(tmp_path):
        for _ in range(12):
            assert client.post(SERVICE, json=bare_body()).status_code == 200
        dropped = store_of(app).counters().shown_dropped
        assert dropped > 0
    assert eventually(lambda: store_of(app).counters().shown_written == 12 - dropped)
    assert client.get("/readyz").json["cards_not_recorded"] == dropped


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_feedback_goes_before_the_cards_that_wait_but_not_before_its_own(
    make_app: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, kind: str
) -> None:
    """The database is busy until no more cards find room; then a clinician dismisses one of those that wait."""
    monkeypatch.setattr(stores, "_QUEUE", 60)
    url = request.getfixturevalue("postgres")() if kind == "postgresql" else None
    app = make_app(data_dir=tmp_path, database=url)
    store, client, gate = store_of(app), app.test_client(), threading.Event()
    found: list[tuple[int, str]] = []  # how many cards were on record when feedback was written, and what it met
    write = statements.write_feedback

    def observed(connection: Connection, *given: Any, **settings: Any) -> FeedbackResult:
        result = write(connection, *given, **settings)
        cards = connection.exec_driver_sql("SELECT count(*) FROM shown_cards").scalar_one()
        found.append((cards, connection.exec_driver_sql("SELECT card_match FROM feedback").scalar_one()))
        return result

    monkeypatch.setattr(statements, "write_feedback", observed)
    store._writer.submit(Job(lambda _: gate.wait(60), time.monotonic() + 60))
    assert eventually(lambda: store._writer.busy_for() > 0)
    others = [client.post(SERVICE, json=bare_body()) for _ in range(30)]
    card = shown(app)
    while not store.counters().shown_dropped:
        others.append(client.post(SERVICE, json=bare_body()))
    statuses: list[int] = []
    sender = threading.Thread(
        target=lambda: statuses.append(app.test_client().post(FEEDBACK, json=dismissed(card)).status_code)
    )
    sender.start()
    assert eventually(lambda: store._writer._first)
    gate.set()
    sender.join()
    assert statuses == [200]
    assert found == [(1, "matched")]
    assert eventually(lambda: store.counters().shown_written == len(others))  # one dropped, and the one dismissed
    assert client.get("/readyz").json["cards_not_recorded"] == store.counters().shown_dropped == 1


def test_what_one_worker_said_at_order_select_another_does_not_repeat_at_order_sign(
    make_app: Make, content: Content, tmp_path: Path
) -> None:
    """This is the one record that is waited for: the other worker is asked about it."""
    clock = [NOW]

    def worker() -> FlaskClient:
        return make_app(now=lambda: clock[0], data_dir=tmp_path / "data").test_client()

    one, other = worker(), worker()
    for _ in range(5):
        clock[0] += timedelta(hours=1)
        assert ask(one, content, "order-select", **ORDERS)
        assert ask(other, content, "order-sign", **ORDERS) == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the service is stopped by a signal")
def test_f29_records_that_wait_are_written_before_the_service_ends(tmp_path: Path) -> None:
    sent: list[Any] = []
    with running(tmp_path, workers=1) as service:
        requests.post(service.url + SERVICE, json=bare_body(), timeout=10)
        with locked(tmp_path):
            for _ in range(5):
                sent += requests.post(service.url + SERVICE, json=bare_body(), timeout=10).json()["cards"]
            service.process.terminate()
            time.sleep(0.3)
        assert service.process.wait(20) == 0
    kept = {row["card"] for row in rows(tmp_path, "SELECT card FROM shown_cards")}
    assert len(kept) == 6
    assert {card["uuid"] for card in sent} < kept
