"""Connections. The promises are made here: what a commit means, and how long anything may wait."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from cds_service.store.errors import StoreError, unavailable

WRITE_LOCK: Final = 0x4D67_0001  # keys of PostgreSQL advisory locks
START_LOCK: Final = 0x4D67_0002
FILE_NAME: Final = "magnesium-cds.sqlite3"
# Before this version two connections in WAL mode may corrupt the file (a bug in SQLite).
_WAL_SAFE_FROM: Final = (3, 51, 3)
_NEEDS: Final = (3, 35, 0)  # RETURNING
_BEGIN_WAIT: Final = 0.03  # SQLite sleeps ever longer between two looks at a lock: short attempts look more often


def journal_mode(sqlite_version: tuple[int, int, int]) -> str:
    """`wal` where this SQLite is known to be safe with it, else `persist`. StoreError when it is too old for us.

    `persist` is the rollback journal whose file stays: a commit ends by blanking its header, synced, and not by
    unlinking it. That is as durable as `delete` and, as it touches no folder, faster.
    """
    if sqlite_version < _NEEDS:
        have, need = (".".join(map(str, version)) for version in (sqlite_version, _NEEDS))
        raise StoreError(f"SQLite {have} is too old: {need} or later is needed.")
    return "wal" if sqlite_version >= _WAL_SAFE_FROM else "persist"


def read_url(url: str | None, data_dir: Path | None) -> URL | Path:
    """A URL of PostgreSQL or a file of SQLite, without `url` one in `data_dir`. StoreError for anything else."""
    if url is None:
        if data_dir is None:
            raise StoreError("Name a data folder or a database URL.")
        return data_dir.absolute() / FILE_NAME
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StoreError("The database URL cannot be read.") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise StoreError(
                "An SQLite URL must name a file and nothing else, as in sqlite:////var/lib/cds/cds.sqlite3."
            )
        return Path(parsed.database).absolute()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"The database {backend!r} is not supported: use SQLite or PostgreSQL.")


def connect_sqlite(path: Path, *, wait: float) -> sqlite3.Connection:
    """One connection to the file, with our settings. `wait`: seconds to wait for another process's lock.

    A missing file is an error and is never made anew: an empty database would look like a good one.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=wait,
        isolation_level=None,
        check_same_thread=False,
    )
    # EXTRA is FULL, and should a journal be unlinked after all, also a sync of the folder: without it a power cut just
    # after the commit can bring the journal back and undo it. fullfsync is the same matter on macOS.
    settings = ["synchronous=EXTRA", "fullfsync=ON", "trusted_schema=OFF", "mmap_size=0"]
    mode = journal_mode(sqlite3.sqlite_version_info)
    if mode != "wal":  # which the file itself remembers; the others are each connection's own
        settings.append(f"journal_mode={mode}")
    try:
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at this path, None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every commit, and half the price of Path.stat
    except OSError:
        return None
    return found.st_dev, found.st_ino


def refuse_other_file(connection: Connection) -> None:
    """Raises StoreUnavailable where the SQLite file that this connection has open is no longer the one at its path."""
    opened = connection.info.get("file")
    if opened is None:  # a server's
        return
    path, identity = opened
    if identity is None or file_identity(path) != identity:
        connection.invalidate()
        raise unavailable("gone")


def sqlite_engine(path: Path, *, wait: float, write: bool, pool_size: int = 1) -> Engine:
    """An engine on the file. A writing one takes the write lock when a transaction begins, so that it never fails
    half-way. A transaction on a file that was deleted or replaced is refused: SQLite would write to the deleted one.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect_sqlite(path, wait=wait),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=wait,
    )
    starts: list[str] = []  # whoever reads asks one question at a time
    if write:
        short, usual = (f"PRAGMA busy_timeout={round(seconds * 1000)}" for seconds in (_BEGIN_WAIT, wait))
        starts = [short, "BEGIN IMMEDIATE", usual]

    @event.listens_for(engine, "connect")
    def _remember_file(_connection: Any, record: Any) -> None:
        record.info["file"] = path, file_identity(path)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        refuse_other_file(connection)
        for start in starts:
            connection.exec_driver_sql(start)

    return engine


def postgres_engine(url: URL, *, wait: float, write: bool, pool_size: int = 1) -> Engine:
    """An engine on PostgreSQL. `wait`: seconds that one statement, or a wait for a lock, may take. One that only reads
    begins no transactions, which would be two more ways to the server and back for each question."""
    for_lock = max(1, round(wait * 1000))
    for_all = for_lock * 2 if write else for_lock  # a wait for a lock must end as such, and not as a slow statement
    options = url.query.get("options", "")
    given = options if isinstance(options, str) else " ".join(options)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=wait,
        pool_pre_ping=True,
        isolation_level=None if write else "AUTOCOMMIT",
        connect_args={
            "connect_timeout": 2,
            "application_name": "magnesium-cds",
            "options": f"{given} -c lock_timeout={for_lock} -c statement_timeout={for_all}",
        },
    )
    if write:

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            # A server or role set to `off` would acknowledge what a power cut can take back. And one writer
            # at a time, as in SQLite: feedback and the card it belongs to then never pass each other unseen.
            connection.exec_driver_sql(
                "SELECT set_config('synchronous_commit', 'on', true) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")

    return engine
