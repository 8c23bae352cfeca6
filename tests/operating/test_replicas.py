"""Two replicas behind nginx on one PostgreSQL: what callers see when one ends, is killed, or loses its database.

Each call has a token of its own, which is good for one try: a call that reached a replica is never tried on the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.operating.replicas import Callers, Hospital, hospital, other_version
from tests.trust.support import DISCOVERY, FEEDBACK, SERVICE, wait_until

CALLERS = 3


@pytest.fixture(scope="module")
def place(postgres: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("hospital")
    with ExitStack() as stack:
        yield stack.enter_context(hospital(folder, [url := postgres(), url]))


def test_both_replicas_answer_with_one_key_and_a_token_is_used_once_on_either(place: Hospital) -> None:
    http, body, answered = place.session(), place.body(), set()
    for _ in range(20):
        token = place.token(SERVICE)
        assert http.post(place.base + SERVICE, json=body, headers=token, timeout=20).status_code == 200
        for replica in place.replicas:  # straight, as if the proxy had tried again
            again = requests.post(f"http://127.0.0.1:{replica.port}{SERVICE}", json=body, headers=token, timeout=20)
            assert again.status_code == 401
        answered |= {http.get(f"{place.base}/readyz", timeout=20).json()["instance"] for _ in range(2)}
    assert answered == {"replica-1", "replica-2"}
    card = http.post(place.base + SERVICE, json=body, headers=place.token(SERVICE), timeout=20).json()["cards"][0]
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
    item["overrideReason"] = {"userComment": "seen"}
    for _ in range(2):
        sent = {"feedback": [item]}
        assert http.post(place.base + FEEDBACK, json=sent, headers=place.token(FEEDBACK), timeout=20).status_code == 200


def test_metrics_are_not_told_to_who_comes_through_the_proxy(place: Hospital) -> None:
    told = place.session().get(f"{place.base}/metrics", timeout=20)
    assert (told.status_code, told.json()["resourceType"]) == (404, "OperationOutcome")
    assert "Server" not in told.headers or "/" not in told.headers["Server"]


def test_restart_of_a_replica_fails_no_call(place: Hospital) -> None:
    """Not even one that comes while it stops: what its kernel has accepted is answered, the rest goes to the other."""
    with Callers(place, CALLERS) as callers:
        callers.wait_for(20)
        place.replicas[0].stop()
        callers.wait_for(20)
        place.replicas[0].start()
        callers.wait_for(20)
    assert set(callers.told) == {200}, (callers.told, callers.failed)


def test_killed_replica_fails_what_it_had_in_hand_and_nothing_after(place: Hospital) -> None:
    with Callers(place, CALLERS) as callers:
        callers.wait_for(20)
        place.replicas[1].kill()
        gone = time.monotonic() - callers.began
        callers.wait_for(60)
    place.replicas[1].start()
    # Never 401, which a second try of a used token would give; never 200 without the card.
    assert set(callers.told) <= {200, 502}, (callers.told, callers.failed)
    # Its processes do not end in one moment: who was told may have called it once more, and nobody after that.
    assert callers.told[502] <= 2 * CALLERS, (callers.told, callers.failed)
    assert all(at < gone + 1 for at, _ in callers.failed), (gone, callers.failed)


def test_replica_that_loses_the_database_says_that_it_is_not_ready(
    place: Hospital, postgres: Callable[[], str], tmp_path: Path
) -> None:
    """Its calls are refused, since no token can be looked up: whoever sends calls is to send them elsewhere."""
    first = place.replicas[0]
    assert requests.get(f"http://127.0.0.1:{first.port}/readyz", timeout=20).status_code == 200
    url = first.settings["database"]
    import psycopg

    name = url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            wait_until(lambda: not first.ready(), 10, "it is still ready")
            state = requests.get(f"http://127.0.0.1:{first.port}/readyz", timeout=20)
            assert (state.status_code, state.json()["status"]) == (503, "degraded")
            told = place.session().get(place.base + DISCOVERY, headers=place.token(DISCOVERY), timeout=20)
            assert told.status_code == 503
            assert told.headers["Retry-After"] == "5"
            assert requests.get(f"http://127.0.0.1:{first.port}/healthz", timeout=20).status_code == 200
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    wait_until(first.ready, 20, "not ready again")


def test_upgrade_of_one_replica_after_the_other_fails_no_call_and_the_old_version_starts_no_more(
    place: Hospital, tmp_path: Path
) -> None:
    """The first new one brings the database up to date under the calls of the old one, which goes on."""
    later = other_version(tmp_path / "later")
    with Callers(place, CALLERS) as callers:
        callers.wait_for(20)
        for replica in place.replicas:
            replica.stop()
            replica.code = later
            replica.start()
            callers.wait_for(20)
    assert set(callers.told) == {200}, (callers.told, callers.failed)
    old = place.replicas[0]
    old.stop()
    old.code = None
    old.start(wait=False)
    assert old.process is not None
    assert old.process.wait(60) == 73
    assert "written by a newer version" in old.log.read_text()
    assert place.session().get(f"{place.base}/readyz", timeout=20).json()["instance"] == "replica-2"
