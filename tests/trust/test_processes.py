"""What happens to the process itself (F21, F28, F29): nothing acknowledged is lost, and the service comes back."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from cds_service.sandbox.mock_ehr import Signer
from tests.store.helpers import rows
from tests.trust.support import (
    DISCOVERY,
    FEEDBACK,
    HEAD,
    SERVICE,
    Service,
    bare_body,
    client_entry,
    clients_file,
    raw,
    running,
    status,
    wait_until,
)


def workers(service: Service) -> list[int]:
    """Process ids of the workers."""
    return [
        int(pid) for pid in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    ]


class Callers:
    """Threads that call without pause; what they were told."""

    def __init__(self, service: Service, count: int = 4) -> None:
        self.service = service
        self.told: Counter[Any] = Counter()
        self.acknowledged: list[str] = []
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def _run(self, number: int) -> None:
        http = requests.Session()
        while not self.stopped.is_set():
            card = str(uuid4())
            try:
                if number % 2:
                    answer = http.post(self.service.url + SERVICE, json=bare_body(), timeout=10)
                else:
                    item = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z",
                            "overrideReason": {"userComment": "x"}}  # fmt: skip
                    answer = http.post(self.service.url + FEEDBACK, json={"feedback": [item]}, timeout=10)
            except requests.RequestException as error:
                with self.lock:
                    self.told[type(error).__name__] += 1
                http = requests.Session()
                continue
            with self.lock:
                self.told[answer.status_code] += 1
                if answer.status_code == 200 and not number % 2:
                    self.acknowledged.append(card)

    def __enter__(self) -> Callers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(20)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, as Linux has it")
def test_f28_f29_f21_workers_die_and_are_replaced_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as service:
        with Callers(service) as callers:
            time.sleep(0.5)
            before = dict(callers.told)
            os.kill(service.process.pid, signal.SIGHUP)  # F29: new workers, old ones finish what they have
            time.sleep(2.5)
            assert set(callers.told) <= {200, 503}, callers.told
            assert callers.told[200] > before[200]
            for how in (signal.SIGKILL, signal.SIGKILL):  # F28
                victim = workers(service)[0]
                os.kill(victim, how)
                wait_until(
                    lambda gone=victim: gone not in workers(service) and len(workers(service)) == 2, 10, "not back"
                )
                wait_until(lambda: requests.get(service.url + DISCOVERY, timeout=10).ok, 10, "does not answer")
            calm = sum(count for told, count in callers.told.items() if not isinstance(told, int))
            service.process.send_signal(signal.SIGTERM)  # F29: what is in hand is finished
            assert service.process.wait(20) == 0
        assert calm <= 2 * len(callers.threads), "only what a killed worker had in hand"
        assert {told for told in callers.told if isinstance(told, int)} <= {200, 503}
        assert callers.acknowledged
        assert "Traceback" not in service.log.read_text()
    kept = Counter(row["card"] for row in rows(tmp_path, "SELECT card FROM feedback"))
    assert all(kept[card] == 1 for card in callers.acknowledged), "each acknowledged one is there, once"
    assert rows(tmp_path, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, as Linux has it")
def test_f28_a_worker_that_cannot_start_ends_no_other_and_comes_when_it_can(tmp_path: Path) -> None:
    """It reads again what the others hold already: somebody is editing the site file."""
    file, good = tmp_path / "site.edited", "site: here\n"
    file.write_text(good)

    def told() -> int:
        return service.log.read_text().count("worker not started")

    with running(tmp_path, workers=2, site=file) as service:
        file.write_text("[[")
        one, other = workers(service)
        os.kill(one, signal.SIGKILL)
        wait_until(lambda: told() > 1, 30, "it is not tried again")
        assert service.process.poll() is None
        assert other in workers(service)
        for _ in range(5):
            assert requests.get(service.url + DISCOVERY, timeout=10).ok
        file.write_text(good)
        os.kill(other, signal.SIGKILL)
        wait_until(lambda: other not in workers(service) and _answers(service), 30, "no worker came")
        assert "Traceback" not in service.log.read_text()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, as Linux has it")
@pytest.mark.parametrize("edited", ["another client", "no client", "[["], ids=["another", "none", "broken"])
def test_f28_a_worker_that_is_replaced_knows_the_clients_of_the_others(
    tmp_path: Path, signer: Signer, edited: str
) -> None:
    """Somebody edits clients.toml, and a worker dies: who may call changes for all workers at a start, or for none."""
    file = clients_file(tmp_path, client_entry(signer))
    newcomer = Signer("https://newcomer.example")

    def call(own: Signer | None) -> int:
        headers = {"Authorization": f"Bearer {own.token(service.url + SERVICE)}"} if own else {}
        return requests.post(service.url + SERVICE, json=bare_body(), headers=headers, timeout=10).status_code

    with running(tmp_path, workers=2) as service:
        if edited == "another client":
            clients_file(tmp_path, client_entry(newcomer, name="newcomer"))
        else:
            file.write_text("" if edited == "no client" else edited)
        for how in (signal.SIGKILL, signal.SIGHUP):
            before = workers(service)
            for pid in before if how == signal.SIGKILL else [service.process.pid]:
                os.kill(pid, how)
            wait_until(lambda gone=before: not {*gone} & {*workers(service)}, 30, "not replaced")  # type: ignore[misc]
            wait_until(lambda: len(workers(service)) == 2 and _answers(service), 30, "not back")
            assert [call(signer) for _ in range(4)] == [200] * 4
            assert [call(newcomer), call(None)] * 2 == [401] * 4
        assert "worker not started" not in service.log.read_text()


def _answers(service: Service) -> bool:
    try:
        return requests.get(service.url + "/healthz", timeout=10).ok
    except requests.RequestException:
        return False


def test_f29_a_request_that_is_arriving_when_the_service_stops_is_answered(tmp_path: Path) -> None:
    body = json.dumps(bare_body()).encode()
    with running(tmp_path) as service:

        def stop_between(sock: socket.socket) -> None:
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            sock.sendall(body[20:])

        said = raw(service, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:20], 10, stop_between)
        assert status(said) == 200
        assert service.process.wait(20) == 0
