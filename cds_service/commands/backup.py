"""`magnesium-cds backup`: a copy of the SQLite database while the service runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cds_service.commands.common import CANNOT_CREATE, UNAVAILABLE, USAGE, database_options, settings_of, stop
from cds_service.store.backup import copy_sqlite
from cds_service.store.engine import read_url


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@database_options
def backup(file: Path, **flags: Any) -> None:
    """Copy the SQLite database to FILE while the service runs. Of PostgreSQL, pg_dump makes a copy.

    The key is not in it: keep a copy of that apart.
    """
    settings = settings_of(dict(flags))
    if settings.data_dir is None and settings.database is None:
        stop(USAGE, "Name the folder of the database with --data-dir, or a file with --settings.")
    source = read_url(settings.database, settings.data_dir)
    if not isinstance(source, Path):
        stop(USAGE, "The database is PostgreSQL: pg_dump --format=custom makes a copy (docs/operate/backup.md).")
    if not source.exists():
        stop(UNAVAILABLE, f"There is no database {source}.")
    if file.exists():
        stop(CANNOT_CREATE, f"{file} is there already, and is left as it is")
    try:
        size = copy_sqlite(source, file)
    except OSError as error:
        stop(CANNOT_CREATE, f"{file} cannot be written: {error.strerror}.")
    click.echo(f"{file} is written: {size:,} bytes, checked.")
