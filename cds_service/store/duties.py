"""What one process does for all of them, and the alarms that come of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, or_, select, update

from cds_service.store.tables import alarms, duties, upsert

T = TypeVar("T")
MAX_REASON: Final = 2000

Subject = tuple[str, str, str]
"""Kind, subject and client ("" for all of them) of an alarm."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What the watch found, from its opening on. `details` are numbers and names, put into words where it is shown."""

    id: int
    kind: str
    subject: str
    client: str
    opened_at: datetime
    closed_at: datetime | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    reason: str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Duty:
    """When it was last done, by any process, and what came of it."""

    done_at: datetime | None = None
    result: dict[str, Any] | None = None


class DutyMemory:
    """Part of Store. Raises StoreUnavailable after `feedback_wait` seconds; `open_alarms` after `shown_wait`."""

    shown_wait: float
    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def take_duty(self, name: str, holder: str, now: datetime, hold: timedelta) -> bool:
        """Whether it is this process's for so long: nobody else holds it now."""
        taken: bool = self._write(lambda connection: _take(connection, name, holder, now, hold))
        return taken

    def end_duty(self, name: str, holder: str, now: datetime, result: Mapping[str, Any]) -> None:
        """It is done, and free; nothing where somebody else holds it by now."""
        done = update(duties).where(duties.c.name == name, duties.c.holder == holder)
        row = {"held_until": now, "done_at": now, "result": dict(result)}
        self._write(lambda connection: connection.execute(done.values(row)))

    def duty(self, name: str) -> Duty:
        """What came of it last."""
        asked = select(duties.c.done_at, duties.c.result).where(duties.c.name == name)
        row = self._read(lambda connection: connection.execute(asked).first(), self.shown_wait)
        return Duty(*row) if row else Duty()

    def set_alarms(
        self,
        found: Mapping[Subject, Mapping[str, Any]],
        kinds: Collection[str],
        over: Collection[Subject],
        now: datetime,
    ) -> tuple[list[Subject], list[Subject]]:
        """Open an alarm for each thing found, with its details, if none is open for it; close the open ones of `kinds`
        that are `over`. Returns what was opened and what was closed."""
        changed: tuple[list[Subject], list[Subject]] = self._write(
            lambda connection: _set(connection, found, kinds, over, now)
        )
        return changed

    def acknowledge(self, alarm: int, by: str, reason: str, now: datetime) -> bool:
        """Somebody has seen to it, and says why. False where there is no such alarm, or somebody did before."""
        row = {"acknowledged_by": by, "acknowledged_at": now, "reason": reason[:MAX_REASON]}
        mine = update(alarms).where(alarms.c.id == alarm, alarms.c.acknowledged_at.is_(None)).values(row)
        changed: int = self._write(lambda connection: connection.execute(mine).rowcount)
        return changed > 0

    def open_alarms(self) -> list[Alarm]:
        """Those that have no end, the newest first."""
        asked = (
            select(alarms).where(alarms.c.closed_at.is_(None)).order_by(alarms.c.opened_at.desc(), alarms.c.id.desc())
        )
        return self._read(lambda connection: [_alarm(row) for row in connection.execute(asked)], self.shown_wait)

    def alarms_since(self, since: datetime) -> list[Alarm]:
        """Those that were open at or after `since`, the newest first."""
        asked = select(alarms).where(or_(alarms.c.closed_at.is_(None), alarms.c.closed_at >= since))
        ordered = asked.order_by(alarms.c.opened_at.desc(), alarms.c.id.desc())
        return self._read(lambda connection: [_alarm(row) for row in connection.execute(ordered)], self.feedback_wait)


def _alarm(row: Any) -> Alarm:
    return Alarm(**row._mapping)


def _take(connection: Connection, name: str, holder: str, now: datetime, hold: timedelta) -> bool:
    row = {"holder": holder, "held_until": now + hold}
    new = upsert(connection.dialect.name, duties).values(name=name, **row)
    free = or_(duties.c.held_until <= now, duties.c.holder == holder)
    taken = new.on_conflict_do_update(index_elements=["name"], set_=row, where=free).returning(duties.c.name)
    return connection.execute(taken).first() is not None


def _set(
    connection: Connection,
    found: Mapping[Subject, Mapping[str, Any]],
    kinds: Collection[str],
    over: Collection[Subject],
    now: datetime,
) -> tuple[list[Subject], list[Subject]]:
    asked = select(alarms.c.id, alarms.c.kind, alarms.c.subject, alarms.c.client)
    known = connection.execute(asked.where(alarms.c.closed_at.is_(None), alarms.c.kind.in_(list(kinds)))).all()
    ids = {(kind, subject, client): id_ for id_, kind, subject, client in known}
    opened = sorted(found.keys() - ids.keys())
    closed = sorted((ids.keys() & set(over)) - found.keys())
    for kind, subject, client in opened:
        row = {"kind": kind, "subject": subject, "client": client, "opened_at": now}
        details = dict(found[kind, subject, client])
        connection.execute(
            upsert(connection.dialect.name, alarms).values(**row, details=details).on_conflict_do_nothing()
        )
    if closed:
        ended = update(alarms).where(alarms.c.id.in_([ids[each] for each in closed])).values(closed_at=now)
        connection.execute(ended)
    return opened, closed
