"""`magnesium-cds evaluate`: one patient's cards and the outcome of every rule, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson
from rich.console import Console, Group
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from cds_service.advice.advise import advise
from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.card_text import MAX_CARDS, CardStyle
from cds_service.commands.common import DOCUMENT, FILE, cards_option
from cds_service.commands.patient_file import in_force, read_document, read_patient
from cds_service.hooks.profile import Dialect
from cds_service.logs import configure
from cds_service.trust.profile import PRESETS, Profile

HOOKS = ("patient-view", "order-select", "order-sign")
COLOURS = {"info": "blue", "warning": "yellow", "critical": "red"}
# As a service without further settings would write its cards.
STYLE = CardStyle(base_url="http://localhost", dev=True, phrase_in_text=True)


@click.command()
@cards_option
@click.argument("file", type=DOCUMENT)
@click.option("--hook", type=click.Choice(HOOKS), help="Hook to try a Bundle with (default patient-view).")
@click.option("--site", type=FILE, help="Site values to try.")
@click.option("--preset", type=click.Choice(PRESETS), help="As this kind of EHR would get it.")
@click.option("--client", default="", help="The EHR's name, by which the site values know it and its orders.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON.")
def evaluate(
    file: BinaryIO, hook: str | None, site: Path | None, preset: str | None, client: str, as_json: bool
) -> None:
    """Evaluate FILE ('-' for stdin): a hook request, or a FHIR Bundle of one patient.

    Prints the cards and the outcome of every rule, with the values used. Exit 1 where the request is refused.
    """
    configure("WARNING")
    document = read_document(file)
    held = in_force(site)
    asked = read_patient(document, held, hook)
    asks = Profile.model_validate({"preset": preset} if preset else {})
    style = replace(STYLE, most=asks.max_cards or MAX_CARDS, units=asks.units)
    advice = advise(
        asked.chart, held.rulebook, asked.service,
        units=held.content.vocabulary.units, style=style, encounter_named=asked.encounter_named,
        client=client,
    )  # fmt: skip
    answer = Dialect(asks, client, asked.hook, held.rulebook).answer(advice)
    if as_json:
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console(highlight=False)
    print_cards(console, asked.hook, answer, without=STYLE.base_url)
    for card in answer["cards"]:
        for item in card["extension"][EXTENSION].get("inputs", []):
            console.print("  used: " + ", ".join(f"{key} {value}" for key, value in item.items()), markup=False)
    for outcome in answer["extension"][EXTENSION]["outcomes"]:
        reason = f": {outcome['reason']}" if "reason" in outcome else ""
        console.print(f"{outcome['outcome']:15} {outcome['rule']}{reason}", markup=False)


def print_cards(console: Console, title: str, answer: Mapping[str, Any], without: str = "") -> None:
    """The cards of one answer, with what they suggest and where their basis is. `without`: the address of a service
    that does not run: for its pages, a command that tells the same."""
    console.rule(escape(title), align="left")
    cards = answer.get("cards", [])
    if not cards:
        console.print("No card: every check that applies was made, and none has anything to say.\n")
    for card in cards:
        parts: list[Any] = [Text(card["summary"], style="bold"), Text()]
        if card.get("detail"):
            parts += [Markdown(card["detail"]), Text()]
        for suggestion in card.get("suggestions", []):
            parts.append(Text(f"[ {suggestion['label']} ]", style="reverse"))
        parts.append(Text(f"Source: {card['source']['label']}", style="dim"))
        told = card.get("extension", {}).get(EXTENSION, {})
        if without and "version" in told:
            rules = [told["rule"], *(each["rule"] for each in told.get("alsoFired", ()))]
            parts += [Text(f"Evidence: magnesium-cds show {rule}", style="dim") for rule in rules]
        style = COLOURS[card["indicator"]]
        console.print(Panel(Group(*parts), title=card["indicator"], border_style=style, title_align="left"))
        for link in card.get("links", []):  # below, since an address that is cut cannot be clicked
            if not (without and link["url"].startswith(f"{without}/")):
                console.print(Text(f"{link['label']}: {link['url']}", style="dim"), soft_wrap=True)
    console.print()
