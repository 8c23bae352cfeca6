"""`magnesium-cds why`: why one rule fired for one patient, or why it did not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from cds_service.commands.common import FAILED, FILE, stop
from cds_service.commands.evaluate import HOOKS
from cds_service.commands.patient_file import in_force, read_document, read_patient
from cds_service.logs import configure
from cds_service.publish.why import lines
from cds_service.publish.why import why as why_of
from cds_service.spelling import nearest


@click.command()
@click.argument("file", type=click.File("rb"))
@click.argument("rule")
@click.option("--hook", type=click.Choice(HOOKS), help="Hook to try a Bundle with (default patient-view).")
@click.option("--site", type=FILE, help="Site values to try.")
@click.option("--client", default="", help="The EHR's name, by which the site values know it.")
@click.option("--json", "as_json", is_flag=True, help="The tree as JSON.")
def why(file: BinaryIO, rule: str, hook: str | None, site: Path | None, client: str, as_json: bool) -> None:
    """Say why RULE fired for the patient in FILE ('-' for stdin), or why it did not.

    Prints each test of the rule with what was found, the limit and where it comes from. Exit 1 where the request is
    refused, or the hook has no such rule.
    """
    configure("WARNING")
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
