"""Opening the database at start: made, checked and brought up to date by one process at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from cds_service.store.engine import START_LOCK, connect_sqlite, journal_mode
from cds_service.store.errors import StoreAway, StoreError, not_opened
from cds_service.store.tables import VERSION_TABLE, shown_cards

START_WAIT: Final = 30.0
# Tables and views where ours would come, but for those of extensions.
_OTHERS: Final = """
    SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = current_schema() AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
"""
_alembic_lock = threading.Lock()  # Alembic's `context` is one for the whole process


def prepare_folder(folder: Path) -> list[str]:
    """Make the data folder, private to us. Returns remarks for the log.

    A folder that holds other things is left as it is: it may be a shared volume, or a home.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        open_to_others = found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if not open_to_others:
            return []
        if found.st_uid == os.geteuid() and not any(folder.iterdir()):
            folder.chmod(0o700)
            return []
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
    return [f"The data folder {folder} is open to other accounts; its files are not."]


class Prepared(NamedTuple):
    """What was found. `new`: there were no tables. `used`: it holds cards, which were hashed with some key."""

    new: bool
    used: bool


def made_private(path: Path) -> int:
    """The descriptor of a new file, only for us. Raises OSError, FileExistsError where it is there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def made_for_service(path: Path) -> int:
    """As `made_private`, in the data folder: made by root, the file is for the account that the folder belongs to, the
    service's."""
    descriptor = made_private(path)
    if os.geteuid() == 0:  # never a file that was there: whoever owns the folder may have put a link in its place
        found = path.parent.stat()
        os.fchown(descriptor, found.st_uid, found.st_gid)
    return descriptor


def not_ours(path: Path) -> str:
    """What to do about a file that this account cannot open; "" where it can, and where there is none."""
    if not os.access(path, os.F_OK) or os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return ""
    return (
        f" It has to belong to the account of the service, as its folder does: chown --reference={path.parent} {path}"
    )


def _lock_file(folder: Path) -> int:
    path = folder / "start.lock"
    try:
        return made_for_service(path)
    except FileExistsError:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"The file {path} cannot be opened: {error.strerror}.{not_ours(path)}") from error
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be written: {error.strerror}.{not_ours(path)}") from error


