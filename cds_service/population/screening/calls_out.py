"""Calls of an export: to a FHIR server that an administrator named, and to the addresses that this server names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from cds_service.trust.addresses import LOCAL, Network
from cds_service.trust.connections import guarded_pools

CONNECT: Final = 15.0
IDLE: Final = 120.0  # seconds without a byte
MOST_REDIRECTS: Final = 3
LONGEST_PAUSE: Final = 3600.0
_JUMPS: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({429, 502, 503, 504})
_PLAIN_PORTS: Final = {"http": 80, "https": 443}
FAULTS: Final = (requests.RequestException, HTTPError, OSError)
"""What a call raises where the network or the server fails in the middle."""
GiveToken = Callable[[str | None], str | None]
"""A token to send, None for none. It is given one that was refused, which it then never gives again."""


class ExportFailed(Exception):
    """An export that cannot go on, with what to change. The text holds nothing of a patient."""


class Stopped(Exception):
    """Somebody stopped the export."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited where a server says nothing of it, in seconds: the first time, and at most; and how often a
    call is made again before the export gives up."""

    first: float = 2.0
    most: float = 300.0
    tries: int = 8


class _Pinned(HTTPAdapter):
    """Connects to addresses that were judged, follows nothing, uses no proxy, checks certificates."""

    def __init__(self, networks: Collection[Network], ca_file: Path | None) -> None:
        self._networks = tuple(networks)
        self._verify: bool | str = str(ca_file) if ca_file else True
        super().__init__(pool_connections=8, pool_maxsize=16, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = guarded_pools(self._networks, whole=False)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        response = super().send(
            request, stream=True, timeout=(CONNECT, IDLE), verify=self._verify, cert=None, proxies=None
        )
        # With it, requests would read the whole body of a redirect that it is told not to follow.
        if (location := response.headers.pop("Location", None)) is not None:
            response.headers["X-Redirects-To"] = location
        return response


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL. Raises ValueError where it is none."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    return scheme, host, parts.port or _PLAIN_PORTS.get(scheme, 0)


def is_loopback(host: str) -> bool:
    """Whether a host's name says this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class CallsOut:
    """Sends the calls of one export. The base URL and hosts in `allowed` may be at private addresses, as those of a
    hospital are; what the server names beside may be at public ones only. https, but for this machine itself.
    """

    base_url: str
    now: Callable[[], float]
    allowed: frozenset[str] = frozenset()
    ca_file: Path | None = None
    patience: Patience = Patience()
    stop: Event = field(default_factory=Event)
    _named: requests.Session = field(init=False)
    _typed: requests.Session = field(init=False)

    def __post_init__(self) -> None:
        self._typed, self._named = self._session(LOCAL), self._session(())

    def _session(self, networks: Collection[Network]) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Pinned(networks, self.ca_file))
        return session

    def typed(self, url: str) -> bool:
        """Whether a person named this host: it is that of the base URL, or one of `allowed`."""
        scheme, host, port = origin(url)
        return (scheme, host, port) == origin(self.base_url) or host in self.allowed or f"{host}:{port}" in self.allowed

    def check(self, url: str, what: str) -> None:
        """Raises ExportFailed for an address that is no https URL; http is for this machine alone."""
        try:
            scheme, host, _ = origin(url)
            strange = not url.isascii() or not url.isprintable() or " " in url or "@" in urlsplit(url).netloc
        except ValueError:
            scheme, host, strange = "", "", True
        if strange or scheme not in ("http", "https") or not host:
            raise ExportFailed(f"{what} is not an http(s) URL that can be used.")
        if scheme == "http" and not is_loopback(host):
            raise ExportFailed(f"{what} is at {host} without TLS. Only https is used, but for this machine itself.")

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        what: str,
        token: str | None = None,
        data: Mapping[str, str] | None = None,
        follow: bool = False,
    ) -> requests.Response:
        """The answer, with its body unread. `what` names the address in messages. With `follow`, redirects are
        followed three times; the token goes no further than to the host that it was meant for.

        Raises ExportFailed for an address that is refused, and what FAULTS lists.
        """
        meant = origin(url) if token else None
        for _ in range(MOST_REDIRECTS + 1):
            self.check(url, what)
            sent = dict(headers)
            if token and origin(url) == meant:
                sent["Authorization"] = f"Bearer {token}"
            session = self._typed if self.typed(url) else self._named
            try:
                response = session.request(method, url, headers=sent, data=data, allow_redirects=False, stream=True)
            except requests.exceptions.ConnectionError as error:
                if "may not be connected to" in str(error):
                    host = origin(url)[1]
                    raise ExportFailed(
                        f"{what} is at {host}, which is not a public address. If that is right: --allow {host}"
                    ) from None
                raise
            if response.status_code not in _JUMPS:
                return response
            response.close()
            if not follow:
                raise ExportFailed(f"{what} redirects to another address. Name the address that it redirects to.")
            url = urljoin(url, response.headers.get("X-Redirects-To", ""))
        raise ExportFailed(f"{what} redirects more than {MOST_REDIRECTS} times.")

    def patiently(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        what: str,
        token: GiveToken = lambda _: None,
        data: Callable[[], Mapping[str, str]] | None = None,
        once: bool = False,
        follow: bool = False,
    ) -> requests.Response:
        """As `send`, and again where the server or the network says that it may be better later: after Retry-After, or
        in longer and longer steps. After a 401 once with another token. `once`: not again after a broken connection,
        since the server may have heard the call.

        Raises ExportFailed where it is no better after all tries, and Stopped.
        """
        held, renewed, tries = token(None), False, 0
        while True:
            try:
                response = self.send(
                    method, url, headers, what=what, token=held, data=data() if data else None, follow=follow
                )
            except FAULTS as error:
                if once or tries >= self.patience.tries:
                    raise ExportFailed(f"{what}: {network_words(error)}.") from error
                seconds = None
            else:
                if response.status_code == 401 and held and not renewed:
                    response.close()
                    held, renewed = token(held), True
                    continue
                if response.status_code not in _LATER or tries >= self.patience.tries:
                    return response
                seconds = retry_after(response, self.now)
                response.close()
            self.pause(seconds if seconds is not None else self.backoff(tries))
            tries += 1

    def backoff(self, tries: int) -> float:
        """Seconds before the next try, doubled from the first time up to the most."""
        return min(self.patience.first * 2.0 ** min(tries, 30), self.patience.most)

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as somebody stops the export."""
        if self.stop.wait(seconds):
            raise Stopped

    def close(self) -> None:
        self._typed.close()
        self._named.close()


def body_of(response: requests.Response, most: int) -> bytes:
    """The body of an answer, decoded, and the answer closed. Raises ValueError where it is larger, and FAULTS."""
    with response:
        body: bytes = response.raw.read(most + 1, decode_content=True)
        if len(body) > most:
            raise ValueError(f"larger than {most // 1024} KiB")
        return body


def retry_after(response: requests.Response, now: Callable[[], float]) -> float | None:
    """The seconds that a server asks for, given as seconds or as a date; at most an hour. None where it says none."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdigit() and len(said) < 9:
        return min(float(said), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError):
        return None
    return min(max(until - now(), 0.0), LONGEST_PAUSE)


def network_words(error: BaseException) -> str:
    """What of the network failed, in a few words and without an address."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, socket.gaierror) or "NameResolution" in type(seen).__name__:
            return "its name is not known"
        if isinstance(seen, requests.exceptions.SSLError):
            return "its certificate is not good, or it does not speak TLS"
        if isinstance(seen, TimeoutError | requests.exceptions.Timeout):
            return "no answer in time"
        seen = next((part for part in seen.args if isinstance(part, BaseException)), None) or seen.__cause__
    return f"not reachable ({type(error).__name__})"
