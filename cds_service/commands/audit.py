"""`magnesium-cds audit`: the console's audit log, printed and checked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import orjson

from cds_service.commands.common import FAILED, MOMENT, USAGE, database_options, opened, stop
from cds_service.publish.csv_text import csv_lines
from cds_service.store.audit import Wanted, details_in_words, line_as_json


@click.group()
def audit() -> None:
    """The console's audit log: print it, and check that no line was changed."""


@audit.command("list")
@click.option("--person", default="", help="Only what this person did.")
@click.option("--action", default="", help="Only this action, as 'roles changed'.")
@click.option("--since", type=MOMENT, help="Only from this time on.")
@click.option("--until", type=MOMENT, help="Only before this time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--csv", "as_csv", is_flag=True)
@database_options
def list_lines(
    person: str, action: str, since: datetime | None, until: datetime | None, as_json: bool, as_csv: bool, **flags: Any
) -> None:
    """Print the lines, the newest first."""
    if as_json and as_csv:
        stop(USAGE, "--json and --csv: choose one")
    with opened(flags) as store:
        lines = store.audit_lines(Wanted(person, action, since, until))
    names = ("number", "at", "person", "action", "target", "details", "before", "hash")
    if as_csv:
        click.echo(csv_lines([names]), nl=False)
    for line in lines:
        told = line_as_json(line)
        if as_json:
            click.echo(orjson.dumps(told).decode())
        elif as_csv:
            cells = {**told, "details": details_in_words(line.details)}
            click.echo(csv_lines([[cells[name] for name in names]]), nl=False)
        else:
            more = f" ({details_in_words(line.details)})" if line.details else ""
            who = line.person or "(nobody signed in)"
            click.echo(f"{line.number}  {line.at:%Y-%m-%d %H:%M}Z  {who}  {line.action}  {line.target}{more}")


@audit.command()
@click.option("--number", type=int, help="A line whose hash was kept elsewhere.")
@click.option("--hash", "hash_", help="The hash that it had.")
@click.option("--json", "as_json", is_flag=True)
@database_options
def verify(number: int | None, hash_: str | None, as_json: bool, **flags: Any) -> None:
    """Check that each line follows the one before. Exit 1, with the place, where one was changed, added or taken out.

    With --number and --hash also that the line kept elsewhere is still there: else the end may have been cut off.
    """
    if (number is None) != (hash_ is None):
        stop(USAGE, "--number and --hash go together")
    with opened(flags) as store:
        broken = store.broken_line()
        if broken is None and number is not None:
            kept = store.audit_lines(Wanted(below=number + 1), 1)
            if not kept or kept[0].number != number:
                broken = (number, "is missing: the end of the log was cut off")
            elif kept[0].hash != hash_:
                broken = (number, "is another line than the one that was kept elsewhere")
        newest = next(iter(store.audit_lines(most=1)), None)
    if as_json:
        told = {"whole": broken is None, "broken_line": broken and {"number": broken[0], "why": broken[1]},
                "newest": newest and {"number": newest.number, "hash": newest.hash}}  # fmt: skip
        click.echo(orjson.dumps(told).decode())
    elif broken is None:
        click.echo(f"whole: {newest.number if newest else 0} lines")
        if newest:
            click.echo(f"the newest is {newest.number}, with the hash {newest.hash}")
    if broken is not None:
        stop(FAILED, f"line {broken[0]} {broken[1]}")
