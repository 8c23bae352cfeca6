"""Requests are received whole before a thread works on them: who sends slowly, or nothing at all, holds no thread.

gunicorn's threads read the request that they answer, so a few slow senders keep them all. Here the loop that watches
kept connections also receives, within bounds of time and bytes; what does not arrive within them is refused. For plain
HTTP/1: TLS is for the proxy before the service.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from time import monotonic
from typing import Any, Final

import structlog
from gunicorn.http import RequestParser
from gunicorn.workers.gthread import TConn, ThreadWorker

from cds_service.hooks.errors import Issue, outcome_response
from cds_service.settings import Settings

LARGEST_HEAD: Final = 64 * 1024
_PIECE: Final = 256 * 1024
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1024 * 1024
_BLANK_LINE: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_IN_CHUNKS: Final = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_CONTINUE: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNK: Final = re.compile(rb"([0-9a-f]{1,16})[^\r\n]{0,256}\r\n", re.IGNORECASE)
_LONGEST_CHUNK_LINE: Final = 16 + 256 + 2
_NO_CONNECTION: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE})
log = structlog.get_logger("magnesium_cds.receiving")


def _refusal(status: int, text: str, **headers: str) -> bytes:
    """A whole answer, as the app would give it, that ends the connection."""
    answer = outcome_response(status, [Issue(text)], {"Connection": "close", **headers})
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in answer.headers)]
    return "\r\n".join([*lines, "", ""]).encode() + answer.get_data()


_REFUSALS: Final = {
    408: _refusal(408, "The request did not arrive in time."),
    413: _refusal(413, "The request body is larger than this service reads."),
    431: _refusal(431, "The head of the request is larger than this service reads."),
    503: _refusal(503, "Too many requests at the same time. Try again later.", **{"Retry-After": "1"}),
}


class Refused(Exception):
    """These bytes are more than is read; the argument is the HTTP status."""


class Arrival:
    """The bytes of one request as they come. Only its end is looked for: what it says is for gunicorn's parser."""

    def __init__(self, largest: int, received: bytearray | None = None) -> None:
        self.received = received or bytearray()
        self.head = 0  # bytes, once it is there
        self.whole = True
        self._largest = largest
        self._in_chunks = False
        self._at = 0  # where to go on looking

    @property
    def wanted(self) -> int:
        """How many bytes to receive at most: little of what may follow the request."""
        if not self.head:
            return LARGEST_HEAD
        return _PIECE if self._in_chunks else min(_PIECE, self._at - len(self.received))

    def end(self) -> int | None:
        """How many bytes the request has, None while it is not there. Raises Refused.

        Of a body that says beforehand that it is too large nothing is waited for: the app refuses it by its head.
        """
        if not self.head and not self._find_head():
            return None
        if self._in_chunks:
            return self._end_of_chunks()
        if self._at - self.head > self._largest:
            self.whole = False
            return self.head
        return self._at if len(self.received) >= self._at else None

    def wants_to_be_asked(self) -> bool:
        """Whether the caller waits for a word before it sends the body. It is asked once: then the head has no such
        wish any more.
        """
        asked = _CONTINUE.search(self.received, 0, self.head)
        if asked is None or b" HTTP/1.1\r\n" not in self.received[: self.head]:
            return False
        del self.received[asked.start() : asked.end()]
        self.head -= asked.end() - asked.start()
        self._at -= asked.end() - asked.start()
        return True

    def pieces(self, end: int) -> Iterator[bytes]:
        """Head and body, as gunicorn's parser reads them."""
        yield bytes(self.received[: self.head])
        for start in range(self.head, end, _PIECE):
            yield bytes(self.received[start : min(end, start + _PIECE)])

    def _find_head(self) -> bool:
        found = self.received.find(_BLANK_LINE, self._at)
        if max(found, len(self.received) if found < 0 else 0) > LARGEST_HEAD:
            raise Refused(431)
        if found < 0:
            self._at = max(0, len(self.received) - len(_BLANK_LINE) + 1)
            return False
        self.head = self._at = found + len(_BLANK_LINE)
        self._in_chunks = _IN_CHUNKS.search(self.received, 0, self.head) is not None
        length = _LENGTH.search(self.received, 0, self.head)
        if length is not None and not self._in_chunks:
            self._at += int(length[1])
        return True

    def _end_of_chunks(self) -> int | None:
        while self._at < len(self.received):
            chunk = _CHUNK.match(self.received, self._at)
            if chunk is None:
                # No line of a chunk: the parser says so.
                started = len(self.received) - self._at
                return len(self.received) if started >= _LONGEST_CHUNK_LINE else None
            size = int(chunk[1], 16)
            if size == 0:
                found = self.received.find(_BLANK_LINE, chunk.end() - 2)
                if found < 0 and len(self.received) - self._at > LARGEST_HEAD:
                    raise Refused(431)
                return None if found < 0 else found + len(_BLANK_LINE)
            self._at = chunk.end() + size + 2
            if self._at - self.head > self._largest:
                raise Refused(413)
        return None


