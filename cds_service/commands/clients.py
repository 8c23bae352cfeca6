"""`magnesium-cds clients`: who may call, and why a token is taken or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import orjson
from pydantic import ValidationError

from cds_service.advice.loaded_content import load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import (
    CANNOT_CREATE,
    CONFIGURATION,
    DOCUMENT,
    FAILED,
    FILE,
    FOLDER,
    USAGE,
    cards_in_use,
    counted,
    open_named,
    settings_of,
    stop,
    text_of,
)
from cds_service.content.current import CurrentRulebook, site_source
from cds_service.content.library import Library
from cds_service.content.rulebook import Rulebook
from cds_service.content.site_checks import orderable_suggestions
from cds_service.hooks.profile import profile_faults
from cds_service.logs import configure
from cds_service.settings import Settings, SettingsError
from cds_service.spelling import nearest
from cds_service.trust.clients import (
    Client,
    check_clients,
    clients_file,
    networks_of,
    parse_clients,
    production_faults,
    read_capped,
    read_clients,
    written,
)
from cds_service.trust.explain import explain_keys, explain_token
from cds_service.trust.gatekeeper import own_bases
from cds_service.trust.keys import ALGORITHMS, BadKey, KeysNotRead, parse_set
from cds_service.trust.outbound import KeyReader, Server
from cds_service.trust.profile import PRESETS, preset, services_served

HEADER = (
    "# Clients that may call. Written by `magnesium-cds clients add`, and yours to edit; see docs/integration.md.\n"
)
ORDER = ("create", "ServiceRequest")
DISCOVERY, PLAN = "/cds-services", "/plan"


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--settings", "settings_file", type=FILE, help="Settings file (TOML)."),
        click.option("--public-url", help="Base URL that clients see."),
        click.option("--profile", type=click.Choice(["dev", "production"]), help="Default: dev."),
        click.option("--data-dir", type=FOLDER, help="Folder of clients.toml."),
        click.option("--clients", type=click.Path(dir_okay=False, path_type=Path), help="Another file of clients."),
    ):
        command = option(command)
    return command


def _place(flags: dict[str, Any]) -> tuple[Settings, Path]:
    settings = settings_of(flags)
    path = clients_file(settings)
    if path is None:
        stop(USAGE, "Name the folder of clients.toml with --data-dir, or a file with --clients.")
    return settings, path


def _known(path: Path) -> tuple[Client, ...]:
    return read_clients(path) if path.exists() else ()


@click.group()
def clients() -> None:
    """Add, list, check and remove the EHRs that may call."""


@clients.command()
@click.argument("name")
@click.option("--issuer", required=True, help="Claim iss of its tokens, exact.")
@click.option("--jku", multiple=True, help="Address of its key set (https); repeatable.")
@click.option("--jwks", "jwks_file", type=FILE, help="Its key set.")
@click.option("--tenant", "tenants", multiple=True, help="Claim tenant of its tokens; repeatable.")
@click.option("--algorithm", "algorithms", multiple=True, type=click.Choice(ALGORITHMS), help="Default: ES384, RS384.")
@click.option("--audience", "audiences", multiple=True, help="Claim aud, exact; default: the address called.")
@click.option("--fhir-server", "fhir_servers", multiple=True, help="FHIR base URL that may be read; repeatable.")
@click.option("--network", "networks", multiple=True, help="Private range (CIDR) of its servers; repeatable.")
@click.option("--ca-file", type=FILE, help="Its certificates.")
@click.option("--origin", "origins", multiple=True, help="Browser origin it calls from; repeatable.")
@click.option("--preset", type=click.Choice(PRESETS), help="Which kind of EHR it is (default generic).")
@click.option("--max-cards", type=click.IntRange(1, 20), help="Most cards in one answer.")
@click.option("--on-incomplete", type=click.Choice(["info_card", "412"]))
@click.option("--markdown", type=click.Choice(["gfm", "basic", "none"]))
@click.option("--null-prefetch", type=click.Choice(["none", "failed"]), help="What a prefetch value of null says.")
@click.option("--links", type=click.Choice(["absolute", "static", "none"]))
@click.option("--unit", "units", multiple=True, help="Unit of a laboratory value: serum_magnesium=mg/dL; repeatable.")
@_options
def add(name: str, jwks_file: Path | None, ca_file: Path | None, **given: Any) -> None:
    """Add a client. Its keys come from --jku or are copied from the file --jwks."""
    shared = {key: given.pop(key) for key in ("settings_file", "public_url", "profile", "data_dir", "clients")}
    settings, path = _place(shared)
    asked = ("preset", "max_cards", "on_incomplete", "markdown", "null_prefetch", "links")
    profile = {key: given.pop(key) for key in asked}
    profile["units"] = dict(_named_unit(text) for text in given.pop("units"))
    entries: dict[str, Any] = {"name": name, **{key: value for key, value in given.items() if value}}
    if jwks_file is not None:
        try:
            keys, faults = parse_set(read_capped(jwks_file))
        except (BadKey, OSError) as error:
            stop(USAGE, f"{jwks_file}: {error}")
        if faults or not keys:
            stop(USAGE, *[f"{jwks_file}: {fault.kid or 'a key'}: {fault.reason}" for fault in faults] or ["no key"])
        entries["jwks"] = _plain_keys(jwks_file)
    if ca_file is not None:
        entries["ca_file"] = str(ca_file.absolute())
    if chosen := {key: value for key, value in profile.items() if value}:
        entries["profile"] = chosen
    try:
        Client.model_validate(entries)
    except ValidationError as error:
        stop(USAGE, *[_message(item) for item in error.errors(include_url=False, include_input=False)])
    before = text_of(path) if path.exists() else HEADER
    text = before.rstrip("\n") + "\n\n" + written(entries)
    after = parse_clients(text, path)
    faults_after = check_clients(after, dev=settings.dev) + _profile_faults(after)
    if faults_after:
        stop(CONFIGURATION, *faults_after, "Nothing was written.")
    _write(path, text)
    click.echo(f"{name} was added to {path}. A running service reads it when it starts again.", err=True)


def _plain_keys(path: Path) -> list[dict[str, str]]:
    members = ("kty", "crv", "x", "y", "n", "e", "kid", "use", "alg")
    listed = orjson.loads(path.read_bytes())["keys"]
    return [{name: str(key[name]) for name in members if name in key} for key in listed]


def _named_unit(text: str) -> tuple[str, str]:
    lab, _, unit = text.partition("=")
    if not unit:
        stop(USAGE, f"--unit {text}: write the lab and its unit, such as serum_magnesium=mg/dL")
    return lab, unit


def _profile_faults(known: tuple[Client, ...]) -> list[str]:
    """As the service says it; the content is read only where a client chose a unit or a code."""
    chose = any(client.profile.units or client.profile.override_codes for client in known)
    return profile_faults(known, _content()) if chose else []


def _orders_in_words(known: tuple[Client, ...], settings: Settings) -> list[str]:
    """What some client gets no button for, since the site values do not say what it orders there."""
    asking = [client for client in known if client.profile.order_codes == "site" and client.profile.may(*ORDER)]
    if not asking and settings.site is None and settings.managed_by == "file":
        return []
    site = _rulebook(settings).site
    found = [
        f"client {client.name}: {name} has no entry under orderables in the site values: it is told without a button"
        for client in asking
        for name in orderable_suggestions(_content())
        if site.orderable(name, client.name) is None
    ]
    names = {client.name for client in known}
    listed = site.document.orderables
    return found + [
        f"orderables.{name}: there is no client {client}{nearest(client, names)}"
        for name, clients in listed.items()
        for client in clients
        if client not in names
    ]


@cache
def _content() -> Library:
    return load_content(cards=cards_in_use()).library


def _message(item: Any) -> str:
    place = ".".join(map(str, item["loc"]))
    return f"{place + ': ' if place else ''}{item['msg'].removeprefix('Value error, ')}"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(path.name + ".new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        stop(CANNOT_CREATE, f"{path} cannot be written: {error.strerror}.")


@clients.command(name="list")
@_options
def list_(**flags: Any) -> None:
    """One line for each client."""
    _, path = _place(flags)
    for client in _known(path):
        keys = f"keys {', '.join(client.jku)}" if client.jku else counted(len(client.pinned_keys()), "pinned key")
        tenants = f" tenants {', '.join(client.tenants)}" if client.tenants else ""
        click.echo(f"{client.name}: {client.issuer}{tenants}, {', '.join(client.algorithms)}, {keys}")
        for url in client.fhir_servers:
            click.echo(f"  reads {url}")


@clients.command()
@click.argument("name")
@_options
def remove(name: str, **flags: Any) -> None:
    """Remove a client. Its cards and feedback stay."""
    _, path = _place(flags)
    known = _known(path)
    names = [client.name for client in known]
    if name not in names:
        stop(FAILED, f"There is no client {name}; there are {', '.join(names) or 'none'}.")
    index = names.index(name)
    head, *blocks = path.read_text(encoding="utf-8").split("[[clients]]")
    text = "[[clients]]".join([head, *blocks[:index], *blocks[index + 1 :]]).rstrip("\n") + "\n"
    rest = tuple(client for client in known if client.name != name)
    try:
        same = len(blocks) == len(known) and parse_clients(text, path) == rest
    except SettingsError:
        same = False
    if not same:
        stop(FAILED, f"{path} is written in a way that this command cannot change: take the client out by hand.")
    _write(path, text)
    click.echo(f"{name} was removed from {path}. A running service reads it when it starts again.", err=True)


@clients.command()
@click.argument("what", required=False)
@click.option("--service", help="Id of the CDS service that the token is for (default: as its aud says).")
@_options
def check(what: str | None, service: str | None, **flags: Any) -> None:
    """Say what would be accepted or refused, and why.

    WHAT is a token, the address of a key set (https://...), or '-' to read a token from stdin. Without it the clients'
    file is checked. Nothing is stored, and the token is not used up. Exit 1 where something would be refused.
    """
    configure("ERROR")
    settings, path = _place(flags)
    known = _known(path)
    faults = check_clients(known, dev=settings.dev) + _profile_faults(known)
    faults += [] if settings.dev else production_faults(settings, known)
    if what is None:
        if not path.exists():
            faults.insert(0, f"{path} is not there")
        for fault in faults:
            click.echo(f"REFUSED  {fault}")
        for text in _orders_in_words(known, settings):
            click.echo(f"in words {text}")
        click.echo(f"{counted(len(known), 'client')} in {path}: " + ("not usable" if faults else "all usable"))
        sys.exit(CONFIGURATION if faults else 0)
    if urlsplit(what).scheme in ("http", "https"):
        findings = _of_keys(what, known, settings)
    else:
        token = (DOCUMENT.convert(what, None, None).read().decode(errors="replace") if what == "-" else what).strip()
        services = services_served(_content().services, settings.split_services)
        if service is not None and service not in services:
            stop(USAGE, f"--service {service}: there is no such service; there are {', '.join(services)}.")
        posts = [f"{DISCOVERY}/{name}" for name in services]
        paths = [DISCOVERY, *posts, *(f"{path}/feedback" for path in posts), PLAN]
        findings = explain_token(token, known, settings, paths, service, datetime.now(UTC))
    click.echo(f"checked as of a service in profile {settings.profile} at {' or '.join(own_bases(settings))}", err=True)
    for good, text in findings:
        click.echo(f"{'ok      ' if good else 'REFUSED '} {text}")
    sys.exit(0 if all(good for good, _ in findings) else FAILED)


@clients.command()
@click.argument("name")
@click.option("--html", is_flag=True, help="As an HTML page instead of Markdown.")
@_options
def sheet(name: str, html: bool, **flags: Any) -> None:
    """Print what the analyst of the EHR called NAME types in: addresses, prefetch, scopes, claims, links, codes."""
    from cds_service.publish.ehr_sheet import as_html, as_markdown, sheet

    settings, path = _place(flags)
    client = {client.name: client for client in _known(path)}.get(name)
    if client is None:
        stop(FAILED, f"There is no client {name} in {path}.")
    parts = sheet(client, own_bases(settings)[0], _rulebook(settings), settings)
    title = f"{preset(client.profile.preset).title}: build sheet for {name}"
    click.echo(as_html(title, parts) if html else f"# {title}\n\n{as_markdown(parts)}", nl=False)


def _rulebook(settings: Settings) -> Rulebook:
    def now() -> datetime:
        return datetime.now(UTC)

    with ExitStack() as stack:
        revisions = settings.managed_by == "console"
        store = open_named(settings) if revisions else None
        source = site_source(settings, stack.enter_context(store) if store else None, now)
        return CurrentRulebook(_content(), source, frozenset(all_needs(_content()))).on(now().date())


def _of_keys(url: str, known: tuple[Client, ...], settings: Settings) -> list[tuple[bool, str]]:
    """What a key set at an address would give. It is read as the service reads it."""
    owner = next((client for client in known if url in client.jku), None)
    networks = networks_of(owner, settings.dev) if owner else ()
    try:
        raw = KeyReader(Server(url, networks, owner.ca_file if owner else None))()
    except KeysNotRead as error:
        return [(False, f"the key set cannot be read: {error}")]
    return explain_keys(url, raw, owner, settings)
