"""`magnesium-cds screen-compare`: who of a screened population changes under other site values."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from cds_service.advice.loaded_content import load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import FAILED, FILE, USAGE, cards_in_use, cards_option, counted, stop, text_of
from cds_service.content.site import NO_SITE, read_site
from cds_service.logs import configure

NAMED = 5  # rules in a line

if TYPE_CHECKING:
    from cds_service.population.screening.change import Change, Example


@click.command("screen-compare")
@cards_option
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--site", "site", type=FILE, help="Site values before (YAML). Default: those that it was screened under.")
@click.option("--compare", "other", type=FILE, required=True, help="Site values after (YAML).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Who changes, as .csv or .parquet.")
@click.option("--every", is_flag=True, help="Try every rule on every patient: the same answer, slower.")
@click.option("--processes", type=click.IntRange(1, 256), help="Default: one for each core.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
def screen_compare(
    folder: Path, site: Path | None, other: Path, out: Path | None, every: bool, processes: int | None, as_json: bool
) -> None:
    """Say who changes in FOLDER, a finished screening, under other site values.

    It is made from kept facts: no chart is read."""
    try:
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError:
        stop(FAILED, "screen-compare needs the extra of screen; in a checkout: pip install '.[screen]'")
    if out and out.suffix not in (".csv", ".parquet"):
        stop(USAGE, f"{out}: --out takes a file that ends with .csv or .parquet")
    configure("WARNING")
    from cds_service.population.screening.change import compare_screened, write_changed
    from cds_service.population.screening.screened import CannotCompare, asked_of, sides_of

    content = load_content(cards=cards_in_use())
    keys = frozenset(all_needs(content.library))
    try:
        asked = asked_of(folder)
        text = text_of(site) if site else str(asked.get("site_values", ""))
        named = str(site) if site else "site values of the screening"
        before = read_site(text, named, content.library, keys) if site or text else NO_SITE
        after = read_site(text_of(other), str(other), content.library, keys)
        sides = sides_of(asked, content, before, after)
        found = compare_screened(
            folder, sides[0].rulebook, sides[1].rulebook, content, sides[0].now,
            processes=processes or os.cpu_count() or 1, every=every,
            progress=lambda done, of: click.echo(f"{done} of {of} shares tried", err=True),
        )  # fmt: skip
    except CannotCompare as fault:
        stop(USAGE, f"{fault}.")
    except OSError as fault:
        stop(FAILED, f"{fault.filename or folder}: {fault.strerror}.")
    if as_json:
        click.echo(orjson.dumps(found.told(), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(lines(found)))
    for line in found.not_exported:
        click.echo(f"not looked at, since it was not exported: {line}", err=True)
    if out:
        try:
            write_changed(found, out)
        except OSError as fault:
            stop(FAILED, f"{out} cannot be written: {os.strerror(fault.errno or errno.EIO)}.")


def lines(found: Change) -> list[str]:
    """The answer as lines of text."""
    told = found.told()
    rate = found.rows / found.seconds if found.seconds else 0
    rules = "every rule" if found.rules is None else counted(len(found.rules), "rule")
    made = [
        f"{counted(found.patients, 'patient')}, {counted(found.rows, 'call')}: {rules} tried on {found.found.tried}; "
        f"the others cannot change ({found.seconds:.1f} s, {rate:.0f} calls a second)",
        f"{counted(told['patients_changed'], 'patient')} change",
    ]
    for rule, ways in found.ways().items():
        made.append(f"  {rule}")
        per = told["rules"][rule]["per_1000"]
        made += [f"    {way}: {number} ({per[way]} per 1,000 patients)" for way, number in sorted(ways.items())]
    for why, number in told["not_read"].items():
        made.append(f"not looked at: {counted(number, 'call')} ({why})")
    for side, by_rule in told["not_evaluated_of_tried"].items():
        made += _most(f"not known {side}, of those tried", by_rule)
    made += _most(
        "fires before and after, of those tried, where a card may print another limit", told["fired_before_and_after"]
    )
    for example in found.examples:
        made += ["", *_example(example)]
    return made


def _most(what: str, by_rule: Mapping[str, int]) -> list[str]:
    """The rules with the most patients in one line, and how many are not named."""
    if not by_rule:
        return []
    ordered = sorted(by_rule.items(), key=lambda each: (-each[1], each[0]))
    named = ", ".join(f"{rule} {number}" for rule, number in ordered[:NAMED])
    rest = len(ordered) - NAMED
    return [f"{what}: {named}" + (f", and {counted(rest, 'further rule')} (--json names all)" if rest > 0 else "")]


def _example(example: Example) -> list[str]:
    one = example.changed
    cards = [f"[{card.indicator}] {card.summary}" if card else "no card" for card in (example.before, example.after)]
    return [f"{one.key} [{one.hook}] {one.rule}: {one.way}", f"  before: {cards[0]}", f"  after:  {cards[1]}"]
