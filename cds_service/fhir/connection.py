"""The one place where a connection to a FHIR server is made, kept and, if it must be, cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import lru_cache
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

POOL_SIZE = 48
_thread = threading.local()


class Read:
    """One read in progress. `cut` ends it from another thread: a server that drips header bytes never times out."""

    def __init__(self) -> None:
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Read:
        _thread.read = self
        return self

    def __exit__(self, *_: object) -> None:
        _thread.read = None
        self._connection = None

    def uses(self, connection: HTTPConnection) -> None:
        """This connection serves the read."""
        self._connection = connection

    def cut(self) -> None:
        """Shut the socket down; whoever reads from it sees its end."""
        connection = self._connection
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _note(connection: HTTPConnection) -> None:
    read: Read | None = getattr(_thread, "read", None)
    if read is not None:
        read.uses(connection)


class _Http(HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().request(*args, **kwargs)


class _Https(HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().request(*args, **kwargs)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class FhirAdapter(HTTPAdapter):
    """Kept connections, no retries; every connection can be cut. Base class of what hardens it further."""

    def __init__(self) -> None:
        super().__init__(pool_connections=16, pool_maxsize=POOL_SIZE, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As requests does, with our connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


@lru_cache(maxsize=1)
def shared_session() -> requests.Session:
    """The session of this process. Proxies and .netrc of the environment are not used."""
    session = requests.Session()
    session.trust_env = False
    adapter = FhirAdapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
