"""`magnesium-cds site`: what this hospital set, in a file or as revisions in the database."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import click
import orjson

from cds_service.advice.loaded_content import load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import (
    FAILED,
    FILE,
    MOMENT,
    SAID,
    USAGE,
    cards_in_use,
    cards_option,
    database_options,
    faults_as_json,
    stop,
    text_of,
)
from cds_service.commands.preview import preview
from cds_service.commands.site_drafts import draft
from cds_service.commands.site_publishing import (
    AS_JSON,
    published,
    revision_told,
    told,
    told_made,
    told_why,
)
from cds_service.content.base import EncounterKind
from cds_service.content.library import Library
from cds_service.content.publishing import NotDone, Proposal, Publishing
from cds_service.content.site import SiteValues, read_site
from cds_service.content.site_document import site_schema
from cds_service.content.site_in_words import calls_in_words, changes, codes_in_words, in_words, threshold_rows


@click.group()
def site() -> None:
    """This site's own values: a file to validate, show and compare, or revisions in the database."""


site.add_command(draft)
site.add_command(preview)


def _site_values(file: Path, library: Library) -> SiteValues:
    """Site values of a file. Raises ContentError."""
    return read_site(text_of(file), str(file), library, frozenset(all_needs(library)))


def _today() -> date:
    return datetime.now(UTC).date()


@site.command()
@cards_option
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True)
def validate(file: Path, as_json: bool) -> None:
    """Check a site file and name every fault with line, allowed range and nearest name. Exit 78 on faults."""
    library = load_content(cards=cards_in_use()).library
    with faults_as_json(as_json):
        values = _site_values(file, library)
    if as_json:
        click.echo(json.dumps({"faults": [], "notes": list(values.notes)}))
        return
    for note in values.notes:
        click.echo(note, err=True)
    click.echo(f"{file}: can be used ({values.digest})")


@site.command("show")
@cards_option
@click.argument("file", type=FILE, required=False)
@click.option("--client", default="", help="As it is for this client.")
@click.option("--encounter", type=click.Choice(get_args(EncounterKind)), help="As it is in such an encounter.")
@click.option("--json", "as_json", is_flag=True)
def show_site(file: Path | None, client: str, encounter: EncounterKind | None, as_json: bool) -> None:
    """Show every threshold with the value in force under FILE (or the defaults), for all calls or for some."""
    library = load_content(cards=cards_in_use()).library
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
@cards_option
@click.argument("old")
@click.argument("new")
@AS_JSON
@database_options
def diff(old: str, new: str, as_json: bool, **flags: Any) -> None:
    """Show what changes from OLD to NEW: files, or numbers of revisions (0: nothing set). Exit 1 where they differ."""
    library = load_content(cards=cards_in_use()).library
    before, after = (_side(side, library, flags) for side in (old, new))
    found = changes(library, before, after, _today())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo("\n".join(in_words(found)) if found else "no difference")
    if found:
        stop(FAILED)


@site.command()
@AS_JSON
def schema(as_json: bool) -> None:  # noqa: ARG001 - it is JSON anyway
    """Print the JSON Schema of the site file."""
    click.echo(json.dumps(site_schema(), indent=2))


@site.command()
@click.option("--json", "as_json", is_flag=True)
@database_options
def history(as_json: bool, **flags: Any) -> None:
    """List the revisions, the newest first: state, author, time, reason, what changed."""
    with published(flags) as publishing:
        for item, state in publishing.states():
            if as_json:
                told(revision_told(item, state))
                continue
            until = f" until {item.in_force_until:%Y-%m-%d %H:%M}Z" if item.in_force_until else ""
            click.echo(
                f"{item.number}  {state}  {item.in_force_from:%Y-%m-%d %H:%M}Z{until}  {item.author}: {item.reason}"
            )
            for line in in_words(item.changes):
                click.echo(f"    {line}")


@site.command("export")
@click.argument("number", type=int, required=False)
@AS_JSON
@database_options
def export_site(number: int | None, as_json: bool, **flags: Any) -> None:
    """Print the document of a revision (default: the one in force), as `apply` takes it."""
    with published(flags) as publishing:
        found = publishing.revision(number)
        if found is None:
            if number is not None:
                stop(USAGE, f"there is no revision {number}")
            stop(FAILED, "no revision is in force")
        if as_json:
            told({"revision": found.number, "document": found.document})
        else:
            click.echo(found.document, nl=False)


