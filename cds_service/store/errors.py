"""What can go wrong with the store, in our own words: no message holds SQL, a password or what is a patient's."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from sqlalchemy import exc


class StoreError(Exception):
    """The store cannot be opened as it is: the service must not start. The message says what to do."""


class StoreAway(StoreError):
    """The store cannot be opened now, and may be later as it is: nobody has to change anything."""


class StoreUnavailable(Exception):
    """Something could not be read or written now. Nothing was half-written; the same call may be made again.

    `kind` is one word of `_TEXTS` for logs and counters.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


_TEXTS: Final = {
    "locked": "The database is locked by another process.",
    "full": "The database or its disk is full.",
    "read_only": "The database cannot be written: it is read-only.",
    "disk": "The disk that holds the database gave an error.",
    "damaged": "The database file is damaged.",
    "gone": "The database cannot be reached.",
    "late": "The database did not answer in time.",
    "closed": "The store is closed.",
    "refused": "The database refused the write.",
}

SQLITE_KINDS: Final = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_IOERR: "disk",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_CANTOPEN: "gone",
}

_SQLSTATE_KINDS: Final = {
    "55P03": "locked",  # lock_not_available
    "57014": "late",  # query_canceled, here by statement_timeout
    "40P01": "locked",  # deadlock_detected
    "40001": "locked",  # serialization_failure
    "53100": "full",  # disk_full
    "25006": "read_only",  # read_only_sql_transaction: a standby
    "58030": "disk",  # io_error
    "XX001": "damaged",  # data_corrupted
    "XX002": "damaged",  # index_corrupted
}


def unavailable(kind: str) -> StoreUnavailable:
    """The error of this kind with its sentence."""
    return StoreUnavailable(kind, _TEXTS[kind])


def classify(error: exc.SQLAlchemyError) -> StoreUnavailable:
    """Turn a database error into ours. What is not known is `refused` (data) or `gone` (everything else)."""
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorcode", None) or 0
    # The low byte of SQLite's code is the primary one, the rest details it.
    kind = SQLITE_KINDS.get(code & 0xFF) or _SQLSTATE_KINDS.get(getattr(original, "sqlstate", None) or "")
    if kind is not None:
        return unavailable(kind)
    if isinstance(error, exc.TimeoutError):  # no free connection
        return unavailable("late")
    if isinstance(error, exc.IntegrityError | exc.DataError) or not isinstance(error, exc.DBAPIError):
        return unavailable("refused")
    return unavailable("gone")


# Of a server that answered, and will answer the same until somebody changes something.
_NEVER: Final = {
    "42501": (
        "this user may not make tables, or not use those that are there: make it the owner of the database "
        "(ALTER DATABASE ... OWNER TO ...) and of its tables."
    ),
    "42P07": "it belongs to another program, which has tables with names of ours: name an empty database.",
}
_FAULTY: Final = re.compile(
    r"(?:^|connection is bad: )invalid (?:(\w+) (?:value|number)|connection option)"
    r"(?:.* for connection option \"(\w+)\")?",
    re.DOTALL,
)


def _fault_in_url(error: BaseException | None) -> str | None:
    """What the driver cannot read in a URL before it asks a server; its own words may hold what must not be shown."""
    found = _FAULTY.search(str(error)) if error else None
    if found is None:
        return None
    name = found[2] or found[1]
    return f"{name} cannot have the value that it gives" if name else "it has an option that PostgreSQL does not know"


def not_opened(what: str, error: exc.SQLAlchemyError, server: bool = False) -> StoreError:
    """Why a store is not opened. `what`: the beginning of the sentence; `server`: one was asked, which may have refused
    us (its driver does not say so in other than its own words, which may hold names)."""
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None)
    if server and (never := _NEVER.get(state or "")):
        return StoreError(f"{what}: {never}")
    if server and (fault := _fault_in_url(original)):
        return StoreError(f"The database URL cannot be used: {fault}.")
    known = classify(error)
    text = known.text
    if server and known.kind == "gone":
        text = f"{text[:-1]}, or does not take this user, password, address or database name: its own log says which."
    return (StoreAway if known.kind in ("locked", "late", "gone") else StoreError)(f"{what}: {text}")
