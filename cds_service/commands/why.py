"""`magnesium-cds why`: why one rule fired for one patient, or why it did not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson

from cds_service.commands.common import DOCUMENT, FAILED, FILE, USAGE, cards_option, database_options, settings_of, stop
from cds_service.commands.evaluate import HOOKS
from cds_service.commands.patient_file import in_force, read_document, read_patient
from cds_service.logs import configure
from cds_service.publish.why import lines
from cds_service.publish.why import why as why_of
from cds_service.spelling import nearest


@click.command()
@cards_option
@click.argument("file", type=DOCUMENT, required=False)
@click.argument("rule", required=False)
@click.option("--card", help="The uuid of a card that was shown: what is on record of it. Then without FILE and RULE.")
@click.option("--hook", type=click.Choice(HOOKS), help="Hook to try a Bundle with (default patient-view).")
@click.option("--site", type=FILE, help="Site values to try.")
@click.option("--client", default="", help="The EHR's name, by which the site values know it.")
@click.option("--json", "as_json", is_flag=True, help="The tree as JSON.")
@database_options
def why(
    file: BinaryIO | None, rule: str | None, card: str | None, hook: str | None, site: Path | None, client: str,
    as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Say why RULE fired for the patient in FILE ('-' for stdin), or why it did not.

    Prints each test of the rule with what was found, the limit and where it comes from. Exit 1 where the request is
    refused, or the hook has no such rule.
    """
    configure("WARNING")
    if card is not None:
        if file is not None or rule is not None:
            stop(USAGE, "With --card give no FILE and no RULE.")
        _of_card(card, site, as_json, flags)
        return
    if file is None or rule is None:
        stop(USAGE, "Give FILE and RULE, or --card UUID.")
    document = read_document(file)
    held = in_force(site)
    asked = read_patient(document, held, hook)
    rulebook = held.rulebook.at(client, asked.chart.facts.person.encounter_class)
    known = [each.id for each in rulebook.of_service(asked.service)]
    if rule not in known:
        stop(FAILED, f"{asked.hook} has no rule {rule}{nearest(rule, known)}")
    units = held.content.vocabulary.units
    told = why_of(asked.chart, held.rulebook, asked.service, rule, units, asked.encounter_named, client)
    click.echo(orjson.dumps(asdict(told), option=orjson.OPT_INDENT_2).decode() if as_json else "\n".join(lines(told)))


def _of_card(card: str, site: Path | None, as_json: bool, flags: dict[str, Any]) -> None:
    """What is on record of one card. Exits 1 where there is none."""
    from cds_service.commands.facts import opened as facts_opened
    from cds_service.commands.site_publishing import published
    from cds_service.publish.recorded import lines_of, recorded

    settings = settings_of(dict(flags))
    held = in_force(site or settings.site)
    with published(flags, held.content.library) as publishing:
        found = publishing.store.card(card)
        if found is None:
            stop(FAILED, "No such card is on record: it may be older than keep_cards_days, or of another database.")
        with facts_opened(settings) as facts:
            kept = facts.of_card(card) if facts else None
        revisions = publishing.store.revisions()
        told = recorded(found, held.content, revisions, publishing.read, held.rulebook, kept)
    if as_json:
        click.echo(orjson.dumps(asdict(told), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join([*lines_of(told), *(lines(told.tests) if told.tests else [])]))
