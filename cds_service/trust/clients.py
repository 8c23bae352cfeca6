"""The clients (EHRs) that may call: one TOML file, checked whole before anything is served."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cds_service.settings import Settings, SettingsError
from cds_service.trust.addresses import LOCAL, Network, base_fault, origin_fault
from cds_service.trust.keys import MAX_BYTES, SANDBOX_ISSUER, SANDBOX_THUMBPRINT, BadKey, Key, parse_set, read_set
from cds_service.trust.profile import Profile

FILE_NAME: Final = "clients.toml"
DEFAULT_ALGORITHMS: Final = ("ES384", "RS384")
Algorithm = Literal["ES384", "RS384", "RS256", "ES256", "PS384"]
Short = Annotated[str, Field(min_length=1, max_length=255)]
Address = Annotated[str, Field(min_length=1, max_length=2000)]


class Client(BaseModel):
    """One EHR (or one tenant of a hosted EHR)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="our word for it, kept with cards")]
    issuer: Annotated[Short, Field(description="claim iss, exact")]
    tenants: Annotated[tuple[Short, ...], Field(description="claim tenant, one of these; none: no such claim")] = ()
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, description="signatures accepted")] = (
        DEFAULT_ALGORITHMS
    )
    audiences: Annotated[
        tuple[Address, ...], Field(description="claim aud, one of these, exact; none: the address called")
    ] = ()
    jwks: Annotated[tuple[dict[str, Any], ...], Field(description="its public keys, in this file")] = ()
    jwks_file: Annotated[Path | None, Field(description="its public keys, in a file of their own (a JWK set)")] = None
    jku: Annotated[tuple[Address, ...], Field(description="addresses of its key set; no other is ever read")] = ()
    fhir_servers: Annotated[tuple[Address, ...], Field(description="FHIR base URLs that may be read for it")] = ()
    networks: Annotated[
        tuple[str, ...], Field(description="private address ranges (CIDR) where its servers may be")
    ] = ()
    ca_file: Annotated[Path | None, Field(description="certificates that its servers are checked with")] = None
    origins: Annotated[tuple[Address, ...], Field(description="browser origins it calls from (CORS)")] = ()
    profile: Profile = Profile()

    @field_validator("networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text} is not an address range such as 10.1.0.0/16 ({error})") from None
        return value

    @field_validator("issuer", "tenants")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value:
            if not text.isprintable():
                raise ValueError("holds a control character")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Client:
        if sum(map(bool, (self.jwks, self.jwks_file, self.jku))) != 1:
            raise ValueError("give its keys in exactly one of jwks, jwks_file, jku")
        return self

    @property
    def ranges(self) -> tuple[Network, ...]:
        return tuple(map(ip_network, self.networks))

    def pinned_keys(self) -> dict[str, Key]:
        """The keys given in the file or beside it; {} where they are read from an address. Raises BadKey, OSError."""
        if self.jwks_file is not None:
            keys, faults = parse_set(read_capped(self.jwks_file))
        elif self.jwks:
            keys, faults = read_set({"keys": list(self.jwks)})
        else:
            return {}
        if faults:
            raise faults[0]
        if not keys:
            raise BadKey("there is no key in it")
        return keys


def read_capped(path: Path) -> bytes:
    """A file of keys, no further than one byte beyond what may be read. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def clients_file(settings: Settings) -> Path | None:
    """Where the clients are declared: the setting `clients`, else clients.toml in the data folder."""
    if settings.clients is not None:
        return settings.clients
    return settings.data_dir / FILE_NAME if settings.data_dir is not None else None


def load_clients(settings: Settings) -> tuple[Client, ...]:
    """The clients of a service, checked against its profile. Raises SettingsError with every fault."""
    path = clients_file(settings)
    clients: tuple[Client, ...] = ()
    if path is not None and (settings.clients is not None or path.exists()):
        clients = read_clients(path)
    faults = [f"{path}: {fault}" for fault in check_clients(clients, dev=settings.dev)]
    if not settings.dev:
        faults += production_faults(settings, clients)
    if faults:
        raise SettingsError("\n".join(faults))
    return clients


def read_clients(path: Path) -> tuple[Client, ...]:
    """The clients in a file, in order. Raises SettingsError with every fault of their form."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__})") from error
    return parse_clients(text, path)


