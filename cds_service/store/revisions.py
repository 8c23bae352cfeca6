"""Revisions of the site values: numbered, never changed. What a hospital set, when, who and why.

A revision is in force from its time to its end, if it has one; among several the highest number counts, so that one
that ends gives way to the one before it. One that is not in force yet can be withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Row, func, or_, select

from cds_service.store.audit import Told, with_line
from cds_service.store.tables import revisions, upsert, withdrawals

T = TypeVar("T")
Refusal = Literal["conflict", "one is waiting", "not waiting"]


@dataclass(frozen=True, slots=True)
class NewRevision:
    """What is to be published. `based_on`: the number of the revision that the author started from (0: none).

    Times are aware; `until` is None where it holds for ever. `changes` are the differences from `based_on`, each with
    `key`, `old` and `new`; `effect` is what a preview found, None where none was made.
    """

    document: str
    digest: str
    author: str
    reason: str
    made_at: datetime
    in_force_from: datetime
    based_on: int
    in_force_until: datetime | None = None
    approved_by: str | None = None
    changes: tuple[dict[str, str | None], ...] = ()
    effect: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Revision(NewRevision):
    """A revision on record."""

    number: int = 0
    withdrawn_by: str | None = None
    withdrawn_at: datetime | None = None

    def state(self, now: datetime, in_force: int | None) -> Literal["in force", "waiting", "past", "withdrawn"]:
        """What became of it; `in_force` is the number that counts at `now`."""
        if self.withdrawn_at is not None:
            return "withdrawn"
        if self.number == in_force:
            return "in force"
        return "waiting" if self.in_force_from > now else "past"


class RevisionMemory:
    """Part of Store. Reading raises StoreUnavailable after `shown_wait` seconds, writing after `feedback_wait`."""

    shown_wait: float
    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def revision_in_force(self, now: datetime, patient: bool = False) -> Revision | None:
        """The one that counts at `now`; None before the first. `patient`: no hook waits for it."""
        wait = self.feedback_wait if patient else self.shown_wait
        return self._read(lambda connection: _in_force(connection, now), wait)

    def revisions(self) -> list[Revision]:
        """All of them, the newest first."""
        return self._read(lambda connection: [_revision(row) for row in connection.execute(_ALL)], self.feedback_wait)

    def publish(self, new: NewRevision, told: Told = None) -> Revision | Refusal:
        """Put a revision on record, on disk when this returns, with the audit line that `told` makes of it.

        "conflict": another one was published since `based_on`. "one is waiting": a revision has a later beginning, and
        would take this one's place unseen.
        """
        found: Revision | Refusal = self._write(
            lambda connection: with_line(connection, add_revision(connection, new), told)
        )
        return found

    def withdraw(self, number: int, by: str, now: datetime, told: Told = None) -> Refusal | None:
        """Take back a revision that waits for its time. "not waiting" where it does not. `told` as in `publish`."""
        found: Refusal | None = self._write(
            lambda connection: with_line(connection, _withdraw(connection, number, by, now), told)
        )
        return found


_ALL = (
    select(revisions, withdrawals.c.withdrawn_by, withdrawals.c.withdrawn_at)
    .join(withdrawals, withdrawals.c.number == revisions.c.number, isouter=True)
    .order_by(revisions.c.number.desc())
)


def _revision(row: Row[Any]) -> Revision:
    known = dict(row._mapping)
    return Revision(**known | {"changes": tuple(known["changes"])})


def _in_force(connection: Connection, now: datetime) -> Revision | None:
    holds = or_(revisions.c.in_force_until.is_(None), revisions.c.in_force_until > now)
    wanted = _ALL.where(withdrawals.c.withdrawn_at.is_(None), revisions.c.in_force_from <= now, holds).limit(1)
    row = connection.execute(wanted).first()
    return _revision(row) if row else None


def add_revision(connection: Connection, new: NewRevision) -> Revision | Refusal:
    """As `RevisionMemory.publish`, in a transaction of somebody else."""
    newest = connection.execute(select(func.max(revisions.c.number))).scalar() or 0
    if newest != new.based_on:
        return "conflict"
    waiting = _ALL.where(withdrawals.c.withdrawn_at.is_(None), revisions.c.in_force_from > new.in_force_from)
    if connection.execute(waiting).first():
        return "one is waiting"
    row = asdict(new) | {"number": newest + 1, "changes": list(new.changes)}
    # Another machine may have taken the number since it was looked up: then this is nobody's.
    added = connection.execute(upsert(connection.dialect.name, revisions).values(row).on_conflict_do_nothing())
    return Revision(**asdict(new) | {"number": newest + 1, "changes": new.changes}) if added.rowcount else "conflict"


def _withdraw(connection: Connection, number: int, by: str, now: datetime) -> Refusal | None:
    known = connection.execute(_ALL.where(revisions.c.number == number)).first()
    if known is None or _revision(known).state(now, None) != "waiting":
        return "not waiting"
    connection.execute(withdrawals.insert().values(number=number, withdrawn_by=by, withdrawn_at=now))
    return None
