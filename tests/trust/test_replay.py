"""Replay (A16): a token is good once, whichever thread, process or database connection it comes to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from cds_service.sandbox.mock_ehr import Signer
from cds_service.store import Store, StoreUnavailable
from cds_service.store.tokens import FILE_NAME
from tests.conftest import KEY
from tests.store.conftest import database, postgres, shared_postgres  # noqa: F401 - fixtures
from tests.store.helpers import locked
from tests.trust.support import BASE, DISCOVERY, FEEDBACK, SERVICE, body_for, client_entry, clients_file, running

NOW = datetime.now(UTC)
# What is signed must be younger than the memory, whose file each test makes: these are signed in a while.
LATER = NOW + timedelta(minutes=30)
SIGNED = NOW + timedelta(hours=5)  # however long the tests before these take


def seen(folder: Path) -> list[str]:
    """The jti of every token in the file."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return [row[0] for row in connection.execute("SELECT jti FROM seen_tokens")]


def test_a16_the_same_token_is_taken_once(call: Callable[..., TestResponse], signer: Signer) -> None:
    token = signer.token(BASE + DISCOVERY)
    assert [call(DISCOVERY, token).status_code for _ in range(3)] == [200, 401, 401]


def test_a16_of_fifty_at_once_one_is_taken(production: Flask, signer: Signer) -> None:
    token = signer.token(BASE + DISCOVERY)
    start = threading.Barrier(50)

    def get(_: int) -> int:
        start.wait()
        answer = production.test_client().get(DISCOVERY, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code

    with ThreadPoolExecutor(50) as threads:
        answers = Counter(threads.map(get, range(50)))
    # More than one worker takes on at the same time, so some may be told to come back; one and only one is let in.
    assert answers[200] == 1
    assert answers.keys() <= {200, 401, 503}


def test_a16_two_workers_share_one_memory_and_it_outlives_a_restart(
    make_app: Callable[..., Flask], folder: Path, signer: Signer
) -> None:
    settings: dict[str, Any] = {
        "profile": "production", "public_url": BASE, "clients": clients_file(folder, client_entry(signer)),
        "workers": 2, "key": KEY,
    }  # fmt: skip
    tokens = [signer.token(BASE + DISCOVERY) for _ in range(12)]
    with running(folder, **settings) as service:

        def get(token: str) -> int:  # a new connection each time, so that both workers take part
            answer = requests.get(
                service.url + DISCOVERY, headers={"Authorization": f"Bearer {token}", "Connection": "close"}, timeout=10
            )
            return answer.status_code

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(get, [token for token in tokens for _ in range(6)]))
        for index in range(len(tokens)):
            told = Counter(answers[index * 6 : index * 6 + 6])
            assert told[200] == 1
            assert told.keys() <= {200, 401, 503}  # a busy machine may tell some to come back
    again = make_app(**settings, data_dir=folder).test_client()
    for token in tokens:
        assert again.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a16_when_the_store_cannot_tell_the_call_is_refused_for_now(
    make_app: Callable[..., Flask], signer: Signer, folder: Path
) -> None:
    app = make_app(
        profile="production", public_url=BASE, clients=clients_file(folder, client_entry(signer)), data_dir=folder
    )
    token = signer.token(BASE + DISCOVERY)
    http = app.test_client()
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {signer.token(BASE + DISCOVERY)}"}).status_code == 200
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        feedback = http.post(
            FEEDBACK, json={"feedback": []}, headers={"Authorization": f"Bearer {signer.token(BASE + FEEDBACK)}"}
        )
        assert feedback.status_code == 503
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    good = http.get(DISCOVERY, headers={"Authorization": f"Bearer {signer.token(BASE + DISCOVERY)}"})
    assert good.status_code == 200


def test_a16_on_either_database_a_token_of_an_issuer_is_new_once(database: Callable[..., Store]) -> None:  # noqa: F811
    store, other = database(), database()
    assert store.use_token("one", "a", LATER, NOW, SIGNED)
    assert not store.use_token("one", "a", LATER, NOW, SIGNED)
    assert not other.use_token("one", "a", LATER, NOW, SIGNED), "another machine"
    assert other.use_token("two", "a", LATER, NOW, SIGNED)
    assert store.use_token("one", "A", LATER, NOW, SIGNED)
    with ThreadPoolExecutor(20) as threads:
        stores = (store, other) * 10
        assert sum(threads.map(lambda one: one.use_token("one", "b", LATER, NOW, SIGNED), stores)) == 1


