"""Replay (A16): a token is good once, whichever thread, process or database connection it comes to."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from cds_service.sandbox.mock_ehr import Signer
from cds_service.store import Store
from tests.store.conftest import database, postgres, shared_postgres  # noqa: F401 - fixtures
from tests.store.helpers import locked, rows
from tests.trust.support import BASE, DISCOVERY, FEEDBACK, client_entry, clients_file, running

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


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


def test_a16_two_workers_share_one_memory_and_it_outlives_a_restart(folder: Path, signer: Signer) -> None:
    import requests

    settings: dict[str, Any] = {
        "profile": "production", "public_url": BASE, "clients": clients_file(folder, client_entry(signer)), "workers": 2
    }  # fmt: skip
    tokens = [signer.token(BASE + DISCOVERY) for _ in range(12)]
    with running(folder, **settings) as service:

        def get(token: str) -> int:  # a new connection each time, so that both workers take part
            answer = requests.get(
                service.url + DISCOVERY, headers={"Authorization": f"Bearer {token}", "Connection": "close"}, timeout=10
            )
            return answer.status_code

        with ThreadPoolExecutor(8) as threads:
            seen = list(threads.map(get, [token for token in tokens for _ in range(6)]))
        for index in range(len(tokens)):
            assert sorted(seen[index * 6 : index * 6 + 6]) == [200, 401, 401, 401, 401, 401]
    with running(folder, **settings) as service:
        assert [get(token) for token in tokens] == [401] * 12
        assert get(signer.token(BASE + DISCOVERY)) == 200


def test_a16_when_the_store_cannot_tell_the_call_is_refused_for_now(
    make_app: Callable[..., Flask], signer: Signer, folder: Path
) -> None:
    app = make_app(
        profile="production", public_url=BASE, clients=clients_file(folder, client_entry(signer)), data_dir=folder
    )
    token = signer.token(BASE + DISCOVERY)
    http = app.test_client()
    with locked(folder):
        answer = http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        feedback = http.post(
            FEEDBACK, json={"feedback": []}, headers={"Authorization": f"Bearer {signer.token(BASE + FEEDBACK)}"}
        )
        assert feedback.status_code == 503
    # The write that came too late for its caller may have been made: either way the token is good once at most.
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code in (200, 401)
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    good = http.get(DISCOVERY, headers={"Authorization": f"Bearer {signer.token(BASE + DISCOVERY)}"})
    assert good.status_code == 200


def test_a16_on_either_database_a_token_of_an_issuer_is_new_once(database: Callable[..., Store]) -> None:  # noqa: F811
    store, other = database(), database()
    assert store.use_token("one", "a", LATER, NOW)
    assert not store.use_token("one", "a", LATER, NOW)
    assert not other.use_token("one", "a", LATER, NOW), "another machine"
    assert other.use_token("two", "a", LATER, NOW)
    assert store.use_token("one", "A", LATER, NOW)
    with ThreadPoolExecutor(20) as threads:
        stores = (store, other) * 10
        assert sum(threads.map(lambda one: one.use_token("one", "b", LATER, NOW), stores)) == 1


def test_a16_what_has_expired_is_forgotten(folder: Path) -> None:
    with Store.open(data_dir=folder) as store:
        for number in range(5):
            assert store.use_token("one", str(number), NOW, NOW)
        store._cleaned_at = float("-inf")
        assert store.use_token("one", "new", LATER + timedelta(hours=1), LATER)
        assert rows(folder, "SELECT jti FROM seen_tokens") == [{"jti": "new"}]


def test_a16_processes_that_share_a_file_never_both_take_a_token(folder: Path) -> None:
    with Store.open(data_dir=folder):
        pass
    program = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC, timedelta\n"
        "from cds_service.store import Store\n"
        "now = datetime.now(UTC)\n"
        "with Store.open(data_dir=Path(sys.argv[1])) as store:\n"
        "    sys.stdin.readline()\n"
        "    print(sum(store.use_token('one', str(n), now + timedelta(minutes=5), now) for n in range(25)))\n"
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


@pytest.mark.parametrize("count", [1])
def test_a_refused_token_is_not_remembered(
    make_app: Callable[..., Flask], signer: Signer, folder: Path, count: int
) -> None:
    app = make_app(
        profile="production", public_url=BASE, clients=clients_file(folder, client_entry(signer)), data_dir=folder
    )
    http = app.test_client()
    forged = Signer(signer.issuer, kid=signer.kid).token(BASE + DISCOVERY, jti="mine")
    for token in (forged, signer.token("https://other.example", jti="mine")):
        assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert len(rows(folder, "SELECT jti FROM seen_tokens")) == 0
    good = signer.token(BASE + DISCOVERY, jti="mine")
    assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {good}"}).status_code == 200
    assert len(rows(folder, "SELECT jti FROM seen_tokens")) == count
