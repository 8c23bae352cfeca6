"""Commands for integrators: the OpenAPI document, and examples of calls."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from cds_service import __version__
from cds_service.commands.common import CANNOT_CREATE, USAGE, settings_of, stop
from cds_service.spelling import nearest

SETTINGS = click.Path(exists=True, dir_okay=False, path_type=Path)
TARGET = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--out", type=TARGET, help="File to write, instead of stdout.")
@click.option("--settings", "settings_file", type=SETTINGS, help="Settings file (TOML) of the service described.")
def openapi(out: Path | None, settings_file: Path | None) -> None:
    """Print the OpenAPI 3.1 document of the service, as it is served at /openapi.json."""
    from cds_service.advice.loaded_content import load_content
    from cds_service.web.described import openapi_text

    text = openapi_text(load_content().library, settings_of({"settings_file": settings_file}), __version__)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        stop(CANNOT_CREATE, f"{out}: {error.strerror}")
    click.echo(str(out), err=True)


@click.command()
@click.argument("name", required=False)
def example(name: str | None) -> None:
    """Print the body of the example NAME, made for this moment; without NAME list them."""
    from cds_service.advice.loaded_content import load_content
    from cds_service.advice.needs import needs_of
    from cds_service.content.rulebook import make_rulebook
    from cds_service.content.site import NO_SITE
    from cds_service.publish.example_calls import body_of, examples

    listed = examples()
    if name is None:
        click.echo("\n".join(f"{key:30} {item.title}" for key, item in listed.items()))
        return
    if name not in listed:
        stop(USAGE, f"no example {name}{nearest(name, listed)}")
    told, now = listed[name], datetime.now(UTC)
    needs: dict[str, Any] = {}
    if told.call == "hook":
        rulebook = make_rulebook(load_content().library, NO_SITE, now.date())
        ids = {service.hook: id_ for id_, service in rulebook.library.services.items() if service.hook == told.hook}
        needs = {key: need.template for key, need in needs_of(rulebook, next(iter(ids.values()))).items()}
    click.echo(orjson.dumps(body_of(name, told, needs, now), option=orjson.OPT_INDENT_2).decode())
