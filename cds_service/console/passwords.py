"""Passwords: argon2id hashes, codes to choose one, and how long a failed sign-in makes the next one wait."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST: Final = 12
MOST: Final = 200
"""Characters of a password."""
CODE_HOLDS: Final = timedelta(days=7)
FIRST_CODE_HOLDS: Final = timedelta(hours=24)
FREE_BY_NAME: Final = 5
FREE_BY_ADDRESS: Final = 20
"""Sign-ins that may fail before the next has to wait."""
_FIRST_WAIT: Final = 30.0
_LONGEST_WAIT: Final = 900.0
_LONGEST_QUEUE: Final = 3.0
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that is taken for another
# A hash takes 64 MiB and a core: more at the same time would take them from the hooks.
_AT_ONCE: Final = threading.BoundedSemaphore(2)
_hasher = PasswordHasher()


class TooManyTries(Exception):
    """`seconds` until the next one."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def hashed(password: str) -> str:
    """The argon2id hash, with a salt of its own. Raises TooManyTries where too many are made at once."""
    with _place():
        return _hasher.hash(password)


@cache
def _nobody() -> str:
    """A hash that no password fits; made at the first try, since a command that imports this needs none."""
    return _hasher.hash(secrets.token_hex(16))


def fits(hash_: str | None, password: str) -> bool:
    """Whether the password is that of the hash. Without a hash it takes as long, and is not. Raises as `hashed`."""
    with _place():
        nobody = _nobody()  # for a name that is known too: the first try takes as long for either
        try:
            return _hasher.verify(hash_ or nobody, password) and hash_ is not None
        except (VerificationError, InvalidHashError):
            return False


def outdated(hash_: str) -> bool:
    """Whether it was made with weaker parameters than are usual now."""
    return _hasher.check_needs_rehash(hash_)


def new_code() -> str:
    """A code of 100 random bits, in groups that can be typed."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(20))
    return "-".join(letters[start : start + 5] for start in range(0, 20, 5))


def typed_code(text: str) -> str:
    """The code as it was shown, however it was typed."""
    letters = "".join(char for char in text.upper() if char.isalnum())[:40]
    return "-".join(letters[start : start + 5] for start in range(0, len(letters), 5))


def wait_after(failures_beyond: int) -> timedelta:
    """How long the next sign-in waits after so many more failures than are free: from 30 seconds, doubling, to 15
    minutes."""
    if failures_beyond < 1:
        return timedelta(0)
    return timedelta(seconds=min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures_beyond - 1, 10)))


@contextmanager
def _place() -> Iterator[None]:
    if not _AT_ONCE.acquire(timeout=_LONGEST_QUEUE):
        raise TooManyTries(5)
    try:
        yield
    finally:
        _AT_ONCE.release()
