"""Tokens seen once are never taken again: the memory that threads, processes and machines share.

On PostgreSQL it is the table `seen_tokens`. Beside SQLite it is a file of its own, for two reasons: a database that is
locked must not stop advice, and a row that is worth nothing in an hour need not wait for the disk. Nothing is synced
there, which a killed process does not mind. A power cut may lose the file: what was signed before a new file, or before
the machine started, is therefore refused as if it had been seen.

In both the primary key decides who was first, so two that come at the same moment cannot both win.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete
from sqlalchemy.exc import SQLAlchemyError

from cds_service.store.engine import file_identity
from cds_service.store.errors import SQLITE_KINDS, StoreUnavailable, classify, unavailable
from cds_service.store.schema import made_for_service
from cds_service.store.tables import seen_tokens, upsert
from cds_service.store.writer import Job, Writer

FILE_NAME: Final = "seen-tokens.sqlite3"
_CLEAN_EVERY: Final = 60.0
_SKEW: Final = 60.0  # an issuer's clock may be behind by so much
# Our own clock may be ahead by so much for a while: set right again, it finds tokens good that had expired.
_JUMP: Final = timedelta(hours=1, minutes=5)
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS seen_tokens (issuer TEXT, jti TEXT, expires_at REAL, PRIMARY KEY (issuer, jti))
CREATE TABLE IF NOT EXISTS began (boot TEXT, since REAL)
"""


class TokenMemory:
    """Part of Store. `token_wait`: seconds that a call may wait to learn whether its token is new."""

    token_wait = 1.0
    _writer: Writer
    _write_engine: Engine
    _file: TokenFile | None = None
    _opening = threading.Lock()
    _cleaned_at = float("-inf")

    @property
    def tokens_in_database(self) -> bool:
        """Whether no token can be taken while the database does not answer."""
        return self._write_engine.dialect.name == "postgresql"

    def use_token(self, issuer: str, jti: str, expires_at: datetime, now: datetime, issued_at: datetime) -> bool:
        """Whether this token of this issuer was never used before; from now on it was.

        `issuer` and `jti`: at most 300 characters. Times are aware; the token is remembered until an hour
        after `expires_at`.
        StoreUnavailable when that cannot be learned within `token_wait` seconds: the caller must then refuse.
        """
        clean = time.monotonic() - self._cleaned_at > _CLEAN_EVERY
        forget_before = now - _JUMP if clean else None
        if clean:
            self._cleaned_at = time.monotonic()
        if self._write_engine.dialect.name == "sqlite":
            return self._token_file().use(issuer, jti, expires_at, forget_before, issued_at)
        row = {"issuer": issuer, "jti": jti, "expires_at": expires_at}
        job = Job(lambda connection: _remember(connection, row, forget_before), self._until())
        self._writer.submit(job)
        if not job.done.wait(self.token_wait):
            raise unavailable("late")
        if job.error is not None:
            raise StoreUnavailable(job.error.kind, job.error.text)
        return bool(job.result)

    def _until(self) -> float:
        return time.monotonic() + self.token_wait

    def _token_file(self) -> TokenFile:
        file = self._file
        if file is not None and file.process == os.getpid():
            return file
        with self._opening:
            if self._file is None or self._file.process != os.getpid():
                try:
                    with self._write_engine.connect() as connection:
                        place = connection.exec_driver_sql("PRAGMA database_list").first()
                except SQLAlchemyError as error:
                    raise classify(error) from error
                if place is None:
                    raise unavailable("gone")
                self._file = TokenFile(Path(place[2]).with_name(FILE_NAME), self.token_wait)
            return self._file


class TokenFile:
    """The memory of one machine, in a file; one connection of this process, used by one thread at a time."""

    def __init__(self, path: Path, wait: float) -> None:
        self.process = os.getpid()
        self._path = path
        self._wait = wait
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._since = 0.0

    def __del__(self) -> None:
        self._close()

    def use(
        self, issuer: str, jti: str, expires_at: datetime, forget_before: datetime | None, issued_at: datetime
    ) -> bool:
        """As TokenMemory.use_token."""
        if not self._lock.acquire(timeout=self._wait):
            raise unavailable("late")
        try:
            with self._told():
                connection = self._open()
                if issued_at.timestamp() < self._since:
                    return False
                connection.execute("BEGIN IMMEDIATE")
                try:
                    if forget_before is not None:
                        gone = (forget_before.timestamp(),)
                        connection.execute("DELETE FROM seen_tokens WHERE expires_at < ?", gone)
                    row = (issuer, jti, expires_at.timestamp())
                    new = connection.execute("INSERT OR IGNORE INTO seen_tokens VALUES (?, ?, ?)", row).rowcount
                    connection.execute("COMMIT")
                except BaseException:
                    connection.rollback()
                    raise
                return new == 1
        finally:
            self._lock.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of SQLite as ours. After one that is no lock the file is opened anew, and made anew if damaged."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code != sqlite3.SQLITE_BUSY:
                self._close()
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                self._path.unlink(missing_ok=True)
            raise unavailable(SQLITE_KINDS.get(code, "gone")) from error

    def _open(self) -> sqlite3.Connection:
        identity = file_identity(self._path)
        if self._connection is not None and identity is not None and identity == self._identity:
            return self._connection
        self._close()
        try:
            with suppress(FileExistsError):
                os.close(made_for_service(self._path))
            boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""
        except OSError as error:
            raise unavailable("gone") from error
        connection = sqlite3.connect(self._path, timeout=self._wait, isolation_level=None, check_same_thread=False)
        self._connection = connection
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=PERSIST")
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.strip().splitlines():
            connection.execute(statement)
        known = connection.execute("SELECT boot, since FROM began").fetchone()
        if known is None or known[0] != boot:
            known = (boot, time.time() - _SKEW)
            connection.execute("DELETE FROM seen_tokens")
            connection.execute("DELETE FROM began")
            connection.execute("INSERT INTO began VALUES (?, ?)", known)
        connection.execute("COMMIT")
        self._since = float(known[1])
        self._identity = file_identity(self._path)
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _remember(connection: Connection, row: dict[str, Any], forget_before: datetime | None) -> bool:
    if forget_before is not None:
        connection.execute(delete(seen_tokens).where(seen_tokens.c.expires_at < forget_before))
    insert = upsert("postgresql", seen_tokens).values(**row).on_conflict_do_nothing().returning(seen_tokens.c.jti)
    return connection.execute(insert).first() is not None
