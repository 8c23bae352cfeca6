"""People of the console: names, roles, password hashes, and codes with which a password is chosen once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, Row, delete, or_, select, update

from cds_service.store.audit import NewLine, write_line
from cds_service.store.sessions import APART
from cds_service.store.tables import people, sessions, sign_in_codes, sign_in_tries

T = TypeVar("T")
ADMIN: Final = "admin"
FIRST: Final = ""
"""The name under which a code for the first admin is kept."""
Refusal = Literal["unknown", "taken", "last admin", "code"]
FORGET_TRIES: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class PersonOnRecord:
    """A person. `password`: argon2id hash, None where none was chosen; `subject`: who it is at an issuer."""

    name: str
    password: str | None
    roles: tuple[str, ...]
    subject: str | None
    epoch: int
    made_at: datetime
    signed_in_at: datetime | None


class PeopleMemory:
    """Part of Store. Raises StoreUnavailable, after `feedback_wait` seconds at most.

    Each change takes the audit line that is written with it; what is refused changes and writes nothing.
    """

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def people(self) -> list[PersonOnRecord]:
        """All, by name."""
        wanted = select(people).order_by(people.c.name)
        return self._read(lambda connection: [_person(row) for row in connection.execute(wanted)], self.feedback_wait)

    def person(self, name: str) -> PersonOnRecord | None:
        """The one of this name."""
        return self._read(lambda connection: _named(connection, name), self.feedback_wait)

    def has_admin(self) -> bool:
        """Whether anybody can already manage people: an admin who has a password or signs in elsewhere."""
        return any(ADMIN in one.roles and (one.password or one.subject) for one in self.people())

    def add_person(self, name: str, roles: Sequence[str], line: NewLine) -> Refusal | None:
        """A new person without a password. "taken" where there is one of this name."""

        def work(connection: Connection) -> Refusal | None:
            if _named(connection, name):
                return "taken"
            _insert(connection, name, roles, line.at)
            write_line(connection, line)
            return None

        found: Refusal | None = self._write(work)
        return found

    def set_roles(self, name: str, roles: Sequence[str], line: NewLine) -> Refusal | None:
        """Other roles from the person's next page on."""

        def work(connection: Connection) -> Refusal | None:
            if refused := _would_lock_out(connection, name, roles):
                return refused
            connection.execute(update(people).where(people.c.name == name).values(roles=sorted(roles)))
            write_line(connection, line)
            return None

        found: Refusal | None = self._write(work)
        return found

    def remove_person(self, name: str, line: NewLine) -> Refusal | None:
        """Take a person away. Sessions and codes of this name end."""

        def work(connection: Connection) -> Refusal | None:
            if refused := _would_lock_out(connection, name, ()):
                return refused
            connection.execute(delete(people).where(people.c.name == name))
            _end(connection, name)
            write_line(connection, line)
            return None

        found: Refusal | None = self._write(work)
        return found

    def new_code(
        self, code: str, name: str, until: datetime, line: NewLine, *, lock_out: bool = False, tries: str = ""
    ) -> Refusal | None:
        """Keep a code with which `name` (or FIRST) chooses a password. An older code of a person ends.

        `lock_out`: the password goes and all sessions end. `tries`: forget the sign-ins that failed under this key.
        """

        def work(connection: Connection) -> Refusal | None:
            if name != FIRST:
                if not _named(connection, name):
                    return "unknown"
                connection.execute(delete(sign_in_codes).where(sign_in_codes.c.name == name))
            if lock_out:
                connection.execute(
                    update(people).where(people.c.name == name).values(password=None, epoch=people.c.epoch + 1)
                )
                connection.execute(delete(sessions).where(sessions.c.person == name))
            if tries:
                connection.execute(delete(sign_in_tries).where(sign_in_tries.c.who == tries))
            connection.execute(delete(sign_in_codes).where(sign_in_codes.c.until <= line.at))
            connection.execute(sign_in_codes.insert().values(code=code_hash(code), name=name, until=until))
            write_line(connection, line)
            return None

        found: Refusal | None = self._write(work)
        return found

    def code_is_for(self, code: str, now: datetime) -> str | None:
        """The name for which this code holds; FIRST for the first admin; None where it does not hold."""
        wanted = select(sign_in_codes.c.name).where(
            sign_in_codes.c.code == code_hash(code), sign_in_codes.c.until > now
        )
        return self._read(lambda connection: connection.execute(wanted).scalar(), self.feedback_wait)

    def use_code(
        self, code: str, name: str, password: str, line: NewLine, *, first_roles: Sequence[str] = ()
    ) -> Refusal | None:
        """The person sets a password with a code, which then holds no more; all sessions end.

        "code" where it does not hold for this name. With `first_roles` it is the code of the first admin, who is made
        here: "taken" where there is an admin already, and then all such codes end.
        """

        def work(connection: Connection) -> Refusal | None:
            kept = FIRST if first_roles else name
            mine = (sign_in_codes.c.code == code_hash(code), sign_in_codes.c.name == kept)
            if not connection.execute(
                select(sign_in_codes.c.code).where(*mine, sign_in_codes.c.until > line.at)
            ).first():
                return "code"
            if first_roles:
                connection.execute(delete(sign_in_codes).where(sign_in_codes.c.name == FIRST))
                if _admins(connection):
                    return "taken"
                connection.execute(delete(people).where(people.c.name == name))
                _insert(connection, name, first_roles, line.at)
            elif not _named(connection, name):
                return "code"
            _end(connection, name)
            connection.execute(
                update(people).where(people.c.name == name).values(password=password, epoch=people.c.epoch + 1)
            )
            write_line(connection, line)
            return None

        found: Refusal | None = self._write(work)
        return found

    def set_password(self, name: str, password: str, line: NewLine | None) -> Refusal | None:
        """Another password hash. With a line it is another password too, and all sessions end."""

        def work(connection: Connection) -> Refusal | None:
            known = _named(connection, name)
            if known is None:
                return "unknown"
            epoch = known.epoch + (line is not None)
            connection.execute(update(people).where(people.c.name == name).values(password=password, epoch=epoch))
            if line is not None:
                _end(connection, name)
                write_line(connection, line)
            return None

        found: Refusal | None = self._write(work)
        return found

    def person_of_issuer(self, subject: str, wanted: str, roles: Sequence[str], line: NewLine) -> PersonOnRecord | None:
        """The person who signs in elsewhere as `subject`, made at the first sign-in, with the roles told there. None
        without a role, which also takes away those that were told before.

        The name is `wanted` where nobody has it yet, else with a number.
        """

        def work(connection: Connection) -> PersonOnRecord | None:
            row = connection.execute(select(people).where(people.c.subject == subject)).first()
            name = row.name if row else ""
            if row is None and roles:
                name, number = wanted[:60], 1
                while _named(connection, name):
                    number += 1
                    name = f"{wanted[:60]}-{number}"
                _insert(connection, name, roles, line.at, subject)
            elif row is not None:
                connection.execute(update(people).where(people.c.name == name).values(roles=sorted(roles)))
            if row is None or set(row.roles) != set(roles):
                write_line(connection, NewLine(line.at, name, line.action, name, line.details))
            return _named(connection, name) if roles else None

        person: PersonOnRecord | None = self._write(work)
        return person

    def may_try(self, keys: Sequence[tuple[str, int]], now: datetime, steps: Callable[[int], timedelta]) -> float:
        """Count a sign-in that is about to be tried as failed, under each key (a keyed hash, and how many are free).

        Seconds to wait where it must not be tried yet: then nothing is counted. 0 where it may.
        """

        def work(connection: Connection) -> float:
            at = sign_in_tries.c.last_at
            connection.execute(delete(sign_in_tries).where(or_(at <= now - FORGET_TRIES, at > now + APART)))
            names = [key for key, _ in keys]
            found = {
                row.who: row for row in connection.execute(select(sign_in_tries).where(sign_in_tries.c.who.in_(names)))
            }
            wait = max(((row.until - now).total_seconds() for row in found.values()), default=0.0)
            if wait > 0:
                return wait
            for key, free in keys:
                failures = (found[key].failures if key in found else 0) + 1
                row = {"failures": failures, "last_at": now, "until": now + steps(failures - free)}
                if key in found:
                    connection.execute(update(sign_in_tries).where(sign_in_tries.c.who == key).values(row))
                else:
                    connection.execute(sign_in_tries.insert().values(row | {"who": key}))
            return 0.0

        seconds: float = self._write(work)
        return seconds


