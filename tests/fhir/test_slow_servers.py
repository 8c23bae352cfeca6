"""F1, F2: servers that are slow, silent or gone, on real sockets, read as the service reads."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from cds_service.fhir import FetchFailed, FhirServer
from cds_service.sandbox.mock_ehr import MockEhr
from cds_service.trust.addresses import LOCAL
from cds_service.trust.outbound import Server, guarded_session
from tests.fhir.charts import bundle, condition, magnesium, order, patient, read
from tests.fhir.test_fetching import CONDITIONS, MG, ORDERS, WHO, state
from tests.support.servers import ManyCallers
from tests.support.timing import within
from tests.trust.support import PATIENT, SERVICE, bare_body, reasons


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


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def drip(head: bytes, part: bytes) -> Callable[[socket.socket], None]:
    """Sends `head`, and then `part` again and again, for as long as somebody listens."""

    def handle(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)
            time.sleep(0.05)

    return handle


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "silent": silent,
    "drips its headers": drip(HEAD + b"X: ", b"x"),
    "drips its body": drip(HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
    "drips a body without a length": drip(HEAD + b"\r\n", b" "),
    "many chunks": drip(CHUNKED, b"1\r\n \r\n"),
    "drips the size of a chunk": drip(CHUNKED, b"0"),
    "drips what stands behind the size of a chunk": drip(CHUNKED + b"1;", b"x"),
    "drips behind the last chunk": drip(CHUNKED + b"1\r\n \r\n0\r\n", b"x"),
}


def guarded(base: str, **how: Any) -> FhirServer:
    """Read as the service reads."""
    return FhirServer(base, session=guarded_session([Server(base, LOCAL)]), **how)


@pytest.mark.parametrize("name", SLOW)
def test_f2_a_slow_server_costs_a_call_the_time_for_all_reads_and_not_more(
    make_app: Callable[..., Flask], name: str
) -> None:
    with listening(SLOW[name]) as base:
        http = make_app(fhir_servers=(base,), fetch_seconds=0.4).test_client()
        with within(0.8, least=0.3):
            answer = http.post(SERVICE, json=bare_body(fhirServer=base))
    assert answer.status_code == 200
    assert "serum magnesium could not be read: timed out" in reasons(dict(answer.json or {}))


@pytest.mark.parametrize("name", SLOW)
def test_f2_the_read_itself_ends_then_whatever_the_server_still_sends(name: str) -> None:
    with listening(SLOW[name]) as base, within(0.8, least=0.3), pytest.raises(FetchFailed, match="timed out"):
        guarded(base, total_seconds=0.4).get("Condition")  # in this very thread: nobody else's wait ends it


def test_an_answer_that_came_in_time_does_not_end_the_next_one_on_its_connection() -> None:
    with MockEhr() as ehr:
        ours = guarded(ehr.fhir, total_seconds=1.5)
        for _ in range(8):
            assert ours.get(f"Patient/{PATIENT}")
            time.sleep(0.1)
        session = guarded_session([Server(ehr.fhir, LOCAL)])
        FhirServer(ehr.fhir, session=session, total_seconds=0.3).get(f"Patient/{PATIENT}")
        time.sleep(0.4)  # what watched over the first answer would have ended the connection by now
        assert FhirServer(ehr.fhir, session=session).get(f"Patient/{PATIENT}")


def test_f1_a_server_that_is_not_there_is_not_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with within(0.3):
        chart = read(needs=(CONDITIONS,), server=guarded(f"http://127.0.0.1:{port}/fhir"))
    assert state(chart, "conditions") == ("failed", "not reachable")


def test_f1_a_connection_that_is_cut_is_not_reachable() -> None:
    with listening(lambda connection: connection.close()) as base:
        assert state(read(needs=(CONDITIONS,), server=guarded(base)), "conditions") == ("failed", "not reachable")


def test_compressed_answers_are_not_opened() -> None:
    def bomb(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz")

    with listening(bomb) as base:
        assert state(read(needs=(CONDITIONS,), server=guarded(base)), "conditions") == ("failed", "unreadable")


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
        ours = guarded(f"http://127.0.0.1:{ehr.server_port}/fhir", total_seconds=10)
        with within(0.45):  # four reads of 150 ms each take as long as one or two
            chart = read(needs=(WHO, CONDITIONS, MG, ORDERS), server=ours)
    finally:
        ehr.shutdown()
        ehr.server_close()
    assert {a.state for a in chart.facts.inputs.values()} == {"fetched"}
    assert chart.facts.medications
    assert chart.facts.person.age_years == 58
