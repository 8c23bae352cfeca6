"""Every setting: name, default, help. Order of precedence: defaults, settings file (TOML), environment, flags."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

PREFIX = "MAGNESIUM_CDS_"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
UNIX = "unix:"
_PATHS = frozenset(
    {
        "cds-services",
        "claims",
        "docs",
        "evidence",
        "feedback",
        "fhir",
        "healthz",
        "metrics",
        "plan",
        "readyz",
        "static",
        "try",
    }
)
_LISTS = frozenset({"cards", "fhir_servers", "oidc_roles", "origins"})


class SettingsError(Exception):
    """A setting cannot be used; the text names it, where it came from, and what is allowed."""


class Settings(BaseModel):
    """The settings of one service. Environment names are MAGNESIUM_CDS_ and the name in capitals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Annotated[
        Literal["dev", "production"],
        Field(description="dev: no token is needed until a client is declared; http and loopback origins"),
    ] = "dev"
    host: Annotated[str, Field(description="address to listen on, or unix: and the path of a socket")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on")] = 8000
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="INFO writes a line for each request")
    ] = "INFO"
    instance: Annotated[str, Field(max_length=100, description="a word shown in /readyz, to tell instances apart")] = ""
    workers: Annotated[int, Field(ge=1, le=64, description="worker processes")] = 2
    threads: Annotated[
        int,
        Field(ge=4, le=256, description="threads of each worker: half work at the same time, the rest wait or refuse"),
    ] = 16
    data_dir: Annotated[Path | None, Field(description="folder of the database and of generated secrets")] = None
    database: Annotated[
        str | None, Field(description="database URL; default: SQLite in the data folder", repr=False)
    ] = None
    database_file: Annotated[Path | None, Field(description="file that holds the database URL")] = None
    database_password_file: Annotated[
        Path | None, Field(description="file that holds the password of the database, whose URL has none")
    ] = None
    key: Annotated[
        str | None,
        Field(description="secret that hashes and links are made with, of at least 32 characters", repr=False),
    ] = None
    key_file: Annotated[
        Path | None,
        Field(description="file of that secret, the same on every machine; default: one is made in the data folder"),
    ] = None
    keep_cards_days: Annotated[
        int, Field(ge=0, le=36500, description="days that cards shown and never answered are on record; 0: for ever")
    ] = 730
    keep_unmatched_days: Annotated[
        int, Field(ge=0, le=36500, description="days that feedback on no card of ours is kept; 0: for ever")
    ] = 90
    keep_counts_days: Annotated[
        int, Field(ge=0, le=36500, description="days that counts of calls and rules are kept; 0: for ever")
    ] = 800
    comments_in_console: Annotated[
        bool, Field(description="editors may read in the console what clinicians wrote when they dismissed a card")
    ] = True
    watch: Annotated[
        bool,
        Field(description="look every hour at what fires and what does not, and at patients whose cards are known"),
    ] = True
    keep_comments: Annotated[bool, Field(description="keep what clinicians write when they dismiss a card")] = True
    keep_facts: Annotated[
        int,
        Field(ge=0, le=100_000, description="real calls kept as codes and numbers, for previews and for why; 0: none"),
    ] = 0
    keep_facts_days: Annotated[int, Field(ge=1, le=366, description="days that a kept call stays")] = 30
    facts_database: Annotated[
        str | None,
        Field(description="database URL of kept facts; default: SQLite of their own in the data folder", repr=False),
    ] = None
    facts_database_file: Annotated[Path | None, Field(description="file that holds the URL of kept facts")] = None
    screening: Annotated[
        Path | None,
        Field(description="folder of a screening: the console's preview can try values on that population"),
    ] = None
    site: Annotated[Path | None, Field(description="file of this site's own values")] = None
    cards: Annotated[
        tuple[Path, ...], Field(description="folders of other people's rules, each in a namespace of its own")
    ] = ()
    managed_by: Annotated[
        Literal["file", "console"],
        Field(description="who sets the site's own values: the file named by `site`, or revisions in the database"),
    ] = "file"
    second_person: Annotated[
        bool, Field(description="a revision of the site values needs somebody else's approval")
    ] = False
    console: Annotated[
        bool, Field(description="serve the console: pages to watch the rules and set the site's own values")
    ] = False
    console_path: Annotated[str, Field(description="path below which the console stands")] = "/console"
    console_url: Annotated[
        str | None, Field(description="console at an address of its own, and at no other; default: public_url")
    ] = None
    try_page: Annotated[
        bool | None,
        Field(
            description="page at / to try patients on, and the form at /plan; default: in dev only. In production for"
            " who is signed in to the console"
        ),
    ] = None
    oidc_issuer: Annotated[
        str | None, Field(description="console: people sign in with an account of this OpenID Connect issuer too")
    ] = None
    oidc_client_id: Annotated[str | None, Field(description="what the console is called at the issuer")] = None
    oidc_client_secret: Annotated[str | None, Field(description="its secret there; or name a file", repr=False)] = None
    oidc_client_secret_file: Annotated[Path | None, Field(description="file that holds the secret")] = None
    oidc_scope: Annotated[str, Field(description="what is asked of the issuer")] = "openid profile email"
    oidc_roles_claim: Annotated[str, Field(description="claim that lists a person's groups at the issuer")] = "groups"
    oidc_roles: Annotated[
        tuple[str, ...], Field(description="which group has which role, each as GROUP=ROLE; who has none stays out")
    ] = ()
    public_url: Annotated[str | None, Field(description="base URL that clients and browsers see")] = None
    clients: Annotated[Path | None, Field(description="file of clients; default: clients.toml in the data folder")] = (
        None
    )
    client_rate: Annotated[
        float | None,
        Field(gt=0, description="calls a second of one client, by all replicas; default: 200, in dev no limit"),
    ] = None
    address_rate: Annotated[
        float | None,
        Field(gt=0, description="calls a second from one address, by all replicas; default: 400, in dev no limit"),
    ] = None
    replicas: Annotated[
        int, Field(ge=1, le=64, description="services that share the calls; each allows its share of the rates")
    ] = 1
    trusted_proxies: Annotated[
        int, Field(ge=0, le=5, description="proxies before the service whose X-Forwarded-For is believed")
    ] = 0
    trusted_network: Annotated[
        bool, Field(description="production: nobody but the proxy can reach `host`, though other machines might")
    ] = False
    fhir_servers: Annotated[
        tuple[str, ...],
        Field(description="FHIR base URLs that may be read (dev; in production each client has its own)"),
    ] = ()
    origins: Annotated[tuple[str, ...], Field(description="browser origins that may call (CORS), exact")] = ()
    dev_preset: Annotated[
        Literal["epic", "oracle", "crd", "sandbox", "generic"],
        Field(description="dev: preset of whoever calls while no client is declared"),
    ] = "generic"
    split_services: Annotated[
        bool, Field(description="beside each service one with its urgent cards only, and one with its information")
    ] = False
    open_discovery: Annotated[bool, Field(description="let discovery be read without a token")] = False
    on_incomplete: Annotated[
        Literal["info_card", "412"], Field(description="answer where nothing fired and something was not checked")
    ] = "info_card"
    accepted_rests_minutes: Annotated[
        int, Field(ge=0, le=15, description="minutes in which accepted information is not told again; 0: none")
    ] = 15
    today_windows: Annotated[
        bool, Field(description="date windows with today() in prefetch (CDS Hooks 3.0 clients)")
    ] = False
    instruction_in_text: Annotated[
        bool | None,
        Field(description="also write a keep-apart instruction into the drug's text (default: only in dev)"),
    ] = None
    validate_all: Annotated[bool, Field(description="validate every resource, not only the cited ones")] = False
    metrics: Annotated[
        Literal["on", "off"], Field(description="answer /metrics, for Prometheus; in production never through a proxy")
    ] = "on"
    metrics_token_file: Annotated[
        Path | None, Field(description="file of a token that /metrics asks for; then a proxy may pass it on")
    ] = None
    traces_to: Annotated[
        str | None,
        Field(description="OTLP/HTTP address that traces of calls are sent to (extra otel), with /v1/traces"),
    ] = None
    max_body: Annotated[int, Field(ge=1024, description="largest request body, bytes")] = 8 * 1024 * 1024
    fetch_seconds: Annotated[float, Field(gt=0, le=10, description="time for all reads from the FHIR server")] = 1.5

    @field_validator("public_url", "console_url", "oidc_issuer", "fhir_servers", "traces_to")
    @classmethod
    def _addresses(cls, value: Any, info: ValidationInfo) -> Any:
        for url in (value,) if isinstance(value, str) else value or ():
            if not url.startswith(("http://", "https://")) or "@" in url or " " in url:
                raise ValueError(f"{url} is not an http(s) base URL")
        if info.field_name == "oidc_issuer":
            return value  # compared as text, to the last slash
        return value.rstrip("/") if isinstance(value, str) else tuple(url.rstrip("/") for url in value or ()) or value

    @field_validator("host")
    @classmethod
    def _socket(cls, value: str) -> str:
        if value.startswith(UNIX) and not value.startswith(f"{UNIX}/"):
            raise ValueError(f"{value} has no absolute path: {UNIX}/run/magnesium-cds.sock is one")
        return value

    @field_validator("key_file")
    @classmethod
    def _one_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("key"):
            raise ValueError("the key is given by `key` as well: take one of them")
        return value

    @field_validator("console_path")
    @classmethod
    def _own_path(cls, value: str) -> str:
        if not re.fullmatch(r"(/[a-z0-9][a-z0-9_-]*)+", value) or value.split("/")[1] in _PATHS:
            raise ValueError(f"{value} is not a free path: /console is one, of small letters and digits")
        return value

    @field_validator("try_page")
    @classmethod
    def _for_whom(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and info.data.get("profile") == "production" and not info.data.get("console"):
            raise ValueError("in production it is for who is signed in to the console: set console = true, or leave it")
        return value

    @field_validator("managed_by")
    @classmethod
    def _one_manager(cls, value: str, info: ValidationInfo) -> str:
        if value == "console" and info.data.get("site"):
            raise ValueError("console: then `site` names no file. Put its values in force once: site apply FILE")
        return value

    @property
    def tries(self) -> bool:
        """Whether the pages to try patients on are served."""
        return self.dev if self.try_page is None else self.try_page

    @property
    def dev(self) -> bool:
        return self.profile == "dev"

    def in_console(self, path: str) -> bool:
        """Whether this path of a request is the console's."""
        return self.console and (path == self.console_path or path.startswith(f"{self.console_path}/"))

    @property
    def console_base(self) -> str | None:
        """Under which browsers reach the console, without its path; None where it is not said."""
        return self.console_url or self.public_url

    @property
    def at_home(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in LOOPBACK or self.host.startswith(UNIX)

    @property
    def bind(self) -> str:
        """The address to listen on, as servers take it."""
        if self.host.startswith(UNIX):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def phrase_in_text(self) -> bool:
        """Whether suggestions also carry their instruction in the drug's text."""
        return self.dev if self.instruction_in_text is None else self.instruction_in_text


def _read_secrets(values: dict[str, Any], origin: Mapping[str, str]) -> None:
    """Put what secret files hold in the place of their names. Raises SettingsError."""
    for name in ("database", "facts_database"):
        if (text := _secret(values, origin, f"{name}_file")) is not None:
            if values.get(name):
                raise SettingsError(
                    f"{origin[f'{name}_file']}: {name} is given by {origin[name]} too: take one of them"
                )
            values[name] = text
    if (password := _secret(values, origin, "database_password_file")) is not None:
        where = origin["database_password_file"]
        url = urlsplit(str(values.get("database") or ""))
        if not url.scheme.startswith("postgres") or not url.username or url.password is not None:
            raise SettingsError(
                f"{where}: the database URL must be of PostgreSQL, with a user and without a password: "
                "postgresql://USER@HOST/NAME"
            )
        place = f"{url.username}:{quote(password, safe='')}@{url.netloc.rpartition('@')[2]}"
        values["database"] = url._replace(netloc=place).geturl()


def _secret(values: Mapping[str, Any], origin: Mapping[str, str], name: str) -> str | None:
    """What the file holds that this setting names, without space around it; None where it names none."""
    if not values.get(name):
        return None
    path = Path(str(values[name]))
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{origin[name]}: {path} cannot be read ({type(error).__name__})") from error
    if not text or "\n" in text:
        raise SettingsError(f"{origin[name]}: {path} must hold one line: the secret and nothing else")
    return text


def load_settings(
    flags: Mapping[str, Any], file: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Settings from all sources. Flags that are None or empty are not given. Raises SettingsError."""
    origin: dict[str, str] = {}
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values |= tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise SettingsError(f"{file}: cannot be read: {why}") from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise SettingsError(f"{file}: {error}") from error
        origin |= dict.fromkeys(values, str(file))
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        if variable in environ:
            text = environ[variable]
            values[name] = tuple(text.split()) if name in _LISTS else text
            origin[name] = variable
    for name, value in flags.items():
        if value is not None and value != ():
            values[name] = value
            origin[name] = "--" + name.replace("_", "-")
    _read_secrets(values, origin)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False, include_input=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                from cds_service.spelling import nearest

                message = f"no such setting{nearest(name, Settings.model_fields)}"
            lines.append(f"{origin.get(name, name)}: {name}: {message}")
        raise SettingsError("\n".join(lines)) from error
