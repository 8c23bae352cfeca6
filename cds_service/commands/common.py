"""What commands share: exit codes, messages, the settings options."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cds_service.content.yamlfile import ContentError, Fault
from cds_service.settings import Settings, SettingsError, load_settings
from cds_service.spelling import said

if TYPE_CHECKING:
    from cds_service.store import Store

FAILED, USAGE, UNAVAILABLE, CANNOT_CREATE, CONFIGURATION = 1, 2, 69, 73, 78
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
MOMENT = click.DateTime(["%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z"])
FOLDER = click.Path(file_okay=False, path_type=Path)
"""A folder that need not be there yet."""
CARDS = click.Path(exists=True, file_okay=False, path_type=Path)
CARDS_HELP = "Folder of somebody else's rules, beside ours; repeatable."


class _Document(click.File):
    """A file that is read as bytes, `-` for standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-" and sys.stdin is None:
            self.fail("standard input is closed: name a file, or send the document there.", param, ctx)
        return super().convert(value, param, ctx)


DOCUMENT = _Document("rb")


class _Said(click.ParamType[str]):
    """Words that are more than blanks: a variable of a script that is not set names nobody."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return said(value) or self.fail("it is empty.", param, ctx)


SAID = _Said()


def stop(code: int, *lines: str) -> NoReturn:
    """Messages to stderr, then the exit code."""
    for line in lines:
        click.echo(line, err=True)
    sys.exit(code)


def text_of(file: Path) -> str:
    """A file's text. Raises ContentError."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ContentError([Fault(str(file), 0, "", "cannot be read as UTF-8 text")]) from None


def stop_for(error: Exception) -> None:
    """A fault of content, settings or store as lines and the exit code; nothing for any other."""
    from cds_service.store import StoreAway, StoreError, StoreUnavailable  # here, since most commands need no database

    if isinstance(error, ContentError):
        stop(CONFIGURATION, *map(str, error.faults), counted(len(error.faults), "fault"))
    if isinstance(error, SettingsError):
        stop(CONFIGURATION, str(error))
    if isinstance(error, StoreAway | StoreUnavailable):
        stop(UNAVAILABLE, str(error))
    if isinstance(error, StoreError):
        stop(CANNOT_CREATE, str(error))
    if isinstance(error, OSError) and error.errno != errno.EPIPE:  # click's own: who read has gone
        stop(FAILED, f"{error.filename or 'The output'}: {error.strerror}.")


def counted(number: int, thing: str) -> str:
    """'1 fault', '2 faults'."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that a running service has."""
    options = [
        click.option("--host", help="Address to listen on (default 127.0.0.1)."),
        click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 8000)."),
        click.option("--data-dir", type=FOLDER, help="Folder of the database."),
        click.option("--profile", type=click.Choice(["dev", "production"]), help="Default: dev."),
        click.option(
            "--fhir-server", "fhir_servers", multiple=True, help="FHIR base URL that may be read; repeatable."
        ),
        click.option("--origin", "origins", multiple=True, help="Browser origin that may call; repeatable."),
        click.option("--site", type=FILE, help="File of this site's own values (YAML)."),
        click.option("--cards", multiple=True, type=CARDS, help=CARDS_HELP),
        click.option("--public-url", help="Base URL that clients and browsers see."),
        click.option("--on-incomplete", type=click.Choice(["info_card", "412"]), help="Default: info_card."),
        click.option(
            "--dev-preset", type=click.Choice(["epic", "oracle", "crd", "sandbox", "generic"]), help="dev: kind of EHR."
        ),
        click.option("--console", is_flag=True, default=None, help="Serve the console too."),
        click.option("--workers", type=click.IntRange(1, 64), help="Worker processes (default 2)."),
        click.option("--settings", "settings_file", type=FILE, help="Settings file (TOML)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def settings_of(flags: dict[str, Any]) -> Settings:
    """Settings from flags, environment and settings file. Raises SettingsError."""
    file = flags.pop("settings_file", None)
    return load_settings(flags, file)


def _remember_cards(context: click.Context, _: click.Parameter, value: tuple[Path, ...]) -> None:
    context.meta[CARDS_HELP] = value


cards_option = click.option(
    "--cards", multiple=True, type=CARDS, help=CARDS_HELP, expose_value=False, callback=_remember_cards
)
"""Of a command that reads content, whatever else it is given; see `cards_in_use`."""


def cards_in_use() -> tuple[Path, ...]:
    """The folders of other people's rules that the command line, the environment or the settings file of this command
    names. Raises SettingsError."""
    context = click.get_current_context(silent=True)
    given = context.params.get("settings_file") if context else None
    return load_settings({"cards": context.meta.get(CARDS_HELP) if context else None}, given).cards


@contextmanager
def faults_as_json(wanted: bool) -> Iterator[None]:
    """Where it is wanted, faults of the content go to stdout as JSON, with exit code 78."""
    try:
        yield
    except ContentError as error:
        if not wanted:
            raise
        faults = [{"file": f.file, "line": f.line, "key": f.key, "message": f.message} for f in error.faults]
        click.echo(json.dumps({"faults": faults}, indent=1))
        stop(CONFIGURATION)


def database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the database is."""
    options = [
        click.option("--settings", "settings_file", type=FILE, help="Settings file (TOML)."),
        click.option("--data-dir", type=FOLDER, help="Folder of the database."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def open_named(settings: Settings, *, makes: bool = False, adopt: bool = False) -> Store:
    """The database that the settings name. Exits 2 where they name none, and 69 where none is there, unless the command
    `makes` one. Raises StoreError."""
    from cds_service.logs import configure  # here, since most commands need no database
    from cds_service.store.by_settings import open_store
    from cds_service.store.engine import read_url

    configure("WARNING")  # stdout is for what was asked

    if settings.data_dir is None and settings.database is None:
        stop(USAGE, "Name the folder of the database with --data-dir, or a file with --settings.")
    place = read_url(settings.database, settings.data_dir)
    if not makes and isinstance(place, Path) and not place.exists():
        stop(UNAVAILABLE, f"There is no database: {place} is not there.")
    return open_store(settings, adopt=adopt)


@contextmanager
def opened(flags: dict[str, Any], *, makes: bool = False, adopt: bool = False) -> Iterator[Store]:
    """As `open_named`. Exits 69 where it does not answer."""
    from cds_service.store import StoreUnavailable

    with open_named(settings_of(dict(flags)), makes=makes, adopt=adopt) as store:
        try:
            yield store
        except StoreUnavailable as error:
            stop(UNAVAILABLE, str(error))
