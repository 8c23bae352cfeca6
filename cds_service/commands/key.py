"""`magnesium-cds key`: the secret that hashes and links are made with, the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cds_service.commands.common import CANNOT_CREATE, database_options, opened, stop
from cds_service.store.keys import create


@click.group()
def key() -> None:
    """The secret that hashes and links are made with: make one, or take another one into use."""


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
def make(file: Path) -> None:
    """Write a new secret to FILE, which only you can read. Give every machine the same one, by the setting key_file."""
    if file.exists():
        stop(CANNOT_CREATE, f"{file} is there already, and is left as it is")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create(file)
    except OSError as error:
        stop(CANNOT_CREATE, f"{file} cannot be written: {error.strerror}")
    click.echo(f"{file} is written. Keep a copy of it apart from the copies of the database.")


@key.command()
@database_options
def adopt(**flags: Any) -> None:
    """Go on with the key that the settings name, in place of the one that the database was written with. Where they
    name none, and the data folder has lost its own, a new one is made there.

    What was accepted or dismissed before silences nothing any more, and links to plans end.
    """
    with opened(flags, adopt=True) as store:
        click.echo(
            f"The key {store.key_name} is in use. Restart every service on this database: they go on with the other."
        )
