"""Calls out: one adapter for each server that may be read, with all bounds in it, on one session of `requests`."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import requests
import structlog
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import HTTPError

from cds_service.metrics.instruments import level
from cds_service.trust.addresses import Network
from cds_service.trust.breaker import Breaker, RetryBudget
from cds_service.trust.connections import guarded_pools
from cds_service.trust.keys import LONGEST_READ, MAX_BYTES, KeysNotRead

READS_AT_ONCE: Final = 48
_ASK_AGAIN: Final = frozenset({502, 503})
_FAILURES: Final = frozenset({500, 502, 503, 504})
_JITTER: Final = (0.02, 0.08)
log = structlog.get_logger("magnesium_cds.trust")


class NotAsked(requests.exceptions.ConnectionError):
    """The server was not asked: it is not registered, or out of order, or has too many reads of ours open."""


@dataclass(frozen=True, slots=True)
class Server:
    """One base URL that may be read. `networks`: where it may be beside the public Internet."""

    base_url: str
    networks: tuple[Network, ...] = ()
    ca_file: Path | None = None


@dataclass(slots=True)
class _Result:
    """What a read says of the server: good, bad, or (a fault of ours) nothing."""

    good: bool | None = None


class GuardedAdapter(HTTPAdapter):
    """Everything for one server: checked addresses, circuit breaker, one retry, and a bound on open reads.

    It never follows a redirect of its own accord, never uses a proxy and always checks certificates.
    """

    def __init__(self, server: Server, clock: Callable[[], float] = monotonic) -> None:
        self.server = server
        self.breaker = Breaker(clock)
        self._budget = RetryBudget()
        self._open = threading.BoundedSemaphore(READS_AT_ONCE)
        super().__init__(pool_connections=1, pool_maxsize=READS_AT_ONCE, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = guarded_pools(self.server.networks)

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, stream: bool = True, timeout: Any = None, **_: Any
    ) -> requests.Response:
        """As HTTPAdapter; the second number of `timeout` is the time for the whole answer with its body.

        What the session says about certificates and proxies is not listened to.
        """
        named, base = urlsplit(request.url or ""), urlsplit(self.server.base_url)
        if (named.scheme, named.netloc) != (base.scheme, base.netloc):
            raise NotAsked("another server", request=request)
        with ExitStack() as leaving:
            result = leaving.enter_context(self._place(request))
            try:
                response = self._ask(request, stream, timeout)
            except (requests.RequestException, OSError):
                result.good = False
                raise
            left = leaving.pop_all()
        # With it, requests would read the whole body of a redirect that it is told not to follow.
        response.headers.pop("Location", None)
        close, read = response.close, response.raw.read1
        ended = False

        def reading(amount: int | None = None) -> bytes:
            nonlocal ended
            part: bytes = read(amount)
            ended = ended or not part
            return part

        def closed() -> None:
            # An answer that was left before its end was cut, came too slowly or was too large.
            result.good = ended if response.status_code == 200 else response.status_code not in _FAILURES
            with left:
                close()

        response.raw.read1 = reading  # type: ignore[method-assign]
        response.close = closed  # type: ignore[method-assign]
        return response

    @contextmanager
    def _place(self, request: requests.PreparedRequest) -> Iterator[_Result]:
        """One of the reads at a time, told to the breaker when it is over. Raises NotAsked."""
        entered = self.breaker.enter()
        if entered is None:
            raise NotAsked("the server was out of order a moment ago", request=request)
        if not self._open.acquire(blocking=False):
            raise NotAsked("too many reads are open", request=request)
        result = _Result()
        try:
            yield result
        finally:
            self._open.release()
            if result.good is not None:
                before = self.breaker.open
                self.breaker.leave(entered, good=result.good)
                if self.breaker.open != before:
                    level("fhir_breaker_open", not before, self.server.base_url)
            if result.good is False and self.breaker.open:
                log.warning("server not asked for a while", server=self.server.base_url)

    def _ask(self, request: requests.PreparedRequest, stream: bool, timeout: Any) -> requests.Response:
        connect, total = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        until = monotonic() + total
        self._budget.earn()
        verify = str(self.server.ca_file) if self.server.ca_file else True
        once = partial(super().send, request, stream=stream, verify=verify, cert=None, proxies=None)
        wait = random.uniform(*_JITTER)  # noqa: S311 - spreads load, guards nothing
        try:
            response = once(timeout=(connect, total))
        except requests.exceptions.ConnectionError as error:
            if not _reset(error) or not self._again(request, until, wait):
                raise
        else:
            if response.status_code not in _ASK_AGAIN:
                return response
            wait = max(wait, _seconds(response.headers.get("Retry-After", "")))
            if not self._again(request, until, wait):
                return response
            response.close()
        sleep(wait)
        left = until - monotonic()
        return once(timeout=(min(connect, left), left))

    def _again(self, request: requests.PreparedRequest, until: float, wait: float) -> bool:
        """Only a read, only with half of the time left after the wait, only within the budget."""
        return request.method == "GET" and wait < (until - monotonic()) / 2 and self._budget.spend()


def _reset(error: BaseException) -> bool:
    """Whether an established connection broke before there was an answer: the server may not have seen the read."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionResetError | BrokenPipeError):  # http.client's RemoteDisconnected is one
            return True
        inner = next((part for part in seen.args if isinstance(part, BaseException)), None)
        seen = inner or seen.__cause__
    return False


