"""What commands share: exit codes, messages, the settings options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from cds_service.content.yamlfile import ContentError
from cds_service.settings import Settings, SettingsError, load_settings

FAILED, USAGE, UNAVAILABLE, CANNOT_CREATE, CONFIGURATION = 1, 2, 69, 73, 78


def stop(code: int, *lines: str) -> NoReturn:
    """Messages to stderr, then the exit code."""
    for line in lines:
        click.echo(line, err=True)
    sys.exit(code)


def _store_error() -> type[Exception]:
    """Imported where something went wrong, not before: most commands need no database."""
    from cds_service.store import StoreError

    return StoreError


@contextmanager
def told_plainly() -> Iterator[None]:
    """Faults of content, settings and store become lines and an exit code, never a traceback."""
    try:
        yield
    except ContentError as error:
        count = len(error.faults)
        stop(CONFIGURATION, *map(str, error.faults), f"{count} fault{'' if count == 1 else 's'}")
    except SettingsError as error:
        stop(CONFIGURATION, str(error))
    except _store_error() as error:
        stop(CANNOT_CREATE, str(error))


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that a running service has."""
    existing = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = [
        click.option("--host", help="Address to listen on (default 127.0.0.1)."),
        click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 8000)."),
        click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder of the database."),
        click.option("--profile", type=click.Choice(["dev", "production"]), help="Default: dev."),
        click.option(
            "--fhir-server", "fhir_servers", multiple=True, help="FHIR base URL that may be read; repeatable."
        ),
        click.option("--origin", "origins", multiple=True, help="Browser origin that may call; repeatable."),
        click.option("--site", type=existing, help="File of this site's own values (YAML)."),
        click.option("--public-url", help="Base URL that clients and browsers see."),
        click.option("--on-incomplete", type=click.Choice(["info_card", "412"]), help="Default: info_card."),
        click.option("--workers", type=click.IntRange(1, 64), help="Worker processes (default 2)."),
        click.option("--settings", "settings_file", type=existing, help="Settings file (TOML)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def settings_of(flags: dict[str, Any]) -> Settings:
    """Settings from flags, environment and settings file; exits 78 with the reason."""
    file = flags.pop("settings_file", None)
    with told_plainly():
        return load_settings(flags, file)
    raise AssertionError
