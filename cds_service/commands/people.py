"""`magnesium-cds people`: who may use the console, for whoever can reach the server. It needs no sign-in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
import orjson

from cds_service.commands.common import FAILED, USAGE, database_options, opened, stop
from cds_service.console import passwords
from cds_service.console.accounts import NAME, NAME_WORDS, ROLES, clean_name, key_of_tries
from cds_service.store import NewLine, Store

AUTHOR = "(command line)"
REFUSED = {
    "taken": "there is a person of this name already",
    "unknown": "there is no person of this name",
    "last admin": "this is the only admin who can sign in: make somebody else an admin first",
}
role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(ROLES),
    help="What the person may do; repeatable.",
)


@click.group()
def people() -> None:
    """People of the console: add, list, change roles, give a new code, remove."""


@people.command("list")
@click.option("--json", "as_json", is_flag=True)
@database_options
def list_people(as_json: bool, **flags: Any) -> None:
    """List everybody: name, roles, how they sign in, and when they last did."""
    with opened(flags) as store:
        for one in store.people():
            how = "elsewhere" if one.subject else "password" if one.password else "no password yet"
            if as_json:
                told = {"name": one.name, "roles": one.roles, "sign_in": how, "made_at": one.made_at,
                        "signed_in_at": one.signed_in_at}  # fmt: skip
                click.echo(orjson.dumps(told, option=orjson.OPT_UTC_Z).decode())
                continue
            last = f"last signed in {one.signed_in_at:%Y-%m-%d %H:%M}Z" if one.signed_in_at else "never signed in"
            click.echo(f"{one.name}  {', '.join(one.roles)}  {how}  {last}")


@people.command()
@click.argument("name")
@role_option
@click.option("--json", "as_json", is_flag=True)
@database_options
def add(name: str, roles: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Add NAME, and print the code with which a password is set once."""
    name = clean_name(name)
    if not re.fullmatch(NAME, name):
        stop(USAGE, f"{name}: {NAME_WORDS}")
    with opened(flags, makes=True) as store:
        line = _line("person added", name, roles=sorted(set(roles)))
        if refused := store.add_person(name, sorted(set(roles)), line):
            _refuse(name, refused)
        _give_code(store, name, as_json, new=True)


@people.command("roles")
@click.argument("name")
@role_option
@database_options
def change_roles(name: str, roles: tuple[str, ...], **flags: Any) -> None:
    """Give NAME these roles in place of those before."""
    name = clean_name(name)
    with opened(flags) as store:
        known = store.person(name)
        steps = {"from": sorted(known.roles) if known else [], "to": sorted(set(roles))}
        line = _line("roles changed", name, **steps)
        if refused := store.set_roles(name, sorted(set(roles)), line):
            _refuse(name, refused)
        click.echo(f"{name} is now {', '.join(sorted(set(roles)))}")


@people.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
@database_options
def reset(name: str, as_json: bool, **flags: Any) -> None:
    """Take the password of NAME away, end the sessions, and print a code to set another."""
    with opened(flags) as store:
        _give_code(store, clean_name(name), as_json, new=False)


@people.command()
@click.argument("name")
@database_options
def remove(name: str, **flags: Any) -> None:
    """Remove NAME, whose sessions end at once."""
    name = clean_name(name)
    with opened(flags) as store:
        if refused := store.remove_person(name, _line("person removed", name)):
            _refuse(name, refused)
        click.echo(f"{name} is removed")


def _give_code(store: Store, name: str, as_json: bool, *, new: bool) -> None:
    code, until = passwords.new_code(), datetime.now(UTC) + passwords.CODE_HOLDS
    line = _line("code given" if new else "password taken away", name)
    if refused := store.new_code(code, name, until, line, lock_out=not new, tries=key_of_tries(store, name)):
        _refuse(name, refused)
    if as_json:
        told = {"name": name, "code": code, "until": until}
        click.echo(orjson.dumps(told, option=orjson.OPT_UTC_Z).decode())
        return
    click.echo(f"Code for {name}: {code}")
    click.echo(f"It is typed at /welcome below the console's path, once, until {until:%Y-%m-%d %H:%M}Z.", err=True)


def _line(action: str, name: str, **details: Any) -> NewLine:
    return NewLine(datetime.now(UTC), AUTHOR, action, name, details)


def _refuse(name: str, refused: str) -> NoReturn:
    stop(FAILED, f"{name}: {REFUSED[refused]}")
