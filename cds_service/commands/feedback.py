"""`magnesium-cds feedback`: what clinicians did with cards, for other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cds_service.advice.loaded_content import load_content
from cds_service.commands.common import UNAVAILABLE, USAGE, cards_in_use, open_named, settings_of, stop
from cds_service.publish.feedback_export import Format, crd_metrics, exported, moment
from cds_service.store import StoreUnavailable


@click.command()
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "crd"]), default="jsonl", show_default=True)
@click.option("--since", help="Only from this day or moment on (2026-01-31, or with time and offset).")
@click.option("--until", help="Only before this day or moment.")
@click.option("--client", help="Only of this client.")
@click.option("--settings", "settings_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data-dir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the database."
)
def feedback(form: str, since: str | None, until: str | None, client: str | None, **flags: Any) -> None:
    """Print feedback on cards: a line each, as JSON Lines or CSV.

    With crd: every card shown, answered or not, in the words of Da Vinci CRD's metric data, as far as they are kept.
    """
    settings = settings_of(flags)
    try:
        bounds = [moment(text) if text else None for text in (since, until)]
    except ValueError:
        stop(USAGE, "--since and --until are days such as 2026-01-31, or times with offset.")
    with open_named(settings) as store:
        try:
            rows = store.export(*bounds, client, form == "crd")
        except StoreUnavailable as error:
            stop(UNAVAILABLE, str(error))
        reasons = load_content(cards=cards_in_use()).library.override_reasons.values()
        lines: Format = "csv" if form == "csv" else "jsonl"
        click.echo(crd_metrics(rows) if form == "crd" else exported(rows, lines, reasons), nl=False)