def code_hash(code: str) -> str:
    """Codes are long and random: a plain hash hides them."""
    return hashlib.sha256(code.encode()).hexdigest()


def _named(connection: Connection, name: str) -> PersonOnRecord | None:
    row = connection.execute(select(people).where(people.c.name == name)).first()
    return _person(row) if row else None


def _person(row: Row[Any]) -> PersonOnRecord:
    known = dict(row._mapping)
    return PersonOnRecord(**known | {"roles": tuple(known["roles"])})


def _insert(connection: Connection, name: str, roles: Sequence[str], at: datetime, subject: str | None = None) -> None:
    connection.execute(people.insert().values(name=name, roles=sorted(roles), subject=subject, epoch=0, made_at=at))


def _admins(connection: Connection) -> set[str]:
    rows = [_person(row) for row in connection.execute(select(people))]
    return {one.name for one in rows if ADMIN in one.roles and (one.password or one.subject)}


def _would_lock_out(connection: Connection, name: str, roles: Sequence[str]) -> Refusal | None:
    if not _named(connection, name):
        return "unknown"
    return "last admin" if ADMIN not in roles and _admins(connection) == {name} else None


def _end(connection: Connection, name: str) -> None:
    connection.execute(delete(sessions).where(sessions.c.person == name))
    connection.execute(delete(sign_in_codes).where(sign_in_codes.c.name == name))
