"""`magnesium-cds stats`: what each rule does, in numbers, as on the console's page of rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import orjson

from cds_service.advice.loaded_content import load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import (
    FAILED,
    UNAVAILABLE,
    USAGE,
    cards_in_use,
    cards_option,
    database_options,
    open_named,
    settings_of,
    stop,
)
from cds_service.content.current import CurrentRulebook, site_source
from cds_service.publish.csv_text import csv_text
from cds_service.publish.feedback_export import moment
from cds_service.spelling import nearest
from cds_service.store import StoreUnavailable
from cds_service.watch.statistics import RuleNumbers, rule_numbers

DAYS = 28


@click.command()
@cards_option
@click.option("--rule", help="Only this rule.")
@click.option("--client", help="Only calls of this client.")
@click.option("--since", help="From this day or moment on (2026-01-31, or with time and offset); default: 28 days ago.")
@click.option("--until", help="Before this day or moment; default: now.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV.")
@database_options
def stats(
    rule: str | None,
    client: str | None,
    since: str | None,
    until: str | None,
    as_json: bool,
    as_csv: bool,
    **flags: Any,
) -> None:
    """Print how often each rule fires, is shown, accepted and overridden."""
    settings = settings_of(flags)
    if as_json and as_csv:
        stop(USAGE, "--json and --csv: choose one.")
    now = datetime.now(UTC)
    try:
        end = moment(until) if until else now
        begin = moment(since) if since else end - timedelta(days=DAYS)
    except ValueError:
        stop(USAGE, "--since and --until are days such as 2026-01-31, or times with offset.")
    if begin >= end:
        stop(USAGE, "--since is not before --until.")
    library = load_content(cards=cards_in_use()).library
    if rule is not None and rule not in library.rules:
        stop(FAILED, f"There is no rule {rule}{nearest(rule, library.rules)}")
    with open_named(settings) as store:
        current = CurrentRulebook(library, site_source(settings, store, lambda: now), frozenset(all_needs(library)))
        try:
            found = rule_numbers(store, current.on(now.date()), settings.split_services, begin, end, client)
        except StoreUnavailable as error:
            stop(UNAVAILABLE, str(error))
    wanted = [each for each in found if rule in (None, each.rule)]
    rows = [each.row() for each in wanted]
    if as_json:
        told = {"since": begin, "until": end, "client": client, "rules": rows}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())
    elif as_csv:
        click.echo(csv_text(list(rows[0]), (list(row.values()) for row in rows), mark=False), nl=False)
    else:
        click.echo("\n".join(_lines(wanted, begin, end, everything=rule is not None)))


def _lines(found: list[RuleNumbers], since: datetime, until: datetime, everything: bool) -> list[str]:
    calls = max((each.calls for each in found), default=0)
    made = [f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M %Z}"]
    shown = [each for each in found if everything or each.fired or each.answers.shown or each.state != "active"]
    for each in sorted(shown, key=lambda one: (-one.fired, one.rule)):
        rate = "no calls" if each.per_100 is None else f"{each.per_100:.2f} per 100 calls"
        made.append(f"{each.rule} ({each.state}): fired {each.fired}, {rate}; shown {each.answers.shown}")
        if each.answers.shown:
            told = f"  accepted {each.answers.accepted}, {each.accepted.words()}; "
            told += (
                f"overridden {each.answers.overridden}, {each.overridden.words()}; no answer {each.answers.unanswered}"
            )
            made.append(told)
        made += [
            f"  reason {words or code or 'none given'}: {n}" for (code, words), n in each.answers.reasons.most_common()
        ]
        if each.review:
            made.append(f"  to be reviewed: {each.review}")
    silent = len(found) - len(shown)
    if silent:
        made.append(f"{silent} other rules did not fire" + ("" if calls else "; no call was counted"))
    return made
