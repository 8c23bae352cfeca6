"""Which network addresses may be connected to. What a name stands for is looked up once, judged, and used."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

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
    socket.gaierror if there is none.
    """
    found: list[Found] = []
    for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        text = str(place[0]).partition("%")[0]
        if not allowed(ip_address(text), networks):
            raise AddressRefused("an address that may not be connected to")
        found.append((family, place))
    return found
