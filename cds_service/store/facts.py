"""Kept facts: the last calls as codes and numbers, encrypted, in a database of their own. Only where a hospital has
switched that on; docs/kept-facts.md says what is kept, and what is not.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import hmac
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Self

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from cds_service.store.engine import connect_sqlite, postgres_engine, read_url, sqlite_engine
from cds_service.store.errors import StoreError, StoreUnavailable, classify
from cds_service.store.records import canonical_id
from cds_service.store.schema import made_for_service, prepare_folder, start_lock, sync_folder
from cds_service.store.writer import Job, Writer

log = structlog.get_logger("magnesium_cds.facts")
FACTS_FILE: Final = "magnesium-cds-facts.sqlite3"
KEY_FILE: Final = "facts-key"
SCHEMA: Final = "magnesium_cds_facts"
_QUEUE: Final = 64  # calls that wait to be written; those beyond are not kept
_WAIT: Final = 5.0  # seconds
_TELL_EVERY: Final = 60.0
_LONGEST: Final = 256 * 1024  # bytes of one call
metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

# `delete_after`: the Monday after which a row goes. It is rounded so that no row tells the day of its call.
kept_facts = Table(
    "kept_facts",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("body", LargeBinary, nullable=False),
    Column("delete_after", String(10), nullable=False),
    Index("ix_kept_facts_delete_after", "delete_after"),
)
# Which cards came of a call: a keyed hash of the card's id.
kept_cards = Table(
    "kept_cards",
    metadata,
    Column("tag", String(64), primary_key=True),
    Column("number", _NUMBER, nullable=False),
    Index("ix_kept_cards_number", "number"),
)


@dataclass(frozen=True, slots=True)
class FactsCount:
    """How many calls are kept, and until when the oldest and the newest stay (None: there are none)."""

    calls: int
    first_until: str | None = None
    last_until: str | None = None


class FactsStore:
    """Safe for threads. `keep`: the number of calls, `days` for how long. `dropped`: calls not kept in this process."""

    def __init__(self, reader: Engine, writer: Engine, key: bytes, keep: int, days: int) -> None:
        self._reader, self._writing = reader, writer
        from cryptography.fernet import Fernet  # here: few services keep facts

        self._fernet, self._key = Fernet(key), key
        self._keep, self._days = keep, days
        self._writer = Writer(writer, _QUEUE)
        self._purge_at = 0.0
        self._told_at = -math.inf
        self.dropped = 0
        self._counting = threading.Lock()
        atexit.register(self.close)

    @classmethod
    def open(cls, url: str | None = None, *, data_dir: Path | None, keep: int, days: int) -> Self:
        """Make the database where it is not there, and its key. `url`: another database than the file in `data_dir`.
        Raises StoreError."""
        place = _place(url, data_dir)
        folder = data_dir.absolute() if data_dir else place.parent if isinstance(place, Path) else None
        if folder is None:
            raise StoreError("Kept facts on PostgreSQL need a data folder as well: it holds their key.")
        prepare_folder(folder)
        with start_lock(folder):
            key = _load_or_create(folder)
            try:
                if isinstance(place, Path):
                    _make_file(place)
                else:
                    _make_schema(place)
            except SQLAlchemyError as error:
                raise StoreError(f"The database of kept facts cannot be used: {classify(error).text}") from error
        if isinstance(place, Path):
            reader = sqlite_engine(place, wait=1.0, write=False, pool_size=2)
            return cls(reader, sqlite_engine(place, wait=1.0, write=True), key, keep, days)
        own = place.update_query_dict({"options": f"-c search_path={SCHEMA}"})
        reader = postgres_engine(own, wait=5.0, write=False, pool_size=2)
        return cls(reader, postgres_engine(own, wait=5.0, write=True), key, keep, days)

    def keep(self, make: Callable[[], bytes], cards: Sequence[str], today: date) -> None:
        """Have a call kept, in a moment. `make` gives it, in the writing thread; `cards`: ids of the cards that came of
        it. Never raises, and never waits: what cannot be kept is counted."""
        until = _monday(today + timedelta(days=self._days))
        job = Job(
            lambda connection: self._add(connection, make, cards, until, today),
            time.monotonic() + _WAIT,
            on_failure=self._lost,
            later=True,
        )
        try:
            self._writer.submit(job)
        except StoreUnavailable:
            self._lost()

    def all(self) -> Iterator[bytes]:
        """The calls, the newest first, one by one. StoreUnavailable where the database does not answer."""
        with self._reading() as connection:
            numbers = list(
                connection.execute(select(kept_facts.c.number).order_by(kept_facts.c.number.desc())).scalars()
            )
        for number in numbers:
            with self._reading() as connection:
                body = connection.execute(select(kept_facts.c.body).where(kept_facts.c.number == number)).scalar()
            if body is not None and (opened := self._opened(body)) is not None:
                yield opened

    def of_card(self, card: str) -> bytes | None:
        """The call that a card came of; None where it is not kept (any more)."""
        joined = select(kept_facts.c.body).join(kept_cards, kept_cards.c.number == kept_facts.c.number)
        with self._reading() as connection:
            body = connection.execute(joined.where(kept_cards.c.tag == self._tag(card))).scalar()
        return None if body is None else self._opened(body)

    def count(self) -> FactsCount:
        """What is kept."""
        until = kept_facts.c.delete_after
        with self._reading() as connection:
            found = connection.execute(select(func.count(), func.min(until), func.max(until))).one()
        return FactsCount(*found)

    def purge(self, today: date | None = None) -> int:
        """Delete what is over the number or the days; without `today` all. How many went."""

        def work(connection: Connection) -> int:
            if today is not None:
                return _purged(connection, self._keep, today)
            connection.execute(delete(kept_cards))
            return int(connection.execute(delete(kept_facts)).rowcount)

        job = Job(work, time.monotonic() + _WAIT)
        self._writer.submit(job)
        if not job.done.wait(_WAIT):
            raise StoreUnavailable("late", "The database of kept facts did not answer in time.")
        if job.error is not None:
            raise job.error
        return int(job.result)

    def flush(self) -> None:
        """Wait until what was given to keep so far is written."""
        job = Job(lambda _: None, time.monotonic() + _WAIT, later=True)
        self._writer.submit(job)
        job.done.wait(_WAIT)

    def close(self) -> None:
        """Write what waits, and let the database go."""
        atexit.unregister(self.close)
        self._writer.close(2.0)
        self._writing.dispose()
        self._reader.dispose()

    # -- inside

    def _add(
        self, connection: Connection, make: Callable[[], bytes], cards: Sequence[str], until: str, today: date
    ) -> None:
        try:
            body = make()
        except Exception as error:  # noqa: BLE001 - a fault of ours in one call; its message may hold what is a patient's
            self._lost(type(error).__name__)
            return
        if len(body) > _LONGEST:
            self._lost("too long")
            return
        made = connection.execute(insert(kept_facts).values(body=self._fernet.encrypt(body), delete_after=until))
        number = made.inserted_primary_key[0] if made.inserted_primary_key else None
        rows = [{"tag": self._tag(card), "number": number} for card in dict.fromkeys(cards)]
        if rows:
            connection.execute(insert(kept_cards), rows)
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + 60.0
            _purged(connection, self._keep, today)

    def _lost(self, kind: str = "not written") -> None:
        """Counted; and told, once a minute."""
        with self._counting:
            self.dropped += 1
            if time.monotonic() < self._told_at + _TELL_EVERY:
                return
            self._told_at = time.monotonic()
        log.error("a call was not kept", kind=kind, number=self.dropped)

    def _tag(self, card: str) -> str:
        return hmac.new(self._key, canonical_id(card).encode(), hashlib.sha256).hexdigest()

    def _opened(self, body: bytes) -> bytes | None:
        """A row of another key is as if it were not there."""
        from cryptography.fernet import InvalidToken

        with contextlib.suppress(InvalidToken):
            return self._fernet.decrypt(body)
        return None

    @classmethod
    def remove(cls, data_dir: Path) -> list[str]:
        """Remove the file of kept facts and the key; the names of what was there. Without the key no copy of the rows
        can be read, wherever it is."""
        found = []
        for name in (KEY_FILE, *(f"{FACTS_FILE}{end}" for end in ("", "-journal", "-wal", "-shm"))):
            with contextlib.suppress(FileNotFoundError):
                (data_dir / name).unlink()
                found.append(name)
        return found

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._reader.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise classify(error) from error


def _monday(day: date) -> str:
    """The Monday after a day, or that day where it is one."""
    return (day + timedelta(days=-day.weekday() % 7)).isoformat()


def _purged(connection: Connection, keep: int, today: date) -> int:
    edge = connection.execute(
        select(kept_facts.c.number).order_by(kept_facts.c.number.desc()).offset(max(keep, 1) - 1).limit(1)
    ).scalar()
    gone = kept_facts.c.delete_after < today.isoformat()
    if keep < 1:
        gone = kept_facts.c.number >= 0
    elif edge is not None:
        gone = gone | (kept_facts.c.number < edge)
    found = int(connection.execute(delete(kept_facts).where(gone)).rowcount)
    connection.execute(delete(kept_cards).where(kept_cards.c.number.not_in(select(kept_facts.c.number))))
    return found


def _place(url: str | None, data_dir: Path | None) -> Any:
    if url is None and data_dir is None:
        raise StoreError("Kept facts need a data folder, or facts_database.")
    return (data_dir or Path()).absolute() / FACTS_FILE if url is None else read_url(url, None)


def _make_file(path: Path) -> None:
    """Private from its first moment; what is deleted is overwritten."""
    with contextlib.suppress(FileExistsError):
        os.close(made_for_service(path))
        sync_folder(path.parent)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        path.chmod(0o600)
    engine = create_engine("sqlite://", creator=lambda: connect_sqlite(path, wait=5.0), poolclass=NullPool)
    with engine.begin() as connection:
        metadata.create_all(connection)


def _make_schema(url: Any) -> None:
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.begin() as connection:
        connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        connection.exec_driver_sql(f"SET LOCAL search_path TO {SCHEMA}")
        metadata.create_all(connection)


def _load_or_create(folder: Path) -> bytes:
    """The key, of which nothing else is made than of these rows."""
    from cryptography.fernet import Fernet

    path = folder / KEY_FILE
    try:
        if not path.exists():
            draft = path.with_name(f"{KEY_FILE}.new")
            draft.unlink(missing_ok=True)
            descriptor = made_for_service(draft)
            try:
                os.write(descriptor, Fernet.generate_key() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.rename(path)
            sync_folder(folder)
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        key = path.read_bytes().strip()
        Fernet(key)
    except OSError as error:
        raise StoreError(f"The key of kept facts in {folder} cannot be read or made: {error.strerror}.") from error
    except ValueError as error:
        raise StoreError(f"{path} holds no key. Put it back from a copy, or remove it and the kept facts.") from error
    return key
