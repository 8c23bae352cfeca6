"""Tokens seen once are never taken again: the memory that threads, processes and machines share.

The row's primary key decides who was first, so two that come at the same moment on two machines cannot both win.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import postgresql, sqlite

from cds_service.store.errors import StoreUnavailable, unavailable
from cds_service.store.tables import seen_tokens
from cds_service.store.writer import Job

if TYPE_CHECKING:
    from cds_service.store.writer import Writer

_CLEAN_EVERY: Final = 60.0


class TokenMemory:
    """Part of Store. `token_wait`: seconds that a call may wait to learn whether its token is new."""

    token_wait = 1.0
    _writer: Writer
    _cleaned_at = float("-inf")

    def use_token(self, issuer: str, jti: str, expires_at: datetime, now: datetime) -> bool:
        """Whether this token of this issuer was never used before; from now on it was, and that is on disk.

        `issuer` and `jti`: at most 300 characters. `expires_at`: aware; until then it is remembered. StoreUnavailable
        when that cannot be learned within `token_wait` seconds: the caller must then refuse.
        """
        clean = time.monotonic() - self._cleaned_at > _CLEAN_EVERY
        if clean:
            self._cleaned_at = time.monotonic()
        row = {"issuer": issuer, "jti": jti, "expires_at": expires_at}
        job = Job(lambda connection: _remember(connection, row, now if clean else None), self._until(), _nothing)
        self._writer.submit(job)
        if not job.done.wait(self.token_wait):
            raise unavailable("late")
        if job.error is not None:
            raise StoreUnavailable(job.error.kind, job.error.text)
        return bool(job.result)

    def _until(self) -> float:
        return time.monotonic() + self.token_wait


def _nothing() -> None:
    """A token that was not written down needs no count: its call is refused and says so in the log."""


def _remember(connection: Connection, row: dict[str, Any], forget_before: datetime | None) -> bool:
    if forget_before is not None:
        connection.execute(delete(seen_tokens).where(seen_tokens.c.expires_at < forget_before))
    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = kind.insert(seen_tokens).values(**row).on_conflict_do_nothing().returning(seen_tokens.c.jti)
    return connection.execute(insert).first() is not None
