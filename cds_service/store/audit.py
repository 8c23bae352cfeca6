"""The audit log: who did what in the console, each line chained to the one before by its hash.

A line that was changed, taken out or put in breaks the chain, and `broken_line` names the place. Lines taken off the
end leave a shorter chain that is whole: who wants to notice that too keeps the newest number and hash elsewhere. They
are written to the program's log with each line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection, Row, select

from cds_service.store.tables import audit_lines

T = TypeVar("T")
START: Final = "0" * 64
_MOST_DETAILS: Final = 20_000  # characters
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


class AuditMemory:
    """Part of Store. Raises StoreUnavailable, after `feedback_wait` seconds at most."""

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def audit(self, line: NewLine) -> AuditLine:
        """Write a line down; when this returns it is on disk."""
        written: AuditLine = self._write(lambda connection: write_line(connection, line))
        return written

    def audit_lines(self) -> list[AuditLine]:
        """All of them, the newest first."""
        wanted = select(audit_lines).order_by(audit_lines.c.number.desc())
        return self._read(lambda connection: [_line(row) for row in connection.execute(wanted)], self.feedback_wait)

    def broken_line(self) -> tuple[int, str] | None:
        """The first line that does not fit, and why; None where the chain is whole."""
        wanted = select(audit_lines).order_by(audit_lines.c.number)
        return self._read(lambda connection: _broken(connection.execute(wanted)), self.feedback_wait * 10)


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


def _canonical(details: Mapping[str, Any]) -> str:
    return json.dumps(details, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hash(row: Mapping[str, Any]) -> str:
    told = [row["number"], f"{row['at'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            *(row[name] for name in ("person", "action", "target", "details", "before"))]  # fmt: skip
    return hashlib.sha256(json.dumps(told, ensure_ascii=True).encode()).hexdigest()


def _line(row: Row[Any]) -> AuditLine:
    known = dict(row._mapping)
    try:
        details = json.loads(known["details"])
    except ValueError:
        details = {"not readable": True}
    return AuditLine(**known | {"details": details})


def _broken(rows: Iterable[Row[Any]]) -> tuple[int, str] | None:
    before, expected = START, 1
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
