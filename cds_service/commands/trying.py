"""`magnesium-cds evaluate`: one patient's cards and the outcome of every rule, without a server."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click
import orjson
from rich.console import Console

from cds_service import create_app
from cds_service.advice.one_bundle import NotOnePatient, hook_request, is_hook_request
from cds_service.commands.common import FAILED, stop, told_plainly
from cds_service.commands.reading import print_cards
from cds_service.logs import configure
from cds_service.settings import Settings

HOOKS = ("patient-view", "order-select", "order-sign")


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--hook", type=click.Choice(HOOKS), help="Hook to try a Bundle with (default patient-view).")
@click.option("--site", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Site values to try.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON.")
def evaluate(file: TextIO, hook: str | None, site: Path | None, as_json: bool) -> None:
    """Evaluate FILE ('-' for stdin): a hook request, or a FHIR Bundle of one patient.

    Prints the cards and the outcome of every rule, with the values used. Exit 1 where the request is refused.
    """
    configure("WARNING")
    try:
        document = json.loads(file.read())
    except (ValueError, RecursionError):
        stop(FAILED, f"{file.name}: not JSON")
    with tempfile.TemporaryDirectory(prefix="magnesium-cds-") as folder, told_plainly():
        app = create_app(Settings(data_dir=Path(folder), site=site))
        advisor = app.extensions["advisor"]
        body = _as_request(document, hook, advisor, file.name)
        services = {item.hook: name for name, item in advisor.current.library.services.items()}
        named = str(body.get("hook"))
        if named not in services:
            stop(FAILED, f"{file.name}: no service answers the hook {named}")
        try:
            sent = orjson.dumps(body)
        except TypeError:  # a number or text that is no JSON of the wire
            stop(FAILED, f"{file.name}: cannot be written as JSON")
        address = f"/cds-services/{services[named]}"
        response = app.test_client().post(address, data=sent, content_type="application/json")
        answer: dict[str, Any] = orjson.loads(response.data)
        advisor.store.close()
    if response.status_code != 200:
        places = [(issue["details"]["text"], ", ".join(issue.get("expression", []))) for issue in answer["issue"]]
        stop(
            FAILED,
            f"Refused ({response.status_code}):",
            *[f"  {place}: {text}" if place else f"  {text}" for text, place in places],
        )
    if as_json:
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console(highlight=False)
    print_cards(console, named, answer)
    for card in answer["cards"]:
        for item in card["extension"]["org.magnesium-cds"].get("inputs", []):
            console.print("  used: " + ", ".join(f"{key} {value}" for key, value in item.items()), markup=False)
    for outcome in answer["extension"]["org.magnesium-cds"]["outcomes"]:
        reason = f": {outcome['reason']}" if "reason" in outcome else ""
        console.print(f"{outcome['outcome']:15} {outcome['rule']}{reason}", markup=False)


def _as_request(document: Any, hook: str | None, advisor: Any, name: str) -> dict[str, Any]:
    if is_hook_request(document):
        if hook and document["hook"] != hook:
            stop(FAILED, f"{name}: this is a request of the hook {document['hook']}, not {hook}")
        return dict(document)
    if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
        stop(FAILED, f"{name}: neither a CDS Hooks request nor a FHIR Bundle")
    wanted = hook or "patient-view"
    rulebook = advisor.current.on(datetime.now(UTC).date())
    service = next(name for name, item in rulebook.library.services.items() if item.hook == wanted)
    try:
        return hook_request(document, wanted, advisor.needs(service, rulebook).values())
    except NotOnePatient as error:
        stop(FAILED, f"{name}: {error}")
