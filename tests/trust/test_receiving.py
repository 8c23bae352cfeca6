"""What is slow (A35, F38) or can be read in two ways (A34) harms no other caller: a real nginx before `serve`."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from cds_service.settings import Settings
from tests.benchmarks.slow_senders import slow
from tests.support.proxy import CONFIGURATION, proxy
from tests.support.servers import ManyCallers
from tests.trust.support import DISCOVERY, HEAD, SERVICE, Service, bare_body, free_port, heard, raw, running, status

BODY = json.dumps(bare_body()).encode()
CALL = HEAD + b"Content-Length: %d\r\n" % len(BODY)
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
LARGEST = 300_000
THREADS = 32


class Both(NamedTuple):
    """A service, and the same one behind its proxy."""

    direct: Service
    proxied: Service
    said: Path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """One worker behind an nginx that keeps one connection to it, so that all callers share that."""
    folder = tmp_path_factory.mktemp("service")
    changes = {"worker_processes": "1", "keepalive": "1", "client_max_body_size": str(LARGEST)}
    changes |= {"client_header_timeout": "1s", "client_body_timeout": "1s"}
    with (
        running(folder, threads=THREADS, max_body=LARGEST, trusted_proxies=1) as service,
        proxy(f"127.0.0.1:{service.port}", folder, **changes) as port,
    ):
        yield Both(service, Service(service.process, port, service.log), folder / "nginx.log")


def answers(said: bytes) -> list[int]:
    """The status of each answer in what was said, but for "100 Continue"."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", said) if found != b"100"]


