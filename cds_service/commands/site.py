"""`magnesium-cds site`: what this hospital set, in a file or as revisions in the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import click
import orjson

from cds_service.advice.needs import all_needs
from cds_service.commands.common import (
    FAILED,
    FILE,
    MOMENT,
    UNAVAILABLE,
    USAGE,
    database_options,
    faults_as_json,
    settings_of,
    stop,
)
from cds_service.content.base import EncounterKind
from cds_service.content.library import Library
from cds_service.content.loading import load_library
from cds_service.content.site import SiteValues, read_site
from cds_service.content.site_document import site_schema
from cds_service.content.site_in_words import calls_in_words, changes, codes_in_words, in_words, threshold_rows
from cds_service.content.yamlfile import ContentError, Fault
from cds_service.store import NewRevision, Revision, Store, StoreUnavailable


@click.group()
def site() -> None:
    """This site's own values: a file to validate, show and compare, or revisions in the database."""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ContentError([Fault(str(file), 0, "", "cannot be read as UTF-8 text")]) from None


def _site_values(file: Path, library: Library) -> SiteValues:
    """Site values of a file. Raises ContentError."""
    return read_site(_text(file), str(file), library, frozenset(all_needs(library)))


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def _today() -> date:
    return datetime.now(UTC).date()


@site.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True)
def validate(file: Path, as_json: bool) -> None:
    """Check a site file and name every fault with line, allowed range and nearest name. Exit 78 on faults."""
    library = load_library()
    with faults_as_json(as_json):
        values = _site_values(file, library)
    if as_json:
        click.echo(json.dumps({"faults": [], "notes": list(values.notes)}))
        return
    for note in values.notes:
        click.echo(note, err=True)
    click.echo(f"{file}: can be used ({values.digest})")


@site.command("show")
@click.argument("file", type=FILE, required=False)
@click.option("--client", default="", help="As it is for this client.")
@click.option("--encounter", type=click.Choice(get_args(EncounterKind)), help="As it is in such an encounter.")
@click.option("--json", "as_json", is_flag=True)
def show_site(file: Path | None, client: str, encounter: EncounterKind | None, as_json: bool) -> None:
    """Show every threshold with the value in force under FILE (or the defaults), for all calls or for some."""
    library = load_library()
    values = (_site_values(file, library) if file else SiteValues()).at(client, encounter)
    rows = threshold_rows(library, values, _today())
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    for row in rows:
        allowed = row["allowed"]
        span = f"may be {allowed[0]} to {allowed[1]}" if isinstance(allowed, list) else "fixed"
        by = f", exception {row['exception']}" if row["exception"] else ""
        written = f", set as {row['written']}" if row["written"] else ""
        mark = f" (site{by}{written}; default {row['default']})" if row["site"] else ""
        texts = row.get("regions", {})
        told = "".join(f"; {each} text {value}" for each, value in texts.items()) if isinstance(texts, dict) else ""
        line = f"{row['rule']}.{row['threshold']} = {row['value']} {row['unit']}{mark}{told}; {span}. {row['label']}"
        click.echo(line)
    click.echo(f"region = {values.region or 'not chosen'}; may be us or eu")
    for key, codes in codes_in_words(values).items():
        click.echo(f"{key} = {codes}")
    for rule, mine in sorted(values.own.shows.items()):
        click.echo(f"{rule}: {mine.show} ({mine.reason})")
    for one, _ in values.exceptions:
        click.echo(f"exception {one.name}: for {calls_in_words(one)} ({one.reason})")


@site.command()
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True)
@database_options
def diff(old: str, new: str, as_json: bool, **flags: Any) -> None:
    """Show what changes from OLD to NEW: files, or numbers of revisions (0: nothing set). Exit 1 where they differ."""
    library = load_library()
    before, after = (_side(side, library, flags) for side in (old, new))
    found = changes(library, before, after, _today())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo("\n".join(in_words(found)) if found else "no difference")
    if found:
        stop(FAILED)


@site.command()
def schema() -> None:
    """Print the JSON Schema of the site file."""
    click.echo(json.dumps(site_schema(), indent=2))


@site.command()
@click.option("--json", "as_json", is_flag=True)
@database_options
def history(as_json: bool, **flags: Any) -> None:
    """List the revisions, the newest first: state, author, time, reason, what changed."""
    with opened(flags) as store:
        now = datetime.now(UTC)
        current = store.revision_in_force(now)
        for item in store.revisions():
            state = item.state(now, current.number if current else None)
            if as_json:
                click.echo(orjson.dumps(_told(item, state)).decode())
                continue
            until = f" until {item.in_force_until:%Y-%m-%d %H:%M}Z" if item.in_force_until else ""
            click.echo(
                f"{item.number}  {state}  {item.in_force_from:%Y-%m-%d %H:%M}Z{until}  {item.author}: {item.reason}"
            )
            for line in in_words(item.changes):
                click.echo(f"    {line}")


@site.command("export")
@click.argument("number", type=int, required=False)
@database_options
def export_site(number: int | None, **flags: Any) -> None:
    """Print the document of a revision (default: the one in force), as `apply` takes it."""
    with opened(flags) as store:
        click.echo(_revision(store, number).document, nl=False)


