"""Reading from the EHR's FHIR server, over the session that is given: the one that `trust` guards.

A read has a deadline that it shares with all other reads of the same request, follows no redirect, stops at a size, and
stays below its base URL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic, perf_counter
from typing import Literal, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from cds_service.fhir.strict_json import NotStrict, check
from cds_service.metrics.instruments import count, observe
from cds_service.metrics.stages import stage

MAX_PAGES = 10
_READS_AT_ONCE = 48
_CHUNK = 64 * 1024
_NOT_PERMITTED = frozenset({401, 403})
_NOT_FOUND = frozenset({404, 410})
_NOT_UNDERSTOOD = frozenset({400, 422, 501})
Reason = Literal["not reachable", "timed out", "not permitted", "not found", "refused", "unreadable", "too large"]
T = TypeVar("T")


class FetchFailed(Exception):
    """A read that gave nothing usable. `reason` is one of seven; neither URL nor answer is kept. `not_understood`: the
    server says that it does not do what was asked."""

    def __init__(self, reason: Reason, not_understood: bool = False) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.not_understood = not_understood


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token that does not show itself."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "(token)"


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    """Bounded, so that a slow EHR cannot take the threads that answer other requests."""
    return ThreadPoolExecutor(max_workers=_READS_AT_ONCE, thread_name_prefix="fhir-read")


class FhirServer:
    """Reads of one request from one FHIR server. Not kept between requests: it holds the caller's token.

    `base_url`: http(s), already found allowed by the caller. `session`: ends an answer at the second number of its
    `timeout`, however slowly it comes. `total_seconds`: for all reads together, counted from
    the first. `traceparent`: header by which the reads are known as part of a call. Raises ValueError if the base URL
    is not one.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        session: requests.Session,
        total_seconds: float = 1.5,
        connect_seconds: float = 0.3,
        max_bytes: int = 8 * 1024 * 1024,
        traceparent: str = "",
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("not a FHIR base URL")
        if parts.username is not None or "\\" in base_url:
            raise ValueError("not a FHIR base URL")
        self.base_url = base_url.rstrip("/")
        self._token = Token(token) if token else None
        self._session = session
        self._seconds = total_seconds
        self._connect_seconds = connect_seconds
        self._max_bytes = max_bytes
        self._traceparent = traceparent
        self._deadline: float | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FhirServer({self.base_url!r})"

    def may_include_medications(self) -> bool:
        """Whether a search for orders may ask for the Medications that they refer to."""
        return True

    def get(self, query: str) -> bytes:
        """The body of `base/query` (or of a URL below the base). Raises FetchFailed."""
        began = perf_counter()
        try:
            body = self._read(query)
        except FetchFailed as failure:
            self.told(failure.reason)
            raise
        finally:
            observe("fhir_read_seconds", perf_counter() - began, self.base_url)
        self.told("read")
        return body

    def told(self, outcome: Reason | Literal["read"]) -> None:
        """Count a read, and one that was not even tried."""
        count("fhir_reads_total", self.base_url, outcome)

    def _read(self, query: str) -> bytes:
        url = self.below_base(query)
        if url is None:
            raise FetchFailed("refused")
        self.seconds_left()
        body = self._get(url)
        if body.lstrip()[:1] != b"{":  # no resource: `null` would be none, which only an empty search may say
            raise FetchFailed("unreadable")
        try:
            check(body)
        except NotStrict as fault:
            raise FetchFailed("unreadable") from fault
        return body

    def _get(self, url: str) -> bytes:
        left = self.seconds_left()
        headers = {"Accept": "application/fhir+json, application/json;q=0.9", "Accept-Encoding": "identity"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.value}"
        if self._traceparent:
            headers["traceparent"] = self._traceparent
        try:
            with self._session.get(
                url,
                headers=headers,
                timeout=(min(self._connect_seconds, left), left),
                allow_redirects=False,
                stream=True,
            ) as response:
                _check(response)
                return self._body(response)
        except requests.exceptions.ConnectTimeout as error:
            raise FetchFailed("not reachable") from error
        except (requests.exceptions.Timeout, ReadTimeoutError, TimeoutError) as error:
            raise FetchFailed("timed out") from error
        except (requests.exceptions.ConnectionError, OSError) as error:
            raise FetchFailed("not reachable") from error
        except (requests.exceptions.RequestException, HTTPError, ValueError) as error:
            raise FetchFailed("unreadable") from error

    def below_base(self, query: str) -> str | None:
        """The absolute URL, or None where it would leave the base (other origin, path above, credentials in it)."""
        if any(c in query for c in "\\\r\n\t") or not query.isprintable():
            return None
        try:
            url = urljoin(self.base_url + "/", query)
            parts, base = urlsplit(url), urlsplit(self.base_url)
            same = (parts.scheme, parts.hostname, parts.port) == (base.scheme, base.hostname, base.port)
        except ValueError:
            return None
        if not same or parts.username is not None or parts.fragment:
            return None
        path = parts.path.rstrip("/")
        if path != base.path.rstrip("/") and not path.startswith(base.path.rstrip("/") + "/"):
            return None
        steps = path.lower().replace("%2e", ".").replace("%2f", "/").split("/")
        return None if ".." in steps or "." in steps else url

    def seconds_left(self) -> float:
        """Of the time for all reads. Raises FetchFailed when there is none."""
        with self._lock:
            if self._deadline is None:
                self._deadline = monotonic() + self._seconds
        left = self._deadline - monotonic()
        if left <= 0:
            raise FetchFailed("timed out")
        return left

    @stage("fetch")
    def at_once(self, work: Sequence[Callable[[], T]]) -> list[T | FetchFailed]:
        """The results of independent reads, made at the same time, in order. Waits no longer than the deadline."""
        futures = [_pool().submit(each) for each in work]
        answers: list[T | FetchFailed] = []
        for future in futures:
            try:
                answers.append(future.result(timeout=self.seconds_left()))
            except FetchFailed as failure:
                answers.append(failure)
            except FutureTimeout:
                answers.append(FetchFailed("timed out"))
            future.cancel()
        return answers

    def _body(self, response: requests.Response) -> bytes:
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise FetchFailed("too large")
        chunks: list[bytes] = []
        size = 0
        while True:
            # One receive at a time: a server that drips is stopped at the deadline, not at its last byte.
            chunk = response.raw.read1(_CHUNK)
            if not chunk:
                return b"".join(chunks)
            size += len(chunk)
            if size > self._max_bytes:
                raise FetchFailed("too large")
            self.seconds_left()
            chunks.append(chunk)


def _check(response: requests.Response) -> None:
    if response.status_code in _NOT_PERMITTED:
        raise FetchFailed("not permitted")
    if response.status_code in _NOT_FOUND:
        raise FetchFailed("not found")
    if response.status_code != 200:
        raise FetchFailed("refused", response.status_code in _NOT_UNDERSTOOD)
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if not (kind in ("application/json", "text/json") or kind.endswith("+json")):
        raise FetchFailed("unreadable")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchFailed("unreadable")