def outcome(said: bytes) -> bool:
    """Whether the answer is an OperationOutcome of ours that repeats nothing that was sent."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"marked" not in said
    return b"application/fhir+json" in head and json.loads(body)["resourceType"] == "OperationOutcome"


# -- A34: what two readers could read differently


def framed(*headers: bytes, body: bytes = HIDDEN) -> bytes:
    """One request with these lines for its framing, and a body that looks like a request."""
    return HEAD + b"".join(line + b"\r\n" for line in headers) + b"\r\n" + body


N, H = b"%d" % len(HIDDEN), b"%x" % len(HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n" + HIDDEN
LENGTHS = {f"{n} digits, leading zeros": framed(b"Content-Length: " + N.rjust(n, b"0")) for n in range(len(N), 41)}
LENGTHS |= {f"{n} nines": framed(b"Content-Length: " + b"9" * n) for n in range(3, 41)}
LENGTHS |= {f"{2**n} beyond": framed(b"Content-Length: %d" % (2**n + len(HIDDEN))) for n in (31, 32, 63, 64, 65, 128)}
FRAMINGS = {
    "plus sign": framed(b"Content-Length: +" + N),
    "minus sign": framed(b"Content-Length: -" + N),
    "spaces around": framed(b"Content-Length:  \t " + N + b" \t "),
    "space within": framed(b"Content-Length: " + N[:1] + b" " + N[1:]),
    "underscore": framed(b"Content-Length: " + N[:1] + b"_" + N[1:]),
    "hexadecimal": framed(b"Content-Length: 0x" + H),
    "other digits": framed("Content-Length: ٣٣".encode()),
    "empty": framed(b"Content-Length:"),
    "a list": framed(b"Content-Length: " + N + b", " + N),
    "two lengths, the same": framed(b"Content-Length: " + N, b"Content-Length: " + N),
    "two lengths": framed(b"Content-Length: 0", b"Content-Length: " + N),
    "two lengths, the other way": framed(b"Content-Length: " + N, b"Content-Length: 0"),
    "space before the colon": framed(b"Content-Length : 0", b"Content-Length: " + N),
    "length and chunks": framed(b"Content-Length: %d" % len(LAST), CHUNKED, body=LAST),
    "chunks and length": framed(CHUNKED, b"Content-Length: %d" % len(LAST), body=LAST),
    "folded": framed(b"X-A: b", b" Content-Length: 0", b"Content-Length: " + N),
    "folded chunks": framed(b"Transfer-Encoding:", b" chunked", b"Content-Length: %d" % len(LAST), body=LAST),
    "bare LF": framed(b"X-A: b\nContent-Length: 0", b"Content-Length: " + N),
    "bare CR": framed(b"X-A: b\rContent-Length: 0", b"Content-Length: " + N),
    "NUL": framed(b"X-A: b\0c", b"Content-Length: " + N),
    "NUL in the length": framed(b"Content-Length: " + N + b"\0"),
    "no name": framed(b": 0", b"Content-Length: " + N),
} | {
    f"chunks as {name!r}": framed(name, b"Content-Length: %d" % len(LAST), body=LAST)
    for name in (
        b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked ",
        b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: chunked, chunked", b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked;q=1", b"Transfer_Encoding: chunked", b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    )
}  # fmt: skip
CHUNKS = {
    f"chunk {line!r}": framed(CHUNKED, body=line + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n")
    for line in (
        b"ZZ", b"", b";a=b", b"+" + H, b"-" + H, b"0x" + H, b" " + H, H + b" ", b"2_1", H + b";a\nb", H + b";a\rb",
        H + b"\0", b"ffffffff", b"f" * 17, b"1" + H.rjust(16, b"0"), b"20", b"22", b"1",
    )
} | {
    "chunk ended by LF": framed(CHUNKED, body=H + b"\n" + HIDDEN + b"\n0\n\n"),
    "trailer without a colon": framed(CHUNKED, body=b"0\r\nmarked\r\n\r\n"),
    "trailer with a space in its name": framed(CHUNKED, body=b"0\r\nmarked : x\r\n\r\n"),
    "folded trailer": framed(CHUNKED, body=b"0\r\nX: marked\r\n y\r\n\r\n"),
    "trailer ended by LF": framed(CHUNKED, body=b"0\r\nX: marked\n\n"),
    "trailer with NUL": framed(CHUNKED, body=b"0\r\nX: mar\0ked\r\n\r\n"),
}  # fmt: skip
LARGE = ("chunk b'ffff", "chunk b'1000")
ENDED = {f"{name}, ended": data + b"\r\n\r\n" for name, data in CHUNKS.items()}
ALL = LENGTHS | FRAMINGS | CHUNKS | ENDED
# Seconds without a byte, then nothing more is expected. What has to be refused ends with the connection, however busy
# the machine is.
WAIT = dict.fromkeys(ALL, 0.2) | dict.fromkeys(ENDED, 5.0)


class Said(NamedTuple):
    """What each service said to one framing, and whether the callers that followed got their own answers."""

    direct: bytes
    proxied: bytes
    others_served: bool


@pytest.fixture(scope="module")
def said(both: Both) -> dict[str, Said]:
    """What was said to each of ALL, by name.

    Each goes through the proxy alone, and callers follow over the one connection that the proxy keeps. Its own
    connection stays open until all have been sent, so that a second answer is seen.
    """
    senders: dict[str, socket.socket] = {}
    served: dict[str, bool] = {}
    with ThreadPoolExecutor(THREADS) as pool, requests.Session() as caller, ExitStack() as stack:
        direct = list(pool.map(lambda name: raw(both.direct, ALL[name], WAIT[name]), ALL))
        for name, data in ALL.items():
            senders[name] = stack.enter_context(socket.create_connection(("127.0.0.1", both.proxied.port), 5))
            senders[name].sendall(data)
            senders[name].settimeout(0.05)
            with suppress(TimeoutError, ConnectionError):  # no answer yet: the proxy waits for more
                senders[name].recv(1, socket.MSG_PEEK)
            served[name] = all(
                caller.get(both.proxied.url + "/healthz", timeout=10).json() == {"status": "alive"}
                and "services" in caller.get(both.proxied.url + DISCOVERY, timeout=10).json()
                for _ in range(2)
            )
        proxied = list(pool.map(lambda name: heard(senders[name], WAIT[name]), ALL))
    return {name: Said(*each, served[name]) for name, *each in zip(ALL, direct, proxied, strict=True)}


@pytest.mark.parametrize("name", ALL)
def test_a34_one_request_has_one_answer_and_the_next_caller_gets_its_own(said: dict[str, Said], name: str) -> None:
    for answer in (said[name].direct, said[name].proxied):
        assert len(answers(answer)) <= 1, answer
        assert not {404, 500} & set(answers(answer)), answer
    assert said[name].others_served


@pytest.mark.parametrize("name", ENDED)
def test_a34_a_fault_in_the_chunks_is_refused_at_once(said: dict[str, Said], name: str) -> None:
    large = name.startswith(LARGE)  # may be waited for
    for answer in (said[name].direct, said[name].proxied):
        assert set(answers(answer)) <= {400, 408 if large else 400, 413}, answer
        if not large and "trailer" not in name:  # the proxy looks at no trailer
            assert answers(answer) == [400]
            assert outcome(answer)


def test_a34_chunks_that_break_off_are_refused(both: Both) -> None:
    for body in (b"5\r\nhe", b"5\r\nhello\r\n", b"5", b"0\r\n", b"0\r\nX: y\r\n"):
        said = raw(both.direct, framed(CHUNKED, body=body), 5, lambda sock: sock.shutdown(socket.SHUT_WR))
        assert answers(said) == [400]
        assert outcome(said)
    assert "unexpected fault" not in both.direct.log.read_text()


@pytest.mark.parametrize(
    "line", [b"marked", b"G@T /marked HTTP/1.1", b"GET /marked HTTP/9.9", b"GET /marked HTTP/1.1\r\nmarked@: x"]
)
def test_a34_what_cannot_be_read_is_neither_repeated_nor_logged(both: Both, line: bytes) -> None:
    for service in (both.direct, both.proxied):
        said = raw(service, line + b"\r\nHost: x\r\n\r\n", 3)
        assert answers(said) in ([400], [404], [505])
        assert outcome(said)
        assert b"Connection: close" in said or service is both.proxied
    assert "marked" not in both.direct.log.read_text() + both.said.read_text()


# -- A35: who is slow


def test_a35_f38_slow_senders_and_idle_connections_leave_the_others_alone(tmp_path: Path) -> None:
    """More of each kind than there are threads, and more in all than files that the service may open."""
    unread = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 500
    with ExitStack() as stack:
        service = stack.enter_context(running(tmp_path, open_files=300, threads=4))
        port = stack.enter_context(proxy(f"127.0.0.1:{service.port}", tmp_path))
        for kind, count in {"idle": 500, "heads": 50, "bodies": 50, "stayers": 50}.items():
            stack.enter_context(slow(port, kind, count))
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.sendall(unread)
        told = [requests.post(f"http://127.0.0.1:{port}{SERVICE}", json=bare_body(), timeout=30) for _ in range(40)]
        assert [answer.status_code for answer in told] == [200] * 40
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("first", [b"", HEAD + b"X-A: ", CALL + b"\r\n{"], ids=["nothing", "head", "body"])
def test_a35_who_stops_sending_is_left(both: Both, first: bytes) -> None:
    assert raw(both.proxied, first, 30) == b""
    with socket.create_connection(("127.0.0.1", both.proxied.port), 30) as sock:
        sock.sendall(first)
        assert sock.recv(1) == b"", "closed, not waited for in vain"


def test_a35_what_is_too_large_is_refused_by_its_head(both: Both) -> None:
    for service in (both.direct, both.proxied):
        said = raw(service, HEAD + b"Content-Length: %d\r\n\r\n" % (LARGEST + 1), 2)
        assert (answers(said), outcome(said)) == ([413], True)
        said = raw(service, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 5)
        assert answers(said)[0] in (400, 431)
        assert outcome(said)
        said = raw(service, b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"y" * 70_000), 5)
        assert answers(said)[0] in (400, 414)
        assert outcome(said)


def test_a35_a_refusal_reaches_the_caller_whose_body_was_not_looked_at(both: Both) -> None:
    for kind, path, told in (("text/plain", SERVICE, 415), ("application/json", "/cds-services/none", 404)):
        for _ in range(20):
            answer = requests.post(both.proxied.url + path, b" " * LARGEST, headers={"Content-Type": kind}, timeout=10)
            assert answer.status_code == told


def test_a35_a_service_that_is_gone_is_told_as_an_outcome(tmp_path: Path) -> None:
    with proxy(f"127.0.0.1:{free_port()}", tmp_path) as port:
        answer = requests.get(f"http://127.0.0.1:{port}/healthz?marked", timeout=10)
        assert answer.status_code == 502
        assert answer.json()["issue"][0]["code"] == "transient"
        assert answer.headers["Content-Type"] == "application/fhir+json"
    assert "marked" not in (tmp_path / "nginx.log").read_text()


# -- what the proxy passes on


def test_who_asks_first_whether_to_send_a_body_is_told_to(both: Both) -> None:
    for service in (both.direct, both.proxied):
        said = b""

        def after_a_word(sock: socket.socket) -> None:
            nonlocal said
            said = sock.recv(1000)
            sock.sendall(BODY)

        rest = raw(service, CALL + b"Expect: 100-continue\r\nConnection: close\r\n\r\n", 5, after_a_word)
        assert said == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert answers(rest) == [200]


def test_requests_sent_without_waiting_are_answered_in_order(both: Both) -> None:
    calls = CALL + b"\r\n" + BODY + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % DISCOVERY.encode()
    for service in (both.direct, both.proxied):
        assert answers(raw(service, calls + last, 10)) == [200, 404, 200]


def test_the_proxy_keeps_its_connection_and_says_who_called(tmp_path: Path) -> None:
    connections, calls = [], []

    class Recorder(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self)

        def do_POST(self) -> None:
            calls.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ManyCallers(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with proxy(f"127.0.0.1:{server.server_address[1]}", tmp_path, worker_processes="1") as port:
            for _ in range(5):
                said = iter([b"in ", b"pieces"])
                headers = {"X-Forwarded-For": "10.9.9.9", "Authorization": "Bearer a"}
                assert requests.post(f"http://127.0.0.1:{port}/x", said, headers=headers, timeout=10).ok
        server.shutdown()
    assert len(connections) == 1
    for headers, body in calls:
        assert body == b"in pieces"
        assert headers["X-Forwarded-For"] == "10.9.9.9, 127.0.0.1"
        assert headers["Authorization"] == "Bearer a"


def test_a_service_on_a_socket_is_reached_by_the_proxy_alone(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/cds.sock"
    with proxy(place, tmp_path) as port, running(tmp_path, port=port, host=place) as service:
        assert requests.post(service.url + SERVICE, json=bare_body(), timeout=10).status_code == 200
        said = raw(service, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert status(said) == 200


def test_the_proxy_takes_what_the_service_takes() -> None:
    assert re.search(r"client_max_body_size (\d+);", CONFIGURATION.read_text())[1] == str(Settings().max_body)  # type: ignore[index]
