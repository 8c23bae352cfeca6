"""The audit log: who did what in the console, each line chained to the one before by its hash.

A line that was changed, taken out or put in breaks the chain, and `broken_line` names the place. Lines taken off the
end leave a shorter chain that is whole: who wants to notice that too keeps the newest number and hash elsewhere. They
are written to the program's log with each line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import ColumnElement, Connection, Dialect, Row, String, TypeDecorator, select, type_coerce

from cds_service.store.tables import audit_lines

T = TypeVar("T")
START: Final = "0" * 64
_MOST_DETAILS: Final = 20_000  # characters
_TOGETHER: Final = 1000  # lines that are read in one go
log = structlog.get_logger("magnesium_cds.audit")


@dataclass(frozen=True, slots=True)
class NewLine:
    """What is to be written down: when (aware), by whom ("" before anybody signed in), what, and on what.

    `action` and `target` are short; `details` hold strings, numbers, truth, None, and lists of them. Nothing of a
    patient.
    """

    at: datetime
    person: str
    action: str
    target: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditLine(NewLine):
    """A line on record."""

    number: int = 0
    before: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: of a person, of an action, from a time on, before a time, with numbers below one. "" and None: any.

    Times are aware.
    """

    person: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None
    below: int | None = None

    def tests(self) -> list[ColumnElement[bool]]:
        """As conditions on the table."""
        columns = audit_lines.c
        pairs = ((self.person, columns.person.__eq__), (self.action, columns.action.__eq__),
                 (self.since, columns.at.__ge__), (self.until, columns.at.__lt__),
                 (self.below, columns.number.__lt__))  # fmt: skip
        return [test(value) for value, test in pairs if value not in ("", None)]


class _AsFound(TypeDecorator[datetime]):
    """A time as it stands there. One that somebody made unreadable is the first there is, and hides no line."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware, in UTC: SQLite gives a text."""
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            return datetime.min.replace(tzinfo=UTC)


_AS_FOUND: Final = select(
    *(type_coerce(one, _AsFound).label("at") if one.name == "at" else one for one in audit_lines.c)
)


class AuditMemory:
    """Part of Store. Raises StoreUnavailable, after `feedback_wait` seconds at most."""

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def audit(self, line: NewLine) -> AuditLine:
        """Write a line down; when this returns it is on disk."""
        written: AuditLine = self._write(lambda connection: write_line(connection, line))
        return written

    def audit_lines(self, wanted: Wanted | None = None, most: int = 1_000_000) -> list[AuditLine]:
        """Those that are wanted (all, unless said), the newest first."""
        asked = wanted or Wanted()
        query = _AS_FOUND.where(*asked.tests()).order_by(audit_lines.c.number.desc()).limit(most)
        return self._read(lambda connection: [_line(row) for row in connection.execute(query)], self.feedback_wait)

    def audit_words(self) -> tuple[list[str], list[str]]:
        """The people and the actions that the log names."""

        def query(connection: Connection) -> tuple[list[str], list[str]]:
            columns = (audit_lines.c.person, audit_lines.c.action)
            people, actions = ([row[0] for row in connection.execute(select(each).distinct().order_by(each))]
                               for each in columns)  # fmt: skip
            return people, actions

        return self._read(query, self.feedback_wait)

    def broken_line(self) -> tuple[int, str] | None:
        """The first line that does not fit, and why; None where the chain is whole.

        Read some lines at a time: an open question to SQLite keeps everybody from writing.
        """
        before, expected = START, 1
        while rows := self._lines_from(expected):
            if broken := _broken(rows, before, expected):
                return broken
            before, expected = rows[-1].hash, expected + len(rows)
        return None

    def _lines_from(self, number: int) -> Sequence[Row[Any]]:
        """Some lines as they stand; from 1 on with those before it, of which there should be none."""
        wanted = _AS_FOUND.order_by(audit_lines.c.number).limit(_TOGETHER)
        wanted = wanted.where(audit_lines.c.number >= number) if number > 1 else wanted
        return self._read(lambda connection: connection.execute(wanted).all(), self.feedback_wait)


def write_line(connection: Connection, line: NewLine) -> AuditLine:
    """Write a line in the transaction of the change that it tells of: both are on record, or none."""
    newest = connection.execute(
        select(audit_lines.c.number, audit_lines.c.hash).order_by(audit_lines.c.number.desc()).limit(1)
    ).first()
    number, before = (newest.number + 1, newest.hash) if newest else (1, START)
    details = _canonical(line.details)
    if len(details) > _MOST_DETAILS:
        details = _canonical({"too long to keep": len(details)})
    row: dict[str, Any] = {
        "number": number,
        "at": line.at.astimezone(UTC),
        "person": line.person[:100],
        "action": line.action[:100],
        "target": line.target[:300],
        "details": details,
        "before": before,
    }
    row["hash"] = _hash(row)
    connection.execute(audit_lines.insert().values(row))
    log.info("audit line", number=number, hash=row["hash"])
    return AuditLine(**row | {"details": json.loads(details)})


Told = Callable[[Any], NewLine] | None
"""The audit line of a change, made of what became of it."""


def with_line(connection: Connection, made: T, told: Told) -> T:
    """What became of a change, with its line written in the same transaction; a refusal, which is a word, has none."""
    if told is not None and not isinstance(made, str):
        write_line(connection, told(made))
    return made


def _canonical(details: Mapping[str, Any]) -> str:
    return json.dumps(details, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hash(row: Mapping[str, Any]) -> str:
    told = [row["number"], f"{row['at'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            *(row[name] for name in ("person", "action", "target", "details", "before"))]  # fmt: skip
    return hashlib.sha256(json.dumps(told, ensure_ascii=True, default=str).encode()).hexdigest()


def _line(row: Row[Any]) -> AuditLine:
    known = dict(row._mapping)
    try:
        details = json.loads(known["details"])
    except ValueError:
        details = {"not readable": True}
    return AuditLine(**known | {"details": details})


def _broken(rows: Iterable[Row[Any]], before: str, expected: int) -> tuple[int, str] | None:
    for row in rows:
        if row.number != expected:
            return expected, "is missing"
        if row.before != before:
            return row.number, "does not follow the line before it: that one or this one was changed"
        if _hash(dict(row._mapping)) != row.hash:
            return row.number, "was changed after it was written"
        before, expected = row.hash, expected + 1
    return None


def line_as_json(line: AuditLine) -> dict[str, Any]:
    """For other programs."""
    return asdict(line) | {"at": f"{line.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}


def details_in_words(details: Mapping[str, Any]) -> str:
    """As a person reads them: 'before: editor, viewer; after: viewer'."""

    def told(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(told, value)) or "none"
        if isinstance(value, bool) or value is None:
            return {True: "yes", False: "no", None: "none"}[value]
        return str(value)

    return "; ".join(f"{name.replace('_', ' ')}: {told(value)}" for name, value in details.items())
