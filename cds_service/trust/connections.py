"""Connections that go only where they may and end when their time is over, for urllib3's pools."""

from __future__ import annotations

import heapq
import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count
from time import monotonic
from typing import Any, ClassVar, Final

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError

from cds_service.trust.addresses import Network, resolve

_HANDSHAKE: Final = 0.3
_LEAST: Final = 0.1  # a busy machine may use up a time-out before the network is asked at all


class Watch:
    """Ends what waits on a socket at a moment, from one thread of its own. A time-out of the socket starts anew with
    every byte, so against a server that drips bytes it ends nothing.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: list[tuple[float, int, Watched]] = []
        self._order = count()
        self._thread: threading.Thread | None = None

    def start(self, sock: socket.socket, seconds: float) -> Watched:
        """Shut the socket down after so many seconds, unless what is returned is called before."""
        watched = Watched(os.dup(sock.fileno()), sock.family)
        with self._changed:
            heapq.heappush(self._watched, (monotonic() + seconds, next(self._order), watched))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="socket-watch", daemon=True)
                self._thread.start()
            elif self._watched[0][2] is watched:
                self._changed.notify()
        return watched

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._watched or self._watched[0][0] > monotonic():
                    self._changed.wait(self._watched[0][0] - monotonic() if self._watched else None)
                watched = heapq.heappop(self._watched)[2]
            watched.run_out()


class Watched:
    """A second descriptor of a socket: it works through TLS, and stays ours when the first is closed and reused.

    Called, it ends the watch, as often as one likes, and says whether the time had run out. `ran_out` says so too.
    """

    def __init__(self, descriptor: int, family: int) -> None:
        self._descriptor = descriptor
        self._family = family
        self._lock = threading.Lock()
        self.ran_out = False

    def __call__(self) -> bool:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            return self.ran_out

    def run_out(self) -> None:
        with self._lock:
            if self._descriptor < 0:
                return
            self.ran_out = True
            with socket.socket(self._family, socket.SOCK_STREAM, fileno=self._descriptor) as twin:
                self._descriptor = -1
                try:
                    twin.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it is closed already


watch = Watch()


class _Guarded(HTTPConnection):
    """Connects to what `resolve` allows. The host's name stays what it was, for Host, SNI and the certificate."""

    networks: ClassVar[Collection[Network]] = ()
    whole: ClassVar[bool] = True
    _end: Watched | None = None

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout if isinstance(self.timeout, int | float) else 2.0
        until = monotonic() + seconds
        try:
            places = resolve(self._dns_host, int(self.port or 0), self.networks)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        fault: OSError = OSError("no address")
        for family, place in places:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(_LEAST, until - monotonic()))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(place)
            except OSError as error:
                sock.close()
                fault = error
                continue
            self._connected(sock, until - monotonic())
            return sock
        if isinstance(fault, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from fault
        raise NewConnectionError(self, "no connection") from fault

    def _connected(self, sock: socket.socket, seconds_left: float) -> None:
        """The network has done its part."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        """As urllib3; the time of the answer before is over."""
        if self._end is not None:
            self._end()
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        """The answer: its head and all of its body in the whole time, and not in that time for each byte."""
        if not self.whole or self.sock is None or not isinstance(self.timeout, int | float):
            return super().getresponse()
        end = self._end = watch.start(self.sock, self.timeout)
        with _in_time(end):
            response = super().getresponse()
        if end.ran_out:  # headers that were cut short look like headers that ended
            response.close()
            raise TimeoutError("no answer in time")
        read, close = response.read1, response.close

        def read1(*args: Any, **kwargs: Any) -> bytes:
            with _in_time(end):
                part = read(*args, **kwargs)
            if not part and end():  # and so does a body without a length
                raise TimeoutError("no answer in time")
            return part

        def closed() -> None:
            end()
            close()

        response.read1 = read1  # type: ignore[method-assign]
        response.close = closed  # type: ignore[method-assign]
        return response


@contextmanager
def _in_time(end: Watched) -> Iterator[None]:
    """Ends the watch where anything fails, and raises TimeoutError where that was because the time had run out."""
    try:
        yield
    except (HTTPError, OSError, HTTPException) as error:
        if end():
            raise TimeoutError("no answer in time") from error
        raise


class _GuardedTls(_Guarded, HTTPSConnection):
    _handshake: Watched | None = None

    def _connected(self, sock: socket.socket, seconds_left: float) -> None:
        # The work of the handshake is ours too: it has some time even where this machine was slow to get so far.
        self._handshake = watch.start(sock, max(_HANDSHAKE, seconds_left))

    def connect(self) -> None:
        """The handshake too in a time of its own."""
        try:
            super().connect()
        finally:
            if self._handshake is not None:
                self._handshake()


def guarded_pools(networks: Collection[Network], *, whole: bool = True) -> dict[str, type[HTTPConnectionPool]]:
    """Pool classes by scheme, for connections to public addresses and to those in `networks`. Without `whole` a
    time-out is that of each read, as for files that may take hours."""
    how = {"networks": tuple(networks), "whole": whole}
    plain = type("GuardedConnection", (_Guarded,), how)
    tls = type("GuardedTlsConnection", (_GuardedTls,), how)
    return {
        "http": type("GuardedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("GuardedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
