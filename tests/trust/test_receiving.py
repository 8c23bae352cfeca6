"""Who sends slowly, or nothing at all, holds no thread and little memory (A35, F38): raw sockets against `serve`."""

from __future__ import annotations

import json
import re
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.receiving import LARGEST_HEAD, Arrival, Refused
from tests.benchmarks.slow_senders import slow
from tests.trust.support import DISCOVERY, HEAD, Service, alive, bare_body, raw, running, status, wait_until

BODY = json.dumps(bare_body()).encode()
CALL = HEAD + b"Content-Length: %d\r\n" % len(BODY)
LIMIT = 2.0
LARGEST = 300_000


def readable(sockets: list[socket.socket], seconds: float = 0) -> list[socket.socket]:
    """Those that something came in for. Not by select(2): the tests' own process may hold more files than it takes."""
    poller = select.poll()
    for each in sockets:
        poller.register(each, select.POLLIN)
    ready = {descriptor for descriptor, _ in poller.poll(seconds * 1000)}
    return [each for each in sockets if each.fileno() in ready]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with one worker of few threads and little time to send in."""
    folder = tmp_path_factory.mktemp("service")
    with running(folder, receive_seconds=LIMIT, threads=4, max_body=LARGEST) as one:
        yield one


def call_seconds(service: Service) -> float:
    """How long one call takes over a connection of its own."""
    start = time.monotonic()
    assert status(raw(service, CALL + b"Connection: close\r\n\r\n" + BODY, 10)) == 200
    return time.monotonic() - start


def answers(said: bytes) -> list[int]:
    """The status of each answer in what was said."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", said)]


@contextmanager
def connections(service: Service, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open ones that sent these bytes."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10)) for _ in range(count)]
        for each in made:
            each.sendall(first)
        yield made


def dripping(sock: socket.socket) -> None:
    """One byte in a tenth of a second, until the other side says something."""
    while not readable([sock], 0.1):
        sock.sendall(b"x")


def dripping_chunks(sock: socket.socket) -> None:
    while not readable([sock], 0.1):
        sock.sendall(b"1\r\nx\r\n")


# -- what others notice


def test_a35_slow_senders_and_idle_connections_leave_the_others_alone(tmp_path: Path) -> None:
    idle = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 400)
    with running(tmp_path, threads=8) as service:  # the usual time of ten seconds: it does not end during the test
        alone = [call_seconds(service) for _ in range(20)]
        with ExitStack() as stack:
            for kind, count in {"idle": idle, "heads": 50, "bodies": 50, "stayers": 50}.items():
                stack.enter_context(slow(service.port, kind, count))
            beside = [call_seconds(service) for _ in range(20)]
        # Each thread that waited for one of these, as threads once did, would make the calls wait for seconds.
        assert median(beside) < 5 * median(alone) + 0.2
        assert max(beside) < 3
    assert "Traceback" not in service.log.read_text()


def test_a35_more_idle_connections_than_files_may_be_open_make_room_for_calls(tmp_path: Path) -> None:
    with (
        running(tmp_path, open_files=300) as service,
        connections(service, 400),
        connections(service, 200, b"GET / HT"),
    ):
        assert max(call_seconds(service) for _ in range(10)) < 3
    assert "Traceback" not in service.log.read_text()


# -- what they get


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", dripping), (HEAD + b"X-A: ", dripping), (HEAD + b"Content-Length: 5000\r\n\r\n", dripping),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", dripping_chunks),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", dripping),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", dripping),
    ],
    ids=["request line", "head", "body", "body in chunks", "line of a chunk", "trailer"],
)  # fmt: skip
def test_a35_what_comes_a_byte_at_a_time_is_refused_when_its_time_is_over(
    service: Service, first: bytes, drip: Callable[[socket.socket], None]
) -> None:
    start = time.monotonic()
    said = raw(service, first, 20, drip)
    assert LIMIT - 0.1 < time.monotonic() - start < 2 * LIMIT + 4
    assert status(said) in ((408, 400) if b"5;" in first else (408,))
    assert json.loads(said.partition(b"\r\n\r\n")[2])["resourceType"] == "OperationOutcome" or status(said) == 400


def test_a35_who_says_nothing_is_told_nothing(service: Service) -> None:
    start = time.monotonic()
    assert raw(service, b"", 20) == b""
    assert LIMIT - 0.1 < time.monotonic() - start < LIMIT + 4


def test_a35_a_body_has_time_of_its_own_after_its_head(service: Service) -> None:
    def slowly(sock: socket.socket) -> None:
        time.sleep(LIMIT * 0.7)
        sock.sendall(b"\r\n" + BODY[:10])
        time.sleep(LIMIT * 0.7)
        sock.sendall(BODY[10:])

    assert status(raw(service, CALL + b"Connection: close\r\n", 20, slowly)) == 200


