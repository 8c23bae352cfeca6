"""Which network addresses may be connected to. What a name stands for is looked up once, judged, and used."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network
Found = tuple[int, Any]
"""Address family and socket address, as connect takes it."""

LOCAL: Final[tuple[Network, ...]] = tuple(
    map(ip_network, ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)
_NAT64: Final = ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """A name that stands for an address which may not be connected to."""


def allowed(address: IPv4Address | IPv6Address, networks: Collection[Network]) -> bool:
    """Public addresses are allowed, others only within `networks`. An IPv4 address inside IPv6 is judged as itself."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return allowed(inner, networks)
    if any(address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast


def resolve(host: str, port: int, networks: Collection[Network]) -> list[Found]:
    """Where to connect, in the resolver's order. Raises AddressRefused if any of the addresses is not allowed, and
    socket.gaierror if there is none."""
    found: list[Found] = []
    for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        text = str(place[0]).partition("%")[0]
        if not allowed(ip_address(text), networks):
            raise AddressRefused("an address that may not be connected to")
        found.append((family, place))
    return found


_FORBIDDEN: Final = '\\ @?#%*<>"{}|^`'


def base_fault(url: str, *, https_only: bool = True) -> str:
    """What is wrong with an http(s) base URL, "" if nothing. It must be written the one way it is compared."""
    if not url.isascii() or not url.isprintable() or any(mark in url for mark in _FORBIDDEN):
        return "holds a character that a base URL cannot have (credentials, query, escapes and spaces are refused)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an http(s) URL"
    if parts.scheme == "http" and https_only:
        return "must be https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    named = host if port is None else f"{host}:{port}"
    if port in (80, 443) and (parts.scheme, port) in (("http", 80), ("https", 443)):
        return f"names the default port: leave out :{port}"
    if f"{parts.scheme}://{named}{parts.path}" != url:
        return f"must be written {parts.scheme}://{named}{parts.path}"
    steps = parts.path.split("/")
    if "." in steps or ".." in steps or "" in steps[1:-1] or url.endswith("/"):
        return "has a path with empty steps, dots or a slash at its end"
    return ""


def origin_fault(origin: str, *, https_only: bool = True) -> str:
    """What is wrong with a browser origin such as https://ehr.example:8443, "" if nothing."""
    fault = base_fault(origin, https_only=https_only)
    return fault or ("must have no path" if urlsplit(origin).path else "")