@site.command()
@cards_option
@click.argument("file", type=FILE)
@click.option("--author", required=True, type=SAID, help="Who sets these values.")
@click.option("--reason", required=True, type=SAID, help="Why.")
@click.option("--approved-by", type=SAID, help="Who else looked at them.")
@click.option("--from", "begins", type=MOMENT, help="When they come into force (default: now).")
@click.option("--until", "ends", type=MOMENT, help="When they give way to those before them.")
@click.option("--based-on", type=int, help="The revision that FILE was made from (default: the newest).")
@click.option("--dry-run", is_flag=True, help="Check, and show what would change; write nothing.")
@AS_JSON
@database_options
def apply(
    file: Path, author: str, reason: str, approved_by: str | None, begins: datetime | None, ends: datetime | None,
    based_on: int | None, dry_run: bool, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Put the values of FILE in force as a new revision, within seconds on every machine of this database."""
    with faults_as_json(as_json):
        proposal = Proposal(text_of(file), author, reason, str(file), approved_by, begins, ends, based_on)
        with published(flags, writes=True) as publishing:
            _publish(publishing, proposal, dry_run, as_json)


@site.command()
@click.argument("number", type=int)
@click.option("--author", required=True, type=SAID, help="Who takes the later values back.")
@click.option("--reason", required=True, type=SAID, help="Why.")
@click.option("--approved-by", type=SAID, help="Who else looked at them.")
@click.option("--based-on", type=int, help="The newest revision that you looked at; must be given without --dry-run.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and the newest revision; write nothing.")
@AS_JSON
@database_options
def rollback(
    number: int, author: str, reason: str, approved_by: str | None, based_on: int | None, dry_run: bool, as_json: bool,
    **flags: Any,
) -> None:  # fmt: skip
    """Put the values of revision NUMBER in force again, as a new revision: what came after it is taken back."""
    if based_on is None and not dry_run:
        raise click.UsageError("Missing option '--based-on': the newest revision you looked at; --dry-run shows it.")
    with published(flags, writes=True) as publishing:
        try:
            proposal = publishing.rolled_back(number, author, reason, approved_by, based_on)
        except NotDone as error:
            told_why(error, as_json)
        _publish(publishing, proposal, dry_run, as_json)


@site.command()
@click.argument("number", type=int)
@click.option("--author", required=True, type=SAID, help="Who takes it back.")
@AS_JSON
@database_options
def withdraw(number: int, author: str, as_json: bool, **flags: Any) -> None:
    """Take back revision NUMBER, which waits for its time."""
    with published(flags) as publishing:
        try:
            publishing.withdraw(number, author)
        except NotDone as error:
            told_why(error, as_json)
    if as_json:
        told({"revision": number, "state": "withdrawn"})
    else:
        click.echo(f"revision {number} is withdrawn")


def _publish(publishing: Publishing, proposal: Proposal, dry_run: bool, as_json: bool) -> None:
    try:
        looked = publishing.look(proposal)
        if not as_json:
            click.echo("\n".join(in_words(looked.changes)) if looked.changes else "no difference")
            if dry_run:
                click.echo(f"based on revision {looked.based_on}")
        if not dry_run:
            made = publishing.publish(proposal)
    except NotDone as error:
        told_why(
            error, as_json, hint="--approved-by NAME (setting second_person)" if error.trouble == "approval" else ""
        )
    if dry_run:
        if as_json:
            told({
                "revision": None, "digest": looked.values.digest, "based_on": looked.based_on, "changes": looked.changes
            })  # fmt: skip
        return
    told_made(publishing, made, as_json)


def _side(side: str, library: Library, flags: dict[str, Any]) -> SiteValues:
    """One side of a comparison: a file, or a revision by its number."""
    if Path(side).is_file():
        return _site_values(Path(side), library)
    if not side.isdecimal():
        stop(USAGE, f"{side}: no such file, and no number of a revision")
    if not int(side):
        return SiteValues()
    with published(flags, library) as publishing:
        try:
            return publishing.values(int(side))
        except NotDone as error:
            told_why(error)
