"""Sessions of the console: kept here, so that they can be ended here, whatever a browser still holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, not_, or_, select, update

from cds_service.store.audit import NewLine, write_line
from cds_service.store.tables import people, sessions, sign_in_tries

T = TypeVar("T")
IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
APART: Final = timedelta(minutes=1)
"""The clocks of replicas may differ by this. What is of a later moment was written before a clock was set back."""


@dataclass(frozen=True, slots=True)
class SessionOnRecord:
    """A session that holds. `person` is None before sign-in; `roles` are those of now, `roles_then` of its start."""

    data: Mapping[str, Any]
    person: str | None
    roles: tuple[str, ...]
    roles_then: tuple[str, ...]
    made_at: datetime
    seen_at: datetime


class SessionMemory:
    """Part of Store. Raises StoreUnavailable, after `feedback_wait` seconds at most."""

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def session(self, name: str, now: datetime) -> SessionOnRecord | None:
        """The session of this random name, None where it has ended or never was."""
        return self._read(lambda connection: _holds(connection, name, now), self.feedback_wait)

    def keep_session(self, name: str, person: str | None, data: Mapping[str, Any], now: datetime) -> None:
        """Write down what a session of `person` (None: of nobody) holds, and that it was seen now. One of nobody is
        made where none of nobody holds; one that has ended, or is somebody else's, stays ended."""
        row = {"data": dict(data), "seen_at": now}

        def work(connection: Connection) -> None:
            known, same = _holds(connection, name, now), sessions.c.id == session_hash(name)
            if known is not None and known.person == person:
                connection.execute(update(sessions).where(same).values(row))
            elif person is None:
                connection.execute(delete(sessions).where(or_(_ended(now), same)))
                new = row | {"id": session_hash(name), "person": None, "epoch": 0, "roles": [], "made_at": now}
                connection.execute(sessions.insert().values(new))

        self._write(work)

    def begin_session(
        self,
        name: str,
        person: str,
        data: Mapping[str, Any],
        line: NewLine,
        *,
        instead_of: str = "",
        tries: Sequence[str] = (),
    ) -> bool:
        """Somebody signed in: a session under a new random name, in place of the one before. False where the person is
        gone. `tries`: keys of `may_try`; what failed under the first is forgotten, under the others this one counts as
        none that failed."""

        def work(connection: Connection) -> bool:
            row = connection.execute(select(people).where(people.c.name == person)).first()
            connection.execute(delete(sessions).where(or_(_ended(line.at), sessions.c.id == session_hash(instead_of))))
            if row is None:
                return False
            new = {"id": session_hash(name), "person": person, "epoch": row.epoch, "roles": row.roles,
                   "data": dict(data) | {"person": person}, "made_at": line.at, "seen_at": line.at}  # fmt: skip
            connection.execute(sessions.insert().values(new))
            connection.execute(update(people).where(people.c.name == person).values(signed_in_at=line.at))
            connection.execute(delete(sign_in_tries).where(sign_in_tries.c.who.in_(tries[:1])))
            less = {"failures": sign_in_tries.c.failures - 1, "until": line.at}
            connection.execute(update(sign_in_tries).where(sign_in_tries.c.who.in_(tries[1:])).values(less))
            write_line(connection, line)
            return True

        done: bool = self._write(work)
        return done

    def rename_session(self, old: str, new: str, now: datetime) -> bool:
        """The same session under another random name, with the person's roles of now. False where it is not there."""

        def work(connection: Connection) -> bool:
            row = connection.execute(select(sessions).where(sessions.c.id == session_hash(old))).first()
            roles = (
                connection.execute(select(people.c.roles).where(people.c.name == row.person)).scalar() if row else None
            )
            if roles is None:
                return False
            values = {"id": session_hash(new), "roles": roles, "seen_at": now}
            connection.execute(update(sessions).where(sessions.c.id == session_hash(old)).values(values))
            return True

        done: bool = self._write(work)
        return done

    def end_session(self, name: str, line: NewLine) -> None:
        """Signed out."""

        def work(connection: Connection) -> None:
            connection.execute(delete(sessions).where(sessions.c.id == session_hash(name)))
            write_line(connection, line)

        self._write(work)


def _ended(now: datetime) -> ColumnElement[bool]:
    """Not used for too long, too long ago, or of a moment that is still to come."""
    seen, made = sessions.c.seen_at, sessions.c.made_at
    return or_(seen <= now - IDLE, made <= now - LONGEST, seen > now + APART, made > now + APART)


def _holds(connection: Connection, name: str, now: datetime) -> SessionOnRecord | None:
    wanted = (
        select(sessions, people.c.roles.label("roles_now"), people.c.epoch.label("epoch_now"))
        .join(people, people.c.name == sessions.c.person, isouter=True)
        .where(sessions.c.id == session_hash(name), not_(_ended(now)))
    )
    row = connection.execute(wanted).first()
    if row is None or (row.person is not None and row.epoch != row.epoch_now):
        return None
    roles = tuple(row.roles_now) if row.person is not None else ()
    return SessionOnRecord(row.data, row.person, roles, tuple(row.roles), row.made_at, row.seen_at)


def session_hash(name: str) -> str:
    """What the table holds in place of the random name."""
    return hashlib.sha256(name.encode()).hexdigest()
