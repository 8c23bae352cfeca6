"""A copy of the SQLite file while services write to it."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from cds_service.store.engine import connect_sqlite
from cds_service.store.errors import SQLITE_KINDS, StoreError, unavailable
from cds_service.store.schema import START_WAIT, made_private, sync_folder
from cds_service.store.tables import VERSION_TABLE

_CHUNK: Final = 1 << 20


def copy_sqlite(source: Path, target: Path) -> int:
    """Copy the database to a new file, private to us, whole or not at all. Returns its bytes.

    Whoever writes waits while it is copied, so what is slow is done before and after: the file is read once, so that it
    lies in memory, and the copy reaches the disk when the source is free again. OSError where the copy cannot be
    written; StoreError where the source cannot be read, or the copy is not whole.
    """
    draft = target.with_name(target.name + ".new")
    draft.unlink(missing_ok=True)
    os.close(made_private(draft))
    try:
        with source.open("rb") as file:
            while file.read(_CHUNK):
                pass
        with closing(connect_sqlite(source, wait=START_WAIT)) as original, closing(sqlite3.connect(draft)) as copy:
            copy.execute("PRAGMA synchronous=OFF")
            copy.execute("PRAGMA journal_mode=OFF")
            original.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whatever the source had
            if copy.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise StoreError("The copy is damaged, and so is the database: it was not kept.")
            copy.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a name of ours
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.link(draft, target)  # never over a file that came meanwhile
        sync_folder(target.parent)
        return target.stat().st_size
    except sqlite3.Error as error:
        kind = SQLITE_KINDS.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF)
        if kind == "full":  # it is the copy that grows
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        why = unavailable(kind).text if kind else "SQLite cannot read it."
        raise StoreError(f"The database {source} cannot be copied to {target}: {why}") from error
    finally:
        for suffix in ("", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
