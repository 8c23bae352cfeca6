"""The secret that turns a patient and a finding into two hashes that mean nothing to who lacks it.

Each key is a file of its own, `hash-key-0001`, in the data folder (0600). The highest number is in use; a new
key is a new file, never a changed one. Every hash starts with the fingerprint of its key, so rows made with
an older key are plainly of that key: they match nothing any more, which shows a card again but never silences
the wrong one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cds_service.store.errors import StoreError
from cds_service.store.records import digest
from cds_service.store.schema import sync_folder

_NAME: Final = re.compile(r"hash-key-(\d{4})")
_MIN_CHARS: Final = 32


class HashKey:
    """HMAC-SHA256 with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self.fingerprint = self._hex("key fingerprint", ())[:8]

    def _hex(self, label: str, parts: Iterable[str]) -> str:
        return hmac.new(self._secret, digest(label, parts), hashlib.sha256).hexdigest()

    def subject(self, client: str, patient_id: str, rule: str) -> str:
        """One patient of one client under one rule: the same patient has another hash on every rule."""
        return f"{self.fingerprint}.{self._hex('subject', (client, patient_id, rule))}"

    def finding(self, parts: Iterable[str]) -> str:
        """What made a rule fire, as texts in a fixed order. Another value, date or threshold gives another hash."""
        return f"{self.fingerprint}.{self._hex('finding', parts)}"


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
            "accepted or dismissed silences nothing any more and links to plans end. Put back a copy of the key; or, "
            f"to go on with a new one, write at least {_MIN_CHARS} random characters to {path}."
        )
    try:
        if not names:
            _create(path)
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"The hash key in {folder} cannot be read or made: {type(error).__name__}.") from error
    if len(secret) < _MIN_CHARS:
        raise StoreError(f"{path} holds no usable key. Put it back from a copy, or move it away for a new one.")
    return HashKey(secret)


def _create(path: Path) -> None:
    """Write a new secret and see it on disk before anything is hashed with it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    sync_folder(path.parent)
