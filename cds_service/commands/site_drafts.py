"""`magnesium-cds site draft`: values that are being worked on, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cds_service.commands.common import FILE, MOMENT, SAID, database_options, faults_as_json, text_of
from cds_service.commands.site_publishing import AS_JSON, published, told, told_made, told_why
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.site_in_words import in_words
from cds_service.store import Draft

BY = click.option("--by", required=True, type=SAID, help="Who does this.")
VERSION = click.option("--version", type=int, required=True, help="The version that you looked at.")


@click.group()
def draft() -> None:
    """Drafts: values that are worked on, approved and published, here or in the console."""


@draft.command("list")
@AS_JSON
@database_options
def list_drafts(as_json: bool, **flags: Any) -> None:
    """List the open drafts, the last edited first."""
    with published(flags) as publishing:
        for item in publishing.store.drafts():
            if as_json:
                told(_told(item))
            else:
                click.echo(_line(item))


@draft.command()
@click.argument("number", type=int)
@click.option("--document", "whole", is_flag=True, help="Print its document, as `save` takes it.")
@AS_JSON
@database_options
def show(number: int, whole: bool, as_json: bool, **flags: Any) -> None:
    """Show a draft: what it changes, who wrote and who approved it."""
    with _doing(flags, as_json) as publishing:
        found = publishing.draft(number)
        if whole:
            click.echo(found.document, nl=False)
            return
        changes = publishing.draft_changes(found)
        if as_json:
            told(_told(found) | {"document": found.document, "changes": changes})
        else:
            click.echo(_line(found))
            click.echo("\n".join(in_words(changes)) if changes else "no difference")


@draft.command()
@click.argument("file", type=FILE, required=False)
@click.option("--title", required=True, type=SAID, help="What it is about.")
@click.option("--reason", default="", help="Why; needed before it is published.")
@BY
@AS_JSON
@database_options
def new(file: Path | None, title: str, reason: str, by: str, as_json: bool, **flags: Any) -> None:
    """Begin a draft, of the values in force or of FILE."""
    with _doing(flags, as_json, makes=True) as publishing:
        _made(publishing.begin(title, by, text_of(file) if file else None, reason), as_json)


@draft.command()
@click.argument("number", type=int)
@click.argument("file", type=FILE)
@VERSION
@click.option("--title", type=SAID, help="What it is about.")
@click.option("--reason", type=SAID, help="Why.")
@click.option("--from", "begins", type=MOMENT, help="When it is to come into force.")
@click.option("--until", "ends", type=MOMENT, help="When it is to give way to the values before it.")
@click.option("--based-on", type=int, help="The revision that FILE was brought together with.")
@BY
@AS_JSON
@database_options
def save(
    number: int, file: Path, version: int, title: str | None, reason: str | None, begins: datetime | None,
    ends: datetime | None, based_on: int | None, by: str, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Put FILE in the place of a draft. It ends an approval. Exit 1 where somebody edited the draft meanwhile."""
    with _doing(flags, as_json) as publishing:
        found = publishing.draft(number)
        told_here: dict[str, Any] = {"title": title, "reason": reason, "based_on": based_on}
        told_here |= {"in_force_from": begins, "in_force_until": ends}
        given: dict[str, Any] = {name: value for name, value in told_here.items() if value is not None}
        text = found.text(document=text_of(file), **given)
        _made(publishing.save(number, version, text, by), as_json)


@draft.command()
@click.argument("number", type=int)
@VERSION
@BY
@AS_JSON
@database_options
def approve(number: int, version: int, by: str, as_json: bool, **flags: Any) -> None:
    """Approve a version of a draft. Nobody approves what they wrote."""
    with _doing(flags, as_json) as publishing:
        _made(publishing.approve(number, version, by), as_json)


@draft.command()
@click.argument("number", type=int)
@VERSION
@BY
@AS_JSON
@database_options
def publish(number: int, version: int, by: str, as_json: bool, **flags: Any) -> None:
    """Publish a version of a draft: it is in force within seconds on every machine of this database."""
    with _doing(flags, as_json, writes=True) as publishing:
        told_made(publishing, publishing.publish_draft(number, version, by), as_json)


@draft.command()
@click.argument("number", type=int)
@VERSION
@BY
@AS_JSON
@database_options
def discard(number: int, version: int, by: str, as_json: bool, **flags: Any) -> None:
    """Close a draft without publishing it."""
    with _doing(flags, as_json) as publishing:
        _made(publishing.discard(number, version, by), as_json)


@contextmanager
def _doing(flags: dict[str, Any], as_json: bool, writes: bool = False, makes: bool = False) -> Iterator[Publishing]:
    with faults_as_json(as_json), published(flags, writes=writes, makes=makes) as publishing:
        try:
            yield publishing
        except NotDone as error:
            told_why(error, as_json, hint="Bring both together, and save the result." if error.theirs else "")


def _told(item: Draft) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "document"} | {"approved": item.approved}


def _made(item: Draft, as_json: bool) -> None:
    if as_json:
        told(_told(item))
    else:
        click.echo(_line(item))


def _line(item: Draft) -> str:
    state = "discarded" if item.discarded_at else f"published as {item.published_as}" if item.published_as else ""
    state = state or (f"approved by {item.approved_by}" if item.approved else "open")
    names = ", ".join(item.authors)
    return f"draft {item.id} version {item.version}  {state}  {names}: {item.title} (from revision {item.based_on})"
