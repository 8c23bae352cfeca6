"""F21: whatever is acknowledged is on disk exactly once, whenever the service is killed.

MAGNESIUM_CDS_KILLS sets how often (10 by default). Every fourth kill takes the whole server, the others one worker.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from cds_service.hooks.feedback import MAX_BYTES
from tests.store.helpers import rows
from tests.store.ledger_app import SERVICE

KILLS = int(os.environ.get("MAGNESIUM_CDS_KILLS", "10"))
ROOT = Path(__file__).resolve().parents[2]
BATCH = 3


class Server:
    """gunicorn with two workers on a socket of ours, which outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/cds-services/{SERVICE}/feedback"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        number = self.socket.fileno()
        command = [sys.executable, "-m", "gunicorn", "--preload", "-k", "gthread", "-w", "2", "--threads", "4"]
        command += ["--bind", f"fd://{number}", "--log-level", "critical", "--graceful-timeout", "1"]
        self.process = subprocess.Popen(
            [*command, "tests.store.ledger_app:create()"],
            cwd=ROOT,
            pass_fds=[number],
            start_new_session=True,
            env={**os.environ, "LEDGER_DATA_DIR": str(self.folder)},
        )

    def workers(self) -> list[int]:
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    def kill_worker(self) -> None:
        for pid in random.sample(self.workers(), 1):
            os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill_all()
        server.socket.close()


class Clients(threading.Thread):
    """One client that sends batches and remembers what was acknowledged. Half of what fails it sends again."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self.url, self.stop = url, stop
        self.sent: dict[str, list[str]] = {}
        self.acknowledged: list[str] = []

    def run(self) -> None:
        number, resend = 0, False
        body = b""
        while not self.stop.is_set():
            if not resend:
                number += 1
                batch = f"{self.ident}-{number}"
                self.sent[batch] = [str(uuid.uuid4()) for _ in range(BATCH)]
                items = [
                    {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-21T21:05:22.275Z"}
                    for card in self.sent[batch]
                ]
                body = json.dumps({"feedback": items}).encode()
            resend = False
            try:
                # A connection of its own each time: one that was kept would hide which worker answers.
                answer = requests.post(self.url, body, headers={"Content-Type": "application/json"}, timeout=3)
            except requests.RequestException:
                resend = random.random() < 0.5
                continue
            if answer.status_code == 200:
                self.acknowledged.append(batch)
            else:
                assert answer.status_code == 503
                resend = True


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to find the workers")
def test_every_acknowledged_item_is_there_exactly_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    stop = threading.Event()
    with serving(folder) as server:
        clients = [Clients(server.url, stop) for _ in range(4)]
        for client in clients:
            client.start()
        give_up = time.monotonic() + 20
        while not any(client.acknowledged for client in clients):
            assert time.monotonic() < give_up, "the service did not start"
            time.sleep(0.02)
        for kill in range(KILLS):
            before = sum(len(client.acknowledged) for client in clients)
            if kill % 4 == 3:
                server.kill_all()
                server.start()
            else:
                server.kill_worker()
            # Only what is under load is killed: go on when something was acknowledged again, at a random moment.
            give_up = time.monotonic() + 20
            while sum(len(client.acknowledged) for client in clients) < before + 5 and time.monotonic() < give_up:
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 0.15))
        server.kill_all()
        stop.set()
        server.start()  # answers what still waits in the backlog, so that the clients end at once
        for client in clients:
            client.join(timeout=20)
    sent = {batch: cards for client in clients for batch, cards in client.sent.items()}
    acknowledged = [batch for client in clients for batch in client.acknowledged]
    stored = Counter(row["card"] for row in rows(folder, "SELECT card FROM feedback"))
    assert rows(folder, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert len(acknowledged) > KILLS * 5
    assert {stored[card] for batch in acknowledged for card in sent[batch]} == {1}
    # All of a batch or nothing of it, also where nobody was told; and nothing that nobody sent.
    assert {sum(stored[card] for card in cards) for cards in sent.values()} <= {0, BATCH}
    assert set(stored) <= {card for cards in sent.values() for card in cards}


def test_a_body_without_a_length_is_bounded_too(tmp_path: Path) -> None:
    """A60, through a real server: the test client always knows the length."""

    def post(*chunks: bytes) -> int:
        connection = HTTPConnection("127.0.0.1", server.socket.getsockname()[1], timeout=20)
        try:
            connection.putrequest("POST", f"/cds-services/{SERVICE}/feedback")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            sent = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
            connection.send(b"".join(sent) + b"0\r\n\r\n")
            return connection.getresponse().status
        finally:
            connection.close()

    item = b'{"card": "x", "outcome": "overridden", "outcomeTimestamp": "2026-11-21T21:05:22Z"}'
    whole = b'{"feedback": [' + item + b"]}"
    with serving(tmp_path / "data") as server:
        assert post(b'{"feedback"', b": []}") == 400
        assert post(whole, b" " * (MAX_BYTES - len(whole))) == 200
        # Not one byte more than is read: what is left unread would reset the connection before the answer is seen.
        assert post(whole, b" " * (MAX_BYTES + 1 - len(whole))) == 413
    assert len(rows(tmp_path / "data", "SELECT * FROM feedback")) == 1