@contextmanager
def start_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. StoreError after `START_WAIT` seconds."""
    descriptor = _lock_file(folder)
    try:
        give_up = time.monotonic() + START_WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StoreAway(f"Another process has held {folder} for {START_WAIT:.0f} seconds.") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def prepare_sqlite(path: Path) -> Prepared:
    """Make, check and upgrade the file. Call it under `start_lock`.

    A new one is made under another name and renamed when it is whole: a start that is killed leaves nothing at `path`.
    An empty file there is therefore never a beginning, but all that is left of a database.
    """
    new = not path.exists()
    target = path.with_name(path.name + ".new") if new else path
    try:
        if new:
            target.unlink(missing_ok=True)
            _remove_journal(target)
            # Made by us and not by SQLite, so that it, and its journal, are private from their first moment.
            os.close(made_for_service(target))
        elif path.stat().st_size == 0:
            raise StoreError(
                f"The database {path} is empty (0 bytes): what it held is lost. "
                "Put back a copy, or remove the file to begin with a new one."
            )
        elif path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        prepared = _check_and_upgrade(target)
        if new:
            _remove_journal(target)
            target.rename(path)
            sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"The database {path} cannot be written: {error.strerror}.") from error
    except sqlite3.Error as error:
        raise StoreError(f"The database {path} cannot be opened: {_sqlite_reason(error)}{not_ours(path)}") from error
    except SQLAlchemyError as error:
        raise not_opened(f"The database {path} cannot be opened", error) from error
    return prepared


def _remove_journal(path: Path) -> None:
    """Of a file that is closed, or was never finished."""
    for suffix in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """See on disk that a file in it was made or renamed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_and_upgrade(path: Path) -> Prepared:
    mode = journal_mode(sqlite3.sqlite_version_info)
    raw = connect_sqlite(path, wait=START_WAIT)
    try:
        problems = [row[0] for row in raw.execute("PRAGMA quick_check(5)")]
        if problems != ["ok"]:
            raise StoreError(f"The database {path} is damaged. Put back a copy, or move it away to start a new one.")
        in_force = str(raw.execute(f"PRAGMA journal_mode={mode}").fetchone()[0])
        if in_force != mode:
            raise StoreError(f"The database {path} stays in journal mode {in_force}: {mode} is needed.")
    finally:
        raw.close()
    engine = create_engine("sqlite://", creator=lambda: connect_sqlite(path, wait=START_WAIT), poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        others = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
        ours = f"{others} AND name = '{VERSION_TABLE}'"
        if connection.exec_driver_sql(others).scalar() and not connection.exec_driver_sql(ours).scalar():
            raise StoreError(f"The database {path} belongs to another program.")
        prepared = upgrade(connection)
        connection.commit()
    return prepared


def _sqlite_reason(error: sqlite3.Error) -> str:
    if error.sqlite_errorname == "SQLITE_NOTADB":
        return "it is not an SQLite database."
    return f"{error.sqlite_errorname}."


def prepare_postgres(url: URL) -> Prepared:
    """Upgrade the database under a lock of its own, so that services that start at once take turns."""
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    except ModuleNotFoundError as error:
        raise StoreError("PostgreSQL needs its driver; in a checkout: pip install '.[postgres]'") from error
    _refuse_missing_files(url)
    _refuse_other_encodings(engine, url)
    try:
        with engine.connect() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = {round(START_WAIT * 1000)}"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({START_LOCK})"))
            if not inspect(connection).has_table(VERSION_TABLE) and connection.execute(text(_OTHERS)).scalar():
                raise StoreError(
                    f"The PostgreSQL database {url.database} belongs to another program: it holds tables, and none of "
                    "them is ours. Name an empty one."
                )
            prepared = upgrade(connection)
            connection.commit()
    except SQLAlchemyError as error:
        where = f"{url.host or 'the local socket'}, database {url.database}"
        raise not_opened(f"PostgreSQL at {where} cannot be used", error, server=True) from error
    return prepared


def _refuse_missing_files(url: URL) -> None:
    """libpq tells a certificate that is not there as a server that cannot be reached."""
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        value = url.query.get(name)
        if isinstance(value, str) and value != "system" and not Path(value).is_file():
            raise StoreError(f"The file {value}, which the database URL names as {name}, is not there.")


def _refuse_other_encodings(engine: Engine, url: URL) -> None:
    @event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy asks, which fails in SQL_ASCII
    def _look(connection: Any, _: Any) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, "UTF8"):
            raise StoreError(
                f"The PostgreSQL database {url.database} has the encoding {encoding}, and UTF8 is needed: "
                f"CREATE DATABASE {url.database} ENCODING 'UTF8' TEMPLATE template0"
            )


def upgrade(connection: Connection) -> Prepared:
    """Bring the tables up to date in the transaction of `connection`. StoreError when they are newer than this code."""
    if not _is_newest(connection):
        return _migrate(connection)
    return Prepared(False, _has_cards(connection))


def _is_newest(connection: Connection) -> bool:
    """Whether the last revision of ours is in force, and it alone. Most starts need no more, and no Alembic, which
    takes long to load."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()  # noqa: S608
    names = (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*.py")
    return found == [max((path.name.partition("_")[0] for path in names), default="")]


def _has_cards(connection: Connection) -> bool:
    return connection.execute(select(shown_cards.c.card).limit(1)).first() is not None


def _migrate(connection: Connection) -> Prepared:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "cds_service.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    at = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if at is not None and at not in known:
        raise StoreError(
            f"The database was written by a newer version of this program (its schema is {at}, "
            f"this program knows up to {max(known)}). Start that version, or put back a copy from before."
        )
    if at != scripts.get_current_head():
        with _alembic_lock:
            command.upgrade(config, "head")
    return Prepared(at is None, _has_cards(connection))
