"""`magnesium-cds facts`: what is kept of real calls, and how to be rid of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from cds_service.commands.common import UNAVAILABLE, USAGE, counted, database_options, settings_of, stop
from cds_service.settings import Settings
from cds_service.store import StoreUnavailable
from cds_service.store.facts import FACTS_FILE, FactsStore

AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group()
def facts() -> None:
    """Facts of real calls, kept as codes and numbers where keep_facts is set: show and delete them."""


@facts.command()
@click.option("--calls", is_flag=True, help="Print each kept call, a line of JSON each: all that is kept of it.")
@AS_JSON
@database_options
def show(calls: bool, as_json: bool, **flags: Any) -> None:
    """Say how many calls are kept, and until when."""
    settings = settings_of(dict(flags))
    with opened(settings) as store:
        if store is None:
            _said({"calls": 0}, "No calls are kept.", as_json)
            return
        if calls:
            for raw in store.all():
                click.echo(raw)
            return
        found = store.count()
        until = f", until {found.first_until} to {found.last_until}" if found.calls else ""
        limit = f" At most {settings.keep_facts}, for {counted(settings.keep_facts_days, 'day')}."
        off = " The setting keep_facts is 0: no more are added. Delete them with: facts off"
        told = f"{counted(found.calls, 'call')} kept{until}.{limit if settings.keep_facts else off}"
        _said(asdict(found) | {"keep_facts": settings.keep_facts, "days": settings.keep_facts_days}, told, as_json)


@facts.command()
@click.option("--all", "everything", is_flag=True, help="All of them, not only what is over the number or the days.")
@AS_JSON
@database_options
def purge(everything: bool, as_json: bool, **flags: Any) -> None:
    """Delete kept calls that are over the number or the days."""
    with opened(settings_of(dict(flags))) as store:
        gone = store.purge(None if everything else datetime.now(UTC).date()) if store else 0
    _said({"deleted": gone}, f"{counted(gone, 'call')} deleted", as_json)


@facts.command()
@AS_JSON
@database_options
def off(as_json: bool, **flags: Any) -> None:
    """Delete all kept calls, their database and their key. Set keep_facts to 0 and start the service anew first."""
    settings = settings_of(dict(flags))
    with opened(settings) as store:
        gone = store.purge() if store else 0
    files = FactsStore.remove(settings.data_dir) if settings.data_dir else []
    if settings.keep_facts:
        click.echo("keep_facts is still set: a service that runs goes on keeping calls.", err=True)
    removed = f"; removed {', '.join(files)}" if files else ""
    _said({"deleted": gone, "removed": files}, f"{counted(gone, 'call')} deleted{removed}", as_json)


def _said(told: dict[str, Any], words: str, as_json: bool) -> None:
    click.echo(orjson.dumps(told).decode() if as_json else words)


@contextmanager
def opened(settings: Settings) -> Iterator[FactsStore | None]:
    """The database of kept facts; None where there is none. Exits 2 without a data folder, 69 where it does not
    answer."""
    if settings.data_dir is None:
        stop(USAGE, "Name the folder of the database with --data-dir, or a file with --settings.")
    if settings.facts_database is None and not (settings.data_dir / FACTS_FILE).exists():
        yield None
        return
    keep, days = settings.keep_facts, settings.keep_facts_days
    store = FactsStore.open(settings.facts_database, data_dir=settings.data_dir, keep=keep, days=days)
    try:
        yield store
    except StoreUnavailable as error:
        stop(UNAVAILABLE, str(error))
    finally:
        store.close()