def _seconds(retry_after: str) -> float:
    """The seconds of a Retry-After; a date counts as far away."""
    if not retry_after:
        return 0.0
    return float(retry_after) if retry_after.isdigit() and len(retry_after) < 6 else 86_400.0


class _NoServer(BaseAdapter):
    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        raise NotAsked("not registered", request=request)

    def close(self) -> None:
        """Nothing is open."""


def guarded_session(servers: Collection[Server], clock: Callable[[], float] = monotonic) -> requests.Session:
    """A session that reaches these servers and no other. It keeps no cookie and reads nothing of the environment."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _NoServer())
    for server in servers:
        session.mount(server.base_url, GuardedAdapter(server, clock))
    return session


class CallSlots:
    """How many calls may wait for servers at the same time, so that a slow one never takes every thread."""

    def __init__(self, each: int, together: int) -> None:
        self._each = each
        self._together = threading.BoundedSemaphore(together)
        self._by_server: dict[str, threading.BoundedSemaphore] = {}
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, server: str) -> Iterator[bool]:
        """Whether the call may ask this server now."""
        with self._lock:
            own = self._by_server.setdefault(server, threading.BoundedSemaphore(self._each))
        with ExitStack() as leaving:
            free = True
            for places in (own, self._together):
                free = free and places.acquire(blocking=False)
                if free:
                    leaving.callback(places.release)
            yield free


class KeyReader:
    """Reads a key set from its address: two seconds in all, 256 KiB, no redirect. In a thread of its own, since a name
    may take longer to be looked up than that.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="key-reader")

    def __call__(self) -> bytes:
        """The bytes of the key set. Raises KeysNotRead."""
        future = self._threads.submit(self._read)
        try:
            return future.result(LONGEST_READ)
        except FutureTimeout as error:
            future.cancel()
            raise KeysNotRead("no answer in time") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise KeysNotRead(f"not reachable ({type(error).__name__})") from error

    def _read(self) -> bytes:
        until = monotonic() + LONGEST_READ
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        # A session for one reading: minutes lie between two, and what broke in one is no sign for the next.
        with (
            guarded_session([self._server]) as session,
            session.get(
                self._server.base_url,
                headers=headers,
                timeout=(1.0, LONGEST_READ),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            if response.status_code != 200:
                raise KeysNotRead(f"status {response.status_code}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise KeysNotRead("compressed")
            body = b""
            while chunk := response.raw.read1(65_536):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise KeysNotRead(f"larger than {MAX_BYTES // 1024} KiB")
                if monotonic() > until:
                    raise KeysNotRead("no answer in time")
            return body


_SMART: Final = re.compile(r"(?:patient|user|system)/(\*|[a-z]{2,64})\.(read|write|\*|c?r?u?d?s?)", re.ASCII)
# A word and the brackets behind it: Epic's names of APIs hold blanks. What is cut off inside a bracket has no end.
_WORDS: Final = re.compile(r"[^\s,()]+(?:\s*\([^()]*\)?)*")
_API: Final = re.compile(r"([a-z]{2,64})\.(read|search)((?:\s*\([^()]*\))*)", re.ASCII)
_VERSION: Final = "r4"
LABORATORY: Final = "Labs"
# What Epic's APIs are called that together give all of a type that we ask for, beside those without such a name.
# Names as in public lists of its APIs, read 2026-11-28.
WHOLE: Final = {
    "patient": {"demographics"},
    "encounter": {"patient chart"},
    "condition": {"problems", "encounter diagnosis"},
    "medicationrequest": {"signed medication order"},
    "medication": {"organization med list"},
}


def may_read(scope: str, resource_type: str, way: Literal["read", "search"], laboratory: bool = False) -> bool:
    """Whether `scope` allows every resource of this type to be read by id, or searched; with `laboratory` every
    laboratory result. In the words of SMART (both versions) or as Epic's names of APIs, in any case.

    A scope that is narrowed by a query (`patient/Observation.rs?category=laboratory`) does not count: the server would
    leave out the rest without a word, and what is not there would look like what does not exist.
    """
    kind, letter = resource_type.lower(), way[0]
    enough = {LABORATORY.lower()} if laboratory else WHOLE.get(kind)
    parts: set[str] = set()
    for word in _WORDS.findall(scope.lower()):
        if found := _SMART.fullmatch(word):
            granted = found[2] in ("read", "*") or (found[2] != "write" and letter in found[2])
            if granted and found[1] in ("*", kind, f"{kind}s"):
                return True
        elif (found := _API.fullmatch(word)) and (found[1], found[2]) == (kind, way):
            names = set(re.findall(r"\(\s*([^()]*?)\s*\)", found[3]))
            if not names - {_VERSION}:
                return True
            parts |= names - {_VERSION} if len(names - {_VERSION}) == 1 else set()
    return enough is not None and enough <= parts
