"""F1, F2: servers that are slow, silent or gone, on real sockets. The deadline holds and the threads are free again."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import pytest

from cds_service.fhir import FhirServer
from tests.fhir.charts import bundle, condition, magnesium, order, patient, read
from tests.fhir.test_fetching import CONDITIONS, MG, ORDERS, WHO, state
from tests.support.servers import ManyCallers
from tests.support.timing import within


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on loopback that does with each connection what `handle` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                handle(connection)
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
    finally:
        stop.set()
        listener.close()


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def drip_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("behave", [silent, drip_body, drip_headers])
def test_f2_a_slow_server_costs_the_deadline_and_not_more(behave: Callable[[socket.socket], None]) -> None:
    before = threading.active_count()
    with listening(behave) as base:
        ours = FhirServer(base, total_seconds=0.4)
        with within(0.8, least=0.3):
            chart = read(needs=(CONDITIONS, MG, ORDERS), server=ours)
        assert {state(chart, n.key) for n in (CONDITIONS, MG, ORDERS)} == {("failed", "timed out")}
        deadline = time.monotonic() + 10
        while ours.reading and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ours.reading == 0, "the threads that read are free again"
    assert threading.active_count() <= before + 60


def test_f1_a_server_that_is_not_there_is_not_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with within(0.3):
        chart = read(needs=(CONDITIONS,), server=FhirServer(f"http://127.0.0.1:{port}/fhir"))
    assert state(chart, "conditions") == ("failed", "not reachable")


def test_f1_a_connection_that_is_cut_is_not_reachable() -> None:
    with listening(lambda connection: connection.close()) as base:
        assert state(read(needs=(CONDITIONS,), server=FhirServer(base)), "conditions") == ("failed", "not reachable")


def test_compressed_answers_are_not_opened() -> None:
    def bomb(connection: socket.socket) -> None:
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
        )
        connection.sendall(head + b"xyz")

    with listening(bomb) as base:
        assert state(read(needs=(CONDITIONS,), server=FhirServer(base)), "conditions") == ("failed", "unreadable")


class _Ehr(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies = {
        "Condition": bundle(condition()),
        "Observation": bundle(magnesium()),
        "MedicationRequest": bundle(order()),
    }

    def do_GET(self) -> None:
        time.sleep(0.15)
        kind = urlsplit(self.path).path.rpartition("/")[2]
        body = json.dumps(self.bodies.get(kind, patient())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def test_independent_reads_are_made_at_the_same_time() -> None:
    ehr = ManyCallers(("127.0.0.1", 0), _Ehr)
    threading.Thread(target=ehr.serve_forever, daemon=True).start()
    try:
        ours = FhirServer(f"http://127.0.0.1:{ehr.server_port}/fhir", total_seconds=10)
        with within(0.45):  # four reads of 150 ms each take as long as one or two
            chart = read(needs=(WHO, CONDITIONS, MG, ORDERS), server=ours)
    finally:
        ehr.shutdown()
        ehr.server_close()
    assert {a.state for a in chart.facts.inputs.values()} == {"fetched"}
    assert chart.facts.medications
    assert chart.facts.person.age_years == 58