@site.command()
@click.argument("file", type=FILE)
@click.option("--author", required=True, help="Who sets these values.")
@click.option("--reason", required=True, help="Why.")
@click.option("--approved-by", help="Who else looked at them.")
@click.option("--from", "begins", type=MOMENT, help="When they come into force (default: now).")
@click.option("--until", "ends", type=MOMENT, help="When they give way to those before them.")
@click.option("--based-on", type=int, help="The revision that FILE was made from (default: the newest).")
@click.option("--dry-run", is_flag=True, help="Check, and show what would change; write nothing.")
@database_options
def apply(file: Path, dry_run: bool, **options: Any) -> None:
    """Put the values of FILE in force as a new revision, within seconds on every machine of this database."""
    _publish(_text(file), str(file), dry_run, **options)


@site.command()
@click.argument("number", type=int)
@click.option("--author", required=True, help="Who takes the later values back.")
@click.option("--reason", required=True, help="Why.")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
@database_options
def rollback(number: int, author: str, reason: str, dry_run: bool, **flags: Any) -> None:
    """Put the values of revision NUMBER in force again, as a new revision."""
    with opened(flags) as store:
        document = _revision(store, number).document
    _publish(document, f"revision {number}", dry_run, author=author, reason=reason, **flags)


@site.command()
@click.argument("number", type=int)
@click.option("--author", required=True, help="Who takes it back.")
@database_options
def withdraw(number: int, author: str, **flags: Any) -> None:
    """Take back revision NUMBER, which waits for its time."""
    with opened(flags) as store:
        if store.withdraw(number, author, datetime.now(UTC)):
            stop(FAILED, f"revision {number} does not wait for its time: use rollback")
    click.echo(f"revision {number} is withdrawn")


def _publish(
    document: str,
    name: str,
    dry_run: bool,
    author: str,
    reason: str,
    approved_by: str | None = None,
    begins: datetime | None = None,
    ends: datetime | None = None,
    based_on: int | None = None,
    **flags: Any,
) -> None:
    library, now = load_library(), datetime.now(UTC)
    values = read_site(document, name, library, frozenset(all_needs(library)))
    begins = begins or now
    if ends is not None and ends <= begins:
        stop(USAGE, "--until is not after --from")
    settings = settings_of(dict(flags))
    if settings.managed_by == "file":
        click.echo(
            'A service reads revisions only with managed_by = "console", which these settings do not say.', err=True
        )
    if settings.second_person and approved_by in (None, author):
        stop(USAGE, "Somebody else has to approve this: --approved-by NAME (setting second_person)")
    with opened(flags) as store:
        known = store.revisions()
        newest = known[0].number if known else 0
        base = newest if based_on is None else based_on
        if base and not any(item.number == base for item in known):
            stop(USAGE, f"there is no revision {base}")
        # One that was taken back never held: what differs is told from the one before it.
        held = next((item.number for item in known if item.number <= base and item.withdrawn_at is None), 0)
        before = _values_of(store, held, library)
        found = changes(library, before, values, _today())
        click.echo("\n".join(in_words(found)) if found else "no difference")
        if dry_run:
            return
        made = store.publish(
            NewRevision(document, values.digest, author, reason, now, begins, base, ends, approved_by, tuple(found))
        )
        if made == "conflict":
            theirs = changes(library, before, _values_of(store, newest, library), _today())
            stop(FAILED, f"revision {newest} was published since {base}. It changed:", *in_words(theirs),
                 "Bring both together, and apply the result.")  # fmt: skip
        if made == "one is waiting":
            stop(FAILED, "A revision waits for its time and would take the place of this one: withdraw it first")
        assert isinstance(made, Revision)
        state = "is in force" if begins <= now else f"comes into force at {_moment(begins)}"
        click.echo(f"revision {made.number} {state} ({values.digest})")


def _told(item: Revision, state: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "document"} | {"state": state}


def _revision(store: Store, number: int | None) -> Revision:
    found = store.revision_in_force(datetime.now(UTC))
    if number is not None:
        found = next((item for item in store.revisions() if item.number == number), None)
    if found is None:
        stop(FAILED, f"there is no revision {number}" if number is not None else "no revision is in force")
    return found


def _values_of(store: Store, number: int, library: Library) -> SiteValues:
    if not number:
        return SiteValues()
    document = _revision(store, number).document
    return read_site(document, f"revision {number}", library, frozenset(all_needs(library)))


def _side(side: str, library: Library, flags: dict[str, Any]) -> SiteValues:
    """One side of a comparison: a file, or a revision by its number."""
    if Path(side).is_file():
        return _site_values(Path(side), library)
    if not side.isdecimal():
        stop(USAGE, f"{side}: no such file, and no number of a revision")
    if not int(side):
        return SiteValues()
    with opened(flags) as store:
        return _values_of(store, int(side), library)


@contextmanager
def opened(flags: dict[str, Any]) -> Iterator[Store]:
    """The database that the settings name. Exits 2 where they name none, 69 where it does not answer."""
    settings = settings_of(dict(flags))
    if settings.data_dir is None and settings.database is None:
        stop(USAGE, "Name the folder of the database with --data-dir, or a file with --settings.")
    with Store.open(settings.database, data_dir=settings.data_dir) as store:
        try:
            yield store
        except StoreUnavailable as error:
            stop(UNAVAILABLE, str(error))