def test_a16_what_expired_more_than_an_hour_ago_is_forgotten(folder: Path) -> None:
    much_later = NOW + timedelta(hours=1, minutes=10)
    with Store.open(data_dir=folder) as store:
        for number in range(5):
            assert store.use_token("one", str(number), NOW, NOW, SIGNED)
        store._cleaned_at = float("-inf")
        assert store.use_token("one", "new", much_later, LATER, SIGNED)
        assert len(seen(folder)) == 6
        store._cleaned_at = float("-inf")
        assert store.use_token("one", "newer", much_later, much_later, SIGNED)
        assert seen(folder) == ["new", "newer"]


def test_a16_processes_that_share_a_file_never_both_take_a_token(folder: Path) -> None:
    with Store.open(data_dir=folder):
        pass
    program = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC, timedelta\n"
        "from cds_service.store import Store\n"
        "now = datetime.now(UTC)\n"
        "with Store.open(data_dir=Path(sys.argv[1])) as store:\n"
        "    sys.stdin.readline()\n"
        "    print(sum(store.use_token('one', str(n), now + timedelta(minutes=5), now, now) for n in range(25)))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sum(taken) == 25, taken


def test_a_refused_token_is_not_remembered(make_app: Callable[..., Flask], signer: Signer, folder: Path) -> None:
    app = make_app(
        profile="production", public_url=BASE, clients=clients_file(folder, client_entry(signer)), data_dir=folder
    )
    http = app.test_client()
    forged = Signer(signer.issuer, kid=signer.kid).token(BASE + DISCOVERY, jti="mine")
    for token in (forged, signer.token("https://other.example", jti="mine")):
        assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert not (folder / FILE_NAME).exists()
    good = signer.token(BASE + DISCOVERY, jti="mine")
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {good}"}).status_code == 200
    assert seen(folder) == ["mine"]


def test_a16_a_memory_that_was_lost_refuses_what_was_signed_before(folder: Path) -> None:
    early, late = NOW - timedelta(minutes=2), datetime.now(UTC)
    with Store.open(data_dir=folder) as store:
        assert store.use_token("one", "a", LATER, NOW, late)
        assert not store.use_token("one", "b", LATER, NOW, early), "signed before the memory began"
        (folder / FILE_NAME).unlink()
        assert not store.use_token("one", "c", LATER, NOW, early)
        assert store.use_token("one", "d", LATER, NOW, late)
        assert seen(folder) == ["d"]
        (folder / FILE_NAME).write_bytes(b"this is no database" * 1000)
        with pytest.raises(StoreUnavailable):
            store.use_token("one", "e", LATER, NOW, late)
        assert store.use_token("one", "e", LATER, NOW, late), "made anew"


def test_a16_a_machine_that_started_anew_refuses_what_was_signed_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = folder / "boot_id"
    monkeypatch.setattr("cds_service.store.tokens._BOOT", boot)
    monkeypatch.setattr("cds_service.store.tokens._SKEW", 0)
    boot.write_text("first")
    with Store.open(data_dir=folder) as store:
        signed = datetime.now(UTC) + timedelta(seconds=0.2)
        assert store.use_token("one", "a", LATER, NOW, signed)
    with Store.open(data_dir=folder) as store:
        assert not store.use_token("one", "a", LATER, NOW, signed), "the service alone started anew"
    time.sleep(0.3)
    boot.write_text("second")
    with Store.open(data_dir=folder) as store:
        assert not store.use_token("one", "a", LATER, NOW, signed)
        assert not store.use_token("one", "b", LATER, NOW, signed)


def test_f17_a_locked_database_stops_no_authenticated_call(
    make_app: Callable[..., Flask], signer: Signer, folder: Path
) -> None:
    file = clients_file(folder, client_entry(signer))
    app = make_app(profile="production", public_url=BASE, clients=file, data_dir=folder)
    http = app.test_client()
    body = body_for(app)

    def post() -> int:
        headers = {"Authorization": f"Bearer {signer.token(BASE + SERVICE)}"}
        return http.post(SERVICE, json=body, headers=headers).status_code

    assert post() == 200
    with locked(folder):
        assert post() == 200
