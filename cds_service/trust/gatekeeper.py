"""Who calls? One answer for every call to the CDS endpoints: a known caller, or a refusal that says nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final

from cds_service.settings import Settings
from cds_service.store.tokens import TokenMemory
from cds_service.trust.addresses import LOCAL
from cds_service.trust.clients import Client, networks_of, read_capped
from cds_service.trust.keys import SANDBOX_THUMBPRINT, Key, Keys, KeysNotRead, ReadKeys
from cds_service.trust.limits import Buckets
from cds_service.trust.outbound import KeyReader, Server
from cds_service.trust.profile import Profile
from cds_service.trust.tokens import LEEWAY, Proven, Refused, Unproven, bearer, check_claims, check_signature, unproven

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
FEEDBACK: Final = "/feedback"
CLIENT_RATE: Final = 200.0
ADDRESS_RATE: Final = 400.0


class TooMany(Exception):
    """More calls than this caller may make. `seconds`: after which it may try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was let in. `id` is what cards and feedback are kept under: the client's name, and its tenant if it has any.

    `fhir_servers` are the only base URLs that may be read for it.
    """

    id: str
    fhir_servers: tuple[str, ...]
    profile: Profile = field(default_factory=Profile)

    @property
    def name(self) -> str:
        """The client's name, without its tenant: by this the site values know it."""
        return self.id.partition("/")[0]


class Gatekeeper:
    """Checks every call. In profile dev, as long as no client is declared, every call is let in as `dev` and no token
    is looked at. Once one is, tokens are needed there as in production: an EHR that passes here passes there.
    """

    def __init__(self, settings: Settings, clients: Sequence[Client], memory: TokenMemory | None) -> None:
        self._settings = settings
        self._memory = memory  # none where tokens are only looked at
        self._clients = tuple(clients)
        if self._clients:
            import_module("jwt")  # before the first call, which is the first to check a signature
        self._sources = {client.name: _sources(client, settings.dev) for client in clients}
        self._bases = own_bases(settings)
        client_rate = settings.client_rate or (None if settings.dev else CLIENT_RATE)
        address_rate = settings.address_rate or (None if settings.dev else ADDRESS_RATE)
        # Each process of each replica sees its share of the calls, so each allows its share of the rate.
        processes = settings.workers * settings.replicas
        self._by_client = Buckets(client_rate / processes) if client_rate else None
        self._by_address = Buckets(address_rate / processes) if address_rate else None

    def knock(self, address: str) -> None:
        """Before anything of the call is looked at. Raises TooMany."""
        wait = self._by_address.take(address) if self._by_address else 0
        if wait:
            raise TooMany(wait)

    def admit(self, authorization: Collection[str], path: str) -> Caller:
        """The caller of the endpoint at `path`. Raises Refused, TooMany, and StoreUnavailable where it cannot be
        learned whether the token was used before.
        """
        if self._settings.dev and not self._clients:
            caller = Caller("dev", self._settings.fhir_servers, Profile(preset=self._settings.dev_preset))
        else:
            client, proven = self.prove(bearer(authorization), path)
            now = datetime.fromtimestamp(time.time(), UTC)
            if self._memory is None or not self._memory.use_token(
                proven.issuer, proven.jti, proven.expires_at, now, proven.issued_at
            ):
                raise Refused("replayed")
            name = client.name if proven.tenant is None else f"{client.name}/{proven.tenant}"
            caller = Caller(name, client.fhir_servers, client.profile)
        wait = self._by_client.take(caller.id) if self._by_client else 0
        if wait:
            raise TooMany(wait)
        return caller

    def prove(self, text: str, path: str, ago: float = 0) -> tuple[Client, Proven]:
        """Everything but the replay. `ago`: as it would have been so many seconds ago; 0 for a call. Raises Refused."""
        token = unproven(text)
        client = self.client_of(token.claims)
        audiences = self.audiences(client, path)
        check_claims(token.claims, audiences, time.time() - ago)
        if token.header["alg"] not in client.algorithms:
            raise Refused("algorithm")
        key = self._key(client, token)
        return client, check_signature(token, key, client.algorithms, audiences, LEEWAY + ago)

    def client_of(self, claims: Mapping[str, Any]) -> Client:
        """The client that a token says it is of. Raises Refused."""
        tenant = claims.get("tenant")
        known = [client for client in self._clients if client.issuer == claims.get("iss")]
        if not known:
            raise Refused("issuer")
        for client in known:
            if (tenant in client.tenants) if isinstance(tenant, str) else (tenant is None and not client.tenants):
                return client
        raise Refused("tenant")

    def audiences(self, client: Client, path: str) -> tuple[str, ...]:
        """What `aud` may be in a call to this path."""
        either = client.profile.feedback_audience == "service" and path.endswith(FEEDBACK)
        paths = (path, path.removesuffix(FEEDBACK)) if either else (path,)
        return client.audiences or tuple(base + path for base in self._bases for path in paths)

    def kids(self, client: Client) -> list[str]:
        """The keys of a client that are known now: those of an address only once they were looked for."""
        return sorted({kid for source in self._sources[client.name].values() for kid in source.kids()})

    def _key(self, client: Client, token: Unproven) -> Key:
        sources, kid = self._sources[client.name], token.header["kid"]
        if client.jku and "jku" in token.header:
            named = token.header["jku"]
            if not isinstance(named, str) or named not in sources:
                raise Refused("jku")
            found = sources[named].find(kid)
        else:
            found = next((key for source in sources.values() if (key := source.find(kid))), None)
        if found is None:
            raise Refused("key")
        if found.thumbprint == SANDBOX_THUMBPRINT and not self._settings.dev:
            raise Refused("sandbox_key")
        return found


def own_bases(settings: Settings) -> tuple[str, ...]:
    """The base URLs under which this service is called. Never taken from a request, whose Host anybody can write."""
    if settings.public_url is not None:
        return (settings.public_url,)
    hosts = _LOOPBACK if settings.at_home else (settings.host,)
    return tuple(f"http://{host}:{settings.port}" for host in hosts)


def _sources(client: Client, dev: bool) -> dict[str, Keys]:
    if client.jwks_file is not None:
        path = client.jwks_file

        def read() -> bytes:
            try:
                return read_capped(path)
            except OSError as error:
                raise KeysNotRead(f"the file cannot be read ({type(error).__name__})") from error

        return {"": ReadKeys(client.name, read)}
    if client.jwks:
        return {"": Keys(client.pinned_keys())}
    return {
        url: ReadKeys(client.name, KeyReader(Server(url, networks_of(client, dev), client.ca_file)))
        for url in client.jku
    }


def servers_of(settings: Settings, clients: Iterable[Client]) -> list[Server]:
    """Every FHIR server that may be read. Where two clients share one, its address may be in the ranges of either."""
    found = {url: Server(url, LOCAL) for url in settings.fhir_servers}
    for client in clients:
        for url in client.fhir_servers:
            known = found.get(url, Server(url))
            networks = (*known.networks, *networks_of(client, settings.dev))
            found[url] = Server(url, networks, known.ca_file or client.ca_file)
    return list(found.values())