class Connection(TConn):
    """A connection whose requests the worker receives."""

    def __init__(self, worker: ReceivingWorker, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(worker.cfg, sock, client, server)
        self.initialized = True  # gunicorn has nothing to read or to make here
        self.worker = worker
        self.arrival = Arrival(worker.largest)
        self.until = 0.0  # when it has waited too long, arriving or leaving
        self.in_work = 0  # bytes of the request that a thread works on
        self.whole = True  # whether these are all of it
        self.drained = 0

    def close(self, graceful: bool = False) -> None:
        """Now, or after the other side has had a moment to read what it was told."""
        self.worker.release(self)
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class ReceivingWorker(ThreadWorker):
    """gthread, with all reading done by its loop. Where connections or bytes become too many, those give way that are
    not worked on: the oldest connection, the request that holds most bytes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings: Settings = self.app.settings  # type: ignore[attr-defined]
        self.seconds = settings.receive_seconds
        self.largest = settings.max_body
        self.room = settings.max_body * (settings.threads // 2)  # what the calls worked on at one time may have
        self.held = 0
        self.arriving: dict[Connection, None] = {}  # by deadline
        self.leaving: dict[Connection, None] = {}  # by deadline
        self._landing = bytearray(_PIECE)
        self._no_descriptor = False

    # -- what gunicorn's loop calls

    def accept(self, listener: socket.socket) -> None:
        """A new connection. Where there is no descriptor for it, one is freed after this round."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in _NO_CONNECTION:
                raise
            self._no_descriptor = error.errno in (errno.EMFILE, errno.ENFILE)
            return
        self.nr_conns += 1
        self._await_request(Connection(self, sock, client, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """A kept connection goes on."""
        assert isinstance(conn, Connection)
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_request(conn)
        self._receive(conn, client)

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        """As gunicorn, but no longer than until the first deadline."""
        first = min((next(iter(each)).until for each in (self.arriving, self.leaving) if each), default=None)
        if timeout is not None and first is not None:
            timeout = min(timeout, max(0.0, first - monotonic()))
        super().wait_for_and_dispatch_events(timeout)

    def murder_pending(self) -> None:
        """After each round: ends what has waited for too long, and makes room."""
        now = monotonic()
        while self.arriving and (conn := next(iter(self.arriving))).until <= now:
            self._refuse(conn, 408)
        while self.leaving and (conn := next(iter(self.leaving))).until <= now:
            self._drop(conn)
        while self.held > self.room and self.arriving:
            largest = max(self.arriving, key=lambda conn: len(conn.arrival.received))
            if not largest.arrival.received:
                break
            self._refuse(largest, 503)
        while (self._no_descriptor or self.nr_conns >= self.worker_connections) and self._free_one():
            self._no_descriptor = False

    def _cap_keepalive(self, deadline: float) -> None:
        """The worker stops: requests that are arriving have a moment left too."""
        super()._cap_keepalive(deadline)  # type: ignore[misc]
        for conn in self.arriving:
            conn.until = min(conn.until, deadline)

    def finish_request(self, conn: TConn, fs: Future[bool]) -> None:
        """The thread has answered. What came in after the request is the next one."""
        assert isinstance(conn, Connection)
        self.held -= conn.in_work
        conn.in_work = 0
        super().finish_request(conn, fs)
        if conn.arrival.received and self.keepalived_conns and self.keepalived_conns[-1] is conn:
            self.on_client_socket_readable(conn, conn.sock)

    # -- in the thread

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """As gunicorn; an answer that is not taken in time is left."""
        conn.sock.settimeout(self.seconds)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            return False

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Only where the parser saw the request end where we did: else the rest could be taken for another one."""
        parser = conn.parser
        if not keepalive or not conn.whole or not isinstance(parser, RequestParser):
            return False
        ended = parser.finish_body()  # type: ignore[func-returns-value]
        return bool(ended) and not parser.unreader.read()

    # -- in the loop

    def release(self, conn: Connection) -> None:
        """Its bytes are not kept any more."""
        self.held -= len(conn.arrival.received)
        conn.arrival = Arrival(self.largest)

    def linger(self, conn: Connection) -> None:
        """Ends our side. Closed at once, the system would take back an answer that was not read yet."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.close()
            return
        conn.sock.setblocking(False)
        conn.until = monotonic() + _LINGER_SECONDS
        self.nr_conns += 1
        self.leaving[conn] = None
        self.poller.register(conn.sock, EVENT_READ, partial(self._drain, conn))

    def _await_request(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        conn.until = monotonic() + self.seconds
        self.arriving[conn] = None
        self.poller.register(conn.sock, EVENT_READ, partial(self._receive, conn))

    def _receive(self, conn: Connection, sock: socket.socket) -> None:
        try:
            count = sock.recv_into(self._landing, conn.arrival.wanted)
        except BlockingIOError:
            count = -1
        except OSError:
            count = 0
        if count == 0:
            self._drop(conn)
            return
        if count > 0:
            conn.arrival.received += memoryview(self._landing)[:count]
            self.held += count
        had_head = bool(conn.arrival.head)
        try:
            end = conn.arrival.end()
        except Refused as refused:
            self._refuse(conn, refused.args[0])
            return
        if end is not None:
            self._submit(conn, end)
        elif conn.arrival.head and not had_head:
            # The body has time of its own, behind those who came before.
            del self.arriving[conn]
            conn.until = monotonic() + self.seconds
            self.arriving[conn] = None
            before = len(conn.arrival.received)
            if conn.arrival.wants_to_be_asked():
                self.held -= before - len(conn.arrival.received)
                with suppress(OSError):
                    sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _submit(self, conn: Connection, end: int) -> None:
        """The request is there: a thread answers it from these bytes and never waits for the caller."""
        self._forget(conn)
        arrival = conn.arrival
        conn.parser = RequestParser(self.cfg, arrival.pieces(end), conn.client)
        conn.in_work = end
        conn.arrival = Arrival(self.largest, arrival.received[end:])
        conn.whole = arrival.whole
        self.enqueue_req(conn)

    def _refuse(self, conn: Connection, status: int) -> None:
        """Says why, if there is a request to answer, and ends the connection."""
        if not conn.arrival.received:
            self._drop(conn)
            return
        log.warning("request not received", status=status)
        self._forget(conn)
        with suppress(OSError):
            conn.sock.send(_REFUSALS[status])
        self.nr_conns -= 1
        conn.close(graceful=True)

    def _drain(self, conn: Connection, sock: socket.socket) -> None:
        try:
            count = sock.recv_into(self._landing)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        conn.drained += count
        if count == 0 or conn.drained > _LINGER_BYTES:
            self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _forget(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.arriving.pop(conn, None)
        self.leaving.pop(conn, None)

    def _free_one(self) -> bool:
        """Ends the connection that has waited longest, and whether there was one: of those that leave, else of those
        that arrive, else of those that are kept.
        """
        oldest = next(iter(self.leaving), None) or next(iter(self.arriving), None)
        if oldest is not None:
            self._drop(oldest)
            return True
        if self.keepalived_conns:
            self.keepalived_conns[0].timeout = 0
            self.murder_keepalived()
            return True
        return False