def parse_clients(text: str, path: Path) -> tuple[Client, ...]:
    """The same of the text of a file. Paths in it are relative to its folder."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}") from error
    listed = document.pop("clients", [])
    if document or not isinstance(listed, list):
        raise SettingsError(f"{path}: holds [[clients]] tables and nothing else")
    clients, faults = [], []
    for index, item in enumerate(listed, 1):
        try:
            client = Client.model_validate(item)
        except ValidationError as error:
            label = item.get("name", "") if isinstance(item, dict) else ""
            faults += _told(error, f"{path}: client {index}" + (f" ({label})" if label else ""))
            continue
        beside = {
            name: path.parent / given
            for name in ("jwks_file", "ca_file")
            if (given := getattr(client, name)) is not None
        }
        clients.append(client.model_copy(update=beside))
    if faults:
        raise SettingsError("\n".join(faults))
    return tuple(clients)


def _told(error: ValidationError, where: str) -> list[str]:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        place = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = Profile if item["loc"][0] == "profile" else Client
            message = f"there is no such entry; there are {', '.join(known.model_fields)}"
        lines.append(f"{where}: {place + ': ' if place else ''}{message}")
    return lines


def check_clients(clients: Iterable[Client], *, dev: bool) -> list[str]:
    """What cannot be served, in plain words: keys, addresses, and clients that cannot be told apart."""
    faults: list[str] = []
    names: set[str] = set()
    owners: dict[tuple[str, str | None], str] = {}
    for client in clients:
        where = f"client {client.name}"
        if client.name in names:
            faults.append(f"{where}: the name is used twice")
        names.add(client.name)
        for tenant in client.tenants or (None,):
            other = owners.setdefault((client.issuer, tenant), client.name)
            if other != client.name:
                faults.append(f"{where}: client {other} has the same issuer and tenant")
        checks: dict[str, Callable[..., str]] = {
            "jku": address_fault, "fhir_servers": base_fault, "origins": origin_fault,
        }  # fmt: skip
        for entry, check in checks.items():
            for url in getattr(client, entry):
                fault = check(url, https_only=not dev)
                if fault:
                    faults.append(f"{where}: {entry}: {url} {fault}")
        try:
            keys = client.pinned_keys()
        except BadKey as fault:
            faults.append(f"{where}: its keys cannot be used: {fault.kid + ': ' if fault.kid else ''}{fault.reason}")
        except OSError as error:
            faults.append(f"{where}: jwks_file cannot be read ({type(error).__name__})")
        else:
            unfit = [kid for kid, key in keys.items() if not key.algorithms & set(client.algorithms)]
            faults += [f"{where}: key {kid} can sign with none of {', '.join(client.algorithms)}" for kid in unfit]
            if not dev and any(key.thumbprint == SANDBOX_THUMBPRINT for key in keys.values()):
                faults.append(f"{where}: this is the CDS Hooks Sandbox's key, whose private half is public")
        if client.ca_file is not None and not client.ca_file.is_file():
            faults.append(f"{where}: ca_file is not a file")
    return faults


def address_fault(url: str, *, https_only: bool) -> str:
    """What is wrong with the address of a key set, "" if nothing. Unlike a base URL it may end in a slash."""
    return base_fault(url.rstrip("/") if url.count("/") > 3 else url, https_only=https_only)


def production_faults(settings: Settings, clients: Iterable[Client]) -> list[str]:
    """What keeps the production profile from starting."""
    found = []
    listed = list(clients)
    if not listed:
        found.append("profile production needs at least one client: magnesium-cds clients add")
    if settings.public_url is None:
        found.append("profile production needs public_url: tokens name the address that they are for")
    elif not settings.public_url.startswith("https://"):
        found.append(f"profile production needs an https public_url, and {settings.public_url} is not one")
    if not settings.at_home and not settings.trusted_network:
        found.append(
            f"profile production does not listen on {settings.host}: a proxy in front stops slow and false requests,"
            " and there they could pass it by. Set host to 127.0.0.1 or unix:/path, or set trusted_network = true where"
            " the network lets nobody but the proxy in"
        )
    if settings.console and settings.console_url and not settings.console_url.startswith("https://"):
        found.append(f"profile production needs an https console_url, and {settings.console_url} is not one")
    if settings.console and not settings.trusted_proxies:
        found.append(
            "profile production serves the console only behind a proxy that ends TLS: set trusted_proxies = 1, so that"
            " who guesses passwords is told from everybody else by the address that the proxy writes down"
        )
    if settings.fhir_servers:
        found.append("fhir_servers is of profile dev: in production FHIR servers are registered for each client")
    found += [
        f"client {client.name}: anybody can sign as the CDS Hooks Sandbox, so its issuer is for profile dev only"
        for client in listed
        if client.issuer.rstrip("/") == SANDBOX_ISSUER
    ]
    return found


def networks_of(client: Client, dev: bool) -> tuple[Network, ...]:
    """Where its servers may be beside the public Internet; in profile dev also on this machine and its network."""
    return (*client.ranges, *(LOCAL if dev else ()))


def written(entries: Mapping[str, Any]) -> str:
    """One [[clients]] table as TOML. `entries`: strings, numbers, lists of strings, lists of tables of strings."""
    own = {name: value for name, value in entries.items() if name != "profile"}
    lines = ["[[clients]]", *(f"{name} = {_toml(value)}" for name, value in own.items())]
    if profile := entries.get("profile"):
        lines += ["[clients.profile]", *(f"{name} = {_toml(value)}" for name, value in profile.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML, which writes numbers, truth and text as JSON does, but for one character of text."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{name if re.fullmatch('[A-Za-z0-9_-]+', name) else _toml(name)} = {_toml(item)}"
            for name, item in value.items()
        )
        return "{ " + inner + " }"
    plain = value if isinstance(value, int) else str(value)
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
