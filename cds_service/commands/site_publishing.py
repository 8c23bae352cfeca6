"""What the commands about site values share: the database that holds them, and how they say what was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
import orjson

from cds_service.advice.loaded_content import load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import FAILED, USAGE, cards_in_use, opened, settings_of, stop
from cds_service.content.library import Library
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.site_in_words import in_words
from cds_service.store import Revision

AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_USAGE_TROUBLES = ("times", "unknown revision", "approval")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def told(value: Any) -> None:
    """Print a value as JSON, in one line."""
    click.echo(orjson.dumps(value).decode())


def told_why(error: NotDone, as_json: bool = False, *, hint: str = "") -> NoReturn:
    """Exit 2 where what was asked for cannot be, 1 where something stands in its way. `hint`: what to do."""
    code = USAGE if error.trouble in _USAGE_TROUBLES else FAILED
    if as_json:
        told({"trouble": error.trouble, "text": error.text, "revision": error.number or None, "theirs": error.theirs})
    if error.theirs:
        hint = hint or "Bring both together, and apply the result."
        stop(code, f"{error.text}. It changed:", *in_words(error.theirs), hint)
    stop(code, f"{error.text}{f': {hint}' if hint else ''}")


def told_made(publishing: Publishing, made: Revision, as_json: bool) -> None:
    """Say that a revision was published."""
    waits = made.in_force_from > publishing.now()
    if as_json:
        told(revision_told(made, "waiting" if waits else "in force"))
    else:
        state = f"comes into force at {_moment(made.in_force_from)}" if waits else "is in force"
        click.echo(f"revision {made.number} {state} ({made.digest})")


def revision_told(item: Revision, state: str) -> dict[str, Any]:
    """A revision without its document, which `export` prints."""
    return {name: value for name, value in asdict(item).items() if name != "document"} | {"state": state}


@contextmanager
def published(
    flags: dict[str, Any], library: Library | None = None, writes: bool = False, makes: bool = False
) -> Iterator[Publishing]:
    """Publishing over the database that the settings name. Exits 2 where they name none, 69 where it does not answer
    or is not there, unless this `writes` a revision or `makes` a draft."""
    settings = settings_of(dict(flags))
    if writes and settings.managed_by == "file":
        click.echo(
            'A service reads revisions only with managed_by = "console", which these settings do not say.', err=True
        )
    library = library or load_content(cards=cards_in_use()).library
    with opened(flags, makes=writes or makes) as store:
        yield Publishing(store, library, frozenset(all_needs(library)), settings.second_person)
