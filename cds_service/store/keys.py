"""The secret that turns a patient and a finding into two hashes that mean nothing to who lacks it.

It is given to every machine alike, or made once as a file `hash-key-0001` in the data folder (0600), where the highest
number is in use. Every hash starts with the fingerprint of its key, so rows made with an older key are plainly of that
key: they match nothing any more, which shows a card again but never silences the wrong one. The database holds the
fingerprint of the key in use, and a service with another one refuses to start until that one is taken into use.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from cds_service.store.errors import StoreError
from cds_service.store.records import digest
from cds_service.store.schema import made_for_service, made_private, not_ours, sync_folder
from cds_service.store.tables import hash_keys, upsert

_NAME: Final = re.compile(r"hash-key-(\d{4})")
_MIN_CHARS: Final = 32
ADOPT: Final = "magnesium-cds key adopt"
_HOW: Final = "magnesium-cds key make FILE writes one"
_IN_USE: Final = select(hash_keys.c.fingerprint).order_by(hash_keys.c.since.desc()).limit(1)


class HashKey:
    """HMAC-SHA256 with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self.fingerprint = self._hex("key fingerprint", ())[:8]

    def _hex(self, label: str, parts: Iterable[str]) -> str:
        return hmac.digest(self._secret, digest(label, parts), "sha256").hex()

    def subject(self, client: str, patient_id: str, rule: str) -> str:
        """One patient of one client under one rule: the same patient has another hash on every rule."""
        return f"{self.fingerprint}.{self._hex('subject', (client, patient_id, rule))}"

    def finding(self, parts: Iterable[str]) -> str:
        """What made a rule fire, as texts in a fixed order. Another value, date or threshold gives another hash."""
        return f"{self.fingerprint}.{self._hex('finding', parts)}"


def read_given(key: str | None, file: Path | None) -> HashKey | None:
    """The key that was given, as text or in a file; None where none was. StoreError where it cannot be used."""
    if file is not None:
        try:
            key = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StoreError(
                f"The key file {file} cannot be read: {why}. Put a copy of the key there; for a new database, {_HOW}."
            ) from error
    if key is None:
        return None
    if len(key) < _MIN_CHARS:
        raise StoreError(f"The key has {len(key)} characters, and at least {_MIN_CHARS} are needed: {_HOW}.")
    return HashKey(key)


def key_in_use(connection: Connection) -> str | None:
    """The fingerprint of the key that the database was written with last; None before the first."""
    return connection.execute(_IN_USE).scalar()


def other_key(known: str, key: HashKey) -> str:
    """Why a service with `key` does not start on a database of another one, and what to do."""
    return (
        f"The database was written with the key {known}, and the one given is {key.fingerprint}. Give that one; with "
        "another, what was dismissed silences nothing any more and links to plans end. To go on with the "
        f"new one all the same: {ADOPT}"
    )


def take_into_use(connection: Connection, key: HashKey) -> None:
    """From now on the database is written with `key`, also where a clock was fast when the last one came."""
    newest = connection.execute(select(hash_keys.c.since).order_by(hash_keys.c.since.desc()).limit(1)).scalar()
    now = datetime.now(UTC)
    since = max(now, newest + timedelta(microseconds=1)) if newest else now
    row = {"fingerprint": key.fingerprint, "since": since}
    new = upsert(connection.dialect.name, hash_keys).values(row)
    connection.execute(new.on_conflict_do_update(index_elements=["fingerprint"], set_={"since": row["since"]}))


def key_names(folder: Path) -> list[str]:
    """The files of keys in `folder`, the one in use last. StoreError when it cannot be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name))
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be read: {error.strerror}.") from error


def load_or_create(folder: Path, used: bool) -> HashKey:
    """The key in use in `folder`, made when there is none. Call it under the start lock.

    `used`: the database holds cards, so that there was a key before. StoreError when that is gone, or when the file
    cannot be read or written or holds no key.
    """
    names = key_names(folder)
    path = folder / (names[-1] if names else "hash-key-0001")
    if used and not names:
        raise StoreError(
            f"The hash key is gone: there is none in {folder}, and the database holds cards. Without it, what was "
            "dismissed silences nothing any more and links to plans end. Put back a copy of the key; or, "
            f"to go on with a new one: {ADOPT}"
        )
    try:
        if not names:
            create(path, made_for_service)
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"The hash key in {folder} cannot be read or made: {type(error).__name__}.{not_ours(path)}"
        ) from error
    if len(secret) < _MIN_CHARS:
        raise StoreError(f"{path} holds no usable key. Put it back from a copy, or move it away for a new one.")
    return HashKey(secret)


def create(path: Path, make: Callable[[Path], int] = made_private) -> None:
    """Write a new secret and see it on disk before anything is hashed with it. `make`: makes the file."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = make(draft)
    try:
        os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    sync_folder(path.parent)