def test_a35_bodies_that_are_not_finished_hold_bounded_memory(service: Service) -> None:
    started = HEAD + b"Content-Length: %d\r\n\r\n" % LARGEST + b"x" * (LARGEST - 1000)
    with connections(service, 12, started) as made:  # two calls at a time: room for two largest bodies
        wait_until(lambda: len(readable(made)) >= 8, LIMIT, "all are kept")
        told = [each.recv(100) for each in readable(made)]
        assert {status(said) for said in told} == {503}, "they gave way before their time was over"
        assert call_seconds(service) < 3
    assert alive(service)


def test_a35_a_head_that_is_too_large_is_refused_at_once(service: Service) -> None:
    assert status(raw(service, b"GET / HTTP/1.1\r\nX: " + b"y" * LARGEST_HEAD)) == 431
    assert status(raw(service, b"z" * (LARGEST_HEAD + 100))) == 431


def test_a35_who_does_not_read_the_answers_is_left(tmp_path: Path) -> None:
    many = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % DISCOVERY.encode() * 5000

    def stuff(sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            while many:
                sock.send(many)
        except OSError:  # it takes no more, or has closed
            return

    with ExitStack() as stack:
        service = stack.enter_context(running(tmp_path, receive_seconds=LIMIT, threads=4, max_body=LARGEST))
        for _ in range(8):  # twice as many as there are threads
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", service.port))
            stuff(sock)
        wait_until(lambda: call_seconds(service) < 1, 8 * LIMIT, "its threads never came back")


# -- what is not slow is as before


def test_who_asks_first_whether_to_send_a_body_is_told_to(service: Service) -> None:
    said = b""

    def after_a_word(sock: socket.socket) -> None:
        nonlocal said
        said = sock.recv(1000)
        sock.sendall(BODY)

    rest = raw(service, CALL + b"Expect: 100-continue\r\nConnection: close\r\n\r\n", 5, after_a_word)
    assert said == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answers(rest) == [200]


@pytest.mark.parametrize("pause", [0, 0.1], ids=["at once", "cut in the middle"])
def test_requests_sent_without_waiting_are_answered_in_order(service: Service, pause: float) -> None:
    calls = CALL + b"\r\n" + BODY + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % DISCOVERY.encode()

    def rest(sock: socket.socket) -> None:
        time.sleep(pause)
        sock.sendall((calls + last)[-60:])

    assert answers(raw(service, (calls + last)[:-60], 10, rest)) == [200, 404, 200]


def test_f29_a_request_that_is_arriving_when_the_service_stops_is_answered(tmp_path: Path) -> None:
    with running(tmp_path) as service:

        def stop_between(sock: socket.socket) -> None:
            wait_until(lambda: not readable([sock]), 1, "answered too early")
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            sock.sendall(BODY[20:])

        with connections(service, 1):  # and one that is idle does not keep it from stopping
            assert status(raw(service, CALL + b"\r\n" + BODY[:20], 10, stop_between)) == 200
            assert service.process.wait(10) == 0


# -- the end of a request, without a socket

LENGTHS = st.integers(0, 40).map(lambda n: (b"Content-Length: %d\r\n\r\n" % n, b"b" * n))


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    extension = draw(st.sampled_from([b"", b";a=b", b" ; a"]))
    trailers = draw(st.sampled_from([b"", b"X-A: b\r\n", b"X-A: b\r\nX-B: c\r\n"]))
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(each), extension, each) for each in chunks)
    return b"Transfer-Encoding: chunked\r\n\r\n", body + b"0\r\n" + trailers + b"\r\n"


@settings(max_examples=300, deadline=None, database=None)
@given(
    framing=st.one_of(LENGTHS, chunked(), st.just((b"\r\n", b""))),
    after=st.sampled_from([b"", b"GET /next", b"\r\n\r\n"]),
    steps=st.lists(st.integers(1, 30), min_size=1),
)
def test_the_end_of_a_request_is_found_wherever_it_is_cut(
    framing: tuple[bytes, bytes], after: bytes, steps: list[int]
) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + b"".join(framing)
    arrival, at = Arrival(1000), 0
    while at < len(request + after):
        step = steps[at % len(steps)]
        arrival.received += (request + after)[at : at + step]
        at += step
        end = arrival.end()
        assert end == (len(request) if at >= len(request) else None)
        if end is not None:
            assert b"".join(arrival.pieces(end)) == request
            return


@pytest.mark.parametrize(
    ("data", "status_"),
    [
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nx", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * LARGEST_HEAD, 431),
        (b"x" * (LARGEST_HEAD + 1), 431), (b"x" * (LARGEST_HEAD + 1) + b"\r\n\r\n", 431),
    ],
    ids=["chunk", "trailer", "no head", "head"],
)  # fmt: skip
def test_a28_more_than_is_read_is_known_before_it_is_there(data: bytes, status_: int) -> None:
    arrival = Arrival(1000, bytearray(data))
    with pytest.raises(Refused) as refused:
        arrival.end()
    assert refused.value.args == (status_,)


def test_a28_a_body_that_says_it_is_too_large_is_not_waited_for() -> None:
    arrival = Arrival(1000, bytearray(b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\nx"))
    assert arrival.end() == len(arrival.received) - 1
    assert not arrival.whole
