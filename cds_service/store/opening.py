"""Opening a store: the database made or brought up to date, its connections, and the key that its hashes are made
with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from cds_service.store.engine import postgres_engine, read_url, sqlite_engine
from cds_service.store.errors import StoreError, classify, not_opened
from cds_service.store.keys import (
    ADOPT,
    HashKey,
    key_in_use,
    key_names,
    load_or_create,
    other_key,
    read_given,
    take_into_use,
)
from cds_service.store.reader import READERS
from cds_service.store.schema import START_WAIT, prepare_folder, prepare_postgres, prepare_sqlite, start_lock

T = TypeVar("T")
log = structlog.get_logger("magnesium_cds.store")
LOCK_PAUSE: Final = 0.02
LOCK_WAIT: Final = 1.0  # one attempt at another process's lock; the job's own time says how many attempts


class Opened(NamedTuple):
    """What a store is made of. `notes` are remarks, which are logged already."""

    reader: Engine
    writer: Engine
    key: HashKey
    notes: tuple[str, ...]


def _key(
    given: HashKey | None, folder: Path | None, before: str | None, *, used: bool, adopt: bool, renew: bool
) -> tuple[HashKey, str | None]:
    """The key to hash with, and the fingerprint of the folder's own where there is one. `before`: that of the key which
    the database was written with; `adopt`: it may be gone. Raises StoreError."""
    there = folder is not None and bool(key_names(folder))
    if given is not None:
        own = load_or_create(folder, used).fingerprint if there and folder is not None else None
        return given, own
    assert folder is not None
    if before is not None and not there and not renew and not adopt:
        raise StoreError(
            f"The database was written with the key {before}, and {folder} holds none: put its file back, or name it "
            f"in the settings (key_file). Where it is lost, this goes on with a new one: {ADOPT}"
        )
    with start_lock(folder):
        made = load_or_create(folder, used and not adopt)
    return made, made.fingerprint


def _patiently(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do it in one transaction; a lock of another process, and a busy server, are waited for."""
    give_up = time.monotonic() + START_WAIT
    while True:
        try:
            with engine.begin() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            if classify(error).kind not in ("locked", "late") or time.monotonic() > give_up:
                raise
            time.sleep(LOCK_PAUSE)


def open_database(
    url: str | None,
    data_dir: Path | None,
    key: str | None,
    key_file: Path | None,
    *,
    adopt: bool,
    renew: bool,
    shown_wait: float,
) -> Opened:
    """As `Store.open`. Raises StoreError."""
    given = read_given(key, key_file)
    place = read_url(url, data_dir)
    file = place if isinstance(place, Path) else None
    folder = data_dir.absolute() if data_dir else file.parent if file else None
    if folder is None and given is None:
        raise StoreError("PostgreSQL needs a hash key, given by key_file or key: magnesium-cds key make FILE")
    notes: list[str] = []
    for needed in sorted({each for each in (folder, file.parent if file else None) if each}):
        notes += prepare_folder(needed)
    had_key = given is None and folder is not None and bool(key_names(folder))
    if isinstance(place, Path):
        with start_lock(place.parent):
            found = prepare_sqlite(place)
        reader = sqlite_engine(place, wait=shown_wait, write=False, pool_size=READERS)
        opener = sqlite_engine(place, wait=LOCK_WAIT, write=False, pool_size=1)
        writer = sqlite_engine(place, wait=LOCK_WAIT, write=True)
    else:
        found = prepare_postgres(place)
        reader = postgres_engine(place, wait=shown_wait, write=False, pool_size=READERS)
        opener = postgres_engine(place, wait=LOCK_WAIT, write=False)
        writer = postgres_engine(place, wait=LOCK_WAIT, write=True)
    try:
        # A start has time: the wait of a clinician's question is not its own.
        before = _patiently(opener, key_in_use)
        # The key comes last: a start that was killed in between left a database without cards, and begins again.
        hashing, own = _key(given, folder, before, used=found.used, adopt=adopt, renew=renew)
        # A file's own key that was lost, or is replaced by one that is given, before a hash was made with it.
        unused = renew and file is not None and not found.used and (given is None or before == own)
        if before != hashing.fingerprint:

            def take(connection: Connection) -> None:  # one writer at a time: of two that start at once, one is first
                known = key_in_use(connection)
                if known not in (None, hashing.fingerprint) and not adopt and not unused:
                    raise StoreError(other_key(str(known), hashing))
                take_into_use(connection, hashing)

            _patiently(writer, take)
    except SQLAlchemyError as error:
        raise not_opened("The database cannot be used", error, server=file is None) from error
    finally:  # whoever forks later makes connections of its own
        opener.dispose()
        writer.dispose()
    if found.new and had_key:
        notes.append("There was a hash key but no database: a new, empty one was made.")
    for note in notes:
        log.warning("database opened with a remark", remark=note)
    return Opened(reader, writer, hashing, tuple(notes))
