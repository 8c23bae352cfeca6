"""`magnesium-cds site preview`: what site values would do to many patients, before they are live."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson

from cds_service.advice.loaded_content import Content, load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import (
    FAILED,
    FILE,
    USAGE,
    cards_in_use,
    cards_option,
    database_options,
    settings_of,
    stop,
    text_of,
)
from cds_service.commands.facts import opened
from cds_service.commands.site_publishing import published
from cds_service.content.library import Library
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE, SiteValues, read_site
from cds_service.logs import configure
from cds_service.population import Cohort, Comparison, compare, samples_cohort, scenarios_cohort, shipped_cohort
from cds_service.population.attrition import Attrition
from cds_service.population.compare import CardSeen
from cds_service.population.kept import kept_cohort
from cds_service.population.uploads import MOST_BYTES, TooLarge, read_upload
from cds_service.spelling import nearest

SHIPPED = ("samples", "scenarios", "shipped")
KEPT = "kept"


@click.command()
@cards_option
@click.argument("file", type=FILE)
@click.option("--against", help="Site file, or number of a revision (0: nothing set). Default: nothing set.")
@click.option(
    "--cohort", "cohorts", multiple=True, default=("samples",),
    help="samples, scenarios, shipped (both), kept (real calls), or a file of patients: Bundle or NDJSON; repeatable.",
)  # fmt: skip
@click.option("--rule", help="Also say at which test of this rule patients fall.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@database_options
def preview(
    file: Path, against: str | None, cohorts: tuple[str, ...], rule: str | None, as_json: bool, **flags: Any
) -> None:
    """Say what the site values in FILE would do to many patients: cards that come, go or read differently."""
    configure("WARNING")
    content, now = load_content(cards=cards_in_use()), datetime.now(UTC)
    library = content.library
    after = make_rulebook(library, _read(text_of(file), str(file), library), now.date())
    before = make_rulebook(library, _against(against, library, flags), now.date())
    if rule is not None and rule not in after.rules:
        stop(USAGE, f"there is no rule {rule}{nearest(rule, after.rules)}")
    if cohorts == (KEPT,):
        with opened(settings_of(dict(flags))) as store:
            if store is None:
                stop(FAILED, "No calls are kept: setting keep_facts.")
            found = compare(kept_cohort(store.all, now.date()), before, after, content, now, rule=rule)
    else:
        found = compare(_cohort(cohorts, content, now), before, after, content, now, rule=rule)
    if as_json:
        click.echo(orjson.dumps(found.told(), option=orjson.OPT_INDENT_2, default=str).decode())
    else:
        click.echo("\n".join(lines(found)))
    if not found.charts:
        stop(FAILED, "No chart could be read.")


def _read(text: str, name: str, library: Library) -> SiteValues:
    return read_site(text, name, library, frozenset(all_needs(library)))


def _against(against: str | None, library: Library, flags: dict[str, Any]) -> SiteValues:
    """The values before: a file, or a revision. Exits 2 where it is neither."""
    if against is None or against == "0":
        return NO_SITE
    if Path(against).is_file():
        return _read(text_of(Path(against)), against, library)
    if not against.isdecimal():
        stop(USAGE, f"{against}: no such file, and no number of a revision")
    with published(flags, library) as publishing:
        found = publishing.revision(int(against))
        if found is None:
            stop(USAGE, f"there is no revision {against}")
        return publishing.read(found.document, f"revision {against}")


def _cohort(names: tuple[str, ...], content: Content, now: datetime) -> Cohort:
    """One that ships, or the files. Exits 2 where a file is not there."""
    if len(names) == 1 and names[0] in SHIPPED:
        if names[0] == "shipped":
            return shipped_cohort(content, now)
        return samples_cohort(now) if names[0] == "samples" else scenarios_cohort(content, now)
    files = []
    left = MOST_BYTES + 1
    for name in names:
        try:
            with Path(name).open("rb") as opened:
                files.append((Path(name).name, _some(opened, left)))
        except OSError:
            stop(USAGE, f"{name}: cannot be read. --cohort takes {', '.join(SHIPPED)}, or files of patients")
        left -= len(files[-1][1])
    try:
        return read_upload(files)
    except TooLarge as fault:
        stop(FAILED, str(fault))


def _some(opened: BinaryIO, most: int) -> bytes:
    """A file's bytes, no more of them than are tried."""
    return opened.read(max(most, 1))


def lines(found: Comparison) -> list[str]:
    """A comparison as lines of text."""
    made = [f"{found.cohort}: {found.charts} charts, {found.calls} calls", found.words()]
    for rule, each in sorted(found.rules.items()):
        outcomes = "".join(f"; {what}: {number}" for what, number in sorted(each.outcomes.items()))
        made.append(f"  {rule}: +{each.appears} cards, -{each.vanishes}, {each.changes} read differently{outcomes}")
    for why, number in found.not_read.items():
        made.append(f"not read: {number} ({why})")
    made += [f"left out: {remark}" for remark in found.remarks]
    made += [f"passed over: {number} {kind} (no rule reads this kind)" for kind, number in found.passed_over.items()]
    for example in found.examples:
        made += ["", f"{example.case} [{example.hook}]: the card of {example.rule} {example.change}"]
        made += [f"  before: {_card(example.before)}", f"  after:  {_card(example.after)}"]
    for side, counted in found.attrition.items():
        made += ["", f"Where patients fall, {side}:", *_steps(counted)]
    return made


def _card(card: CardSeen | None) -> str:
    return f"[{card.indicator}] {card.summary}" if card else "no card"


def _steps(counted: Attrition) -> list[str]:
    told = [
        f"  {step.reached} came to: {step.test}: {step.fell} fell, {step.unknown} not known" for step in counted.steps()
    ]
    return [*told, f"  {counted.fired} of {counted.calls}: the rule fires"]
