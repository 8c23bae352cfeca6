"""Two replicas as one service: values in force on both, limits for both together, more calls than there is room for.

`python -m tests.operating.several_machines` shows the same with as many calls as are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.operating import several_machines
from tests.operating.replicas import Hospital, hospital
from tests.trust.support import DISCOVERY


@pytest.fixture(scope="module")
def place(postgres: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("machines")
    with ExitStack() as stack:
        yield stack.enter_context(hospital(folder, [url := postgres(), url], managed_by="console", replicas=2))


def test_a_revision_is_in_force_on_both_within_five_seconds(place: Hospital, tmp_path: Path) -> None:
    assert several_machines.revision(place, tmp_path) <= 5


def test_ten_times_as_many_calls_as_there_is_room_for_are_sent_away_at_once(place: Hospital) -> None:
    found = several_machines.burst(place, callers=60, seconds=4)
    assert set(found.told) <= {200, 503}, found.told
    assert found.told[200] > 0
    assert found.told[503] > 0
    assert found.without_retry_after == 0


def test_memory_files_and_threads_stay_as_they_are(place: Hospital) -> None:
    before, after = several_machines.mixed(place, calls=400)
    assert after.files <= before.files + 6
    assert after.threads <= before.threads + 2
    assert after.memory < 1.2 * before.memory


def test_a_limit_holds_for_both_together(postgres: Callable[[], str], tmp_path: Path) -> None:
    """Four calls a second for a client: two by each replica, and twice that at the first moment."""
    with hospital(tmp_path, [url := postgres(), url], client_rate=4, replicas=2) as place:
        http = requests.Session()
        told = [
            http.get(f"http://127.0.0.1:{replica.port}{DISCOVERY}", headers=place.token(DISCOVERY), timeout=20)
            for _ in range(15)
            for replica in place.replicas
        ]
        seconds = sum(answer.elapsed.total_seconds() for answer in told)
        admitted = sum(answer.status_code == 200 for answer in told)
    assert {answer.status_code for answer in told} == {200, 429}
    assert all("Retry-After" in answer.headers for answer in told if answer.status_code == 429)
    assert admitted <= 4 * (2 + seconds) + 2
