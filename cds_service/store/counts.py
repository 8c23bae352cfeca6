"""Counts of calls by the hour: summed in memory, added to the database every few seconds, and read again.

No call waits for them. A process that is killed loses what it summed since it last wrote, a few seconds; one that ends
as it should writes before. Where the database fails they wait here and are added later: of a commit whose end nobody
learned some may then be there twice.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Select, Table, delete, func, select

from cds_service.metrics.instruments import count
from cds_service.store.errors import StoreUnavailable
from cds_service.store.tables import call_counts, rule_counts, upsert
from cds_service.store.writer import Job, Writer

T = TypeVar("T")
log = structlog.get_logger("magnesium_cds.store")

RULE_COLUMNS: Final = ("fired", "lead", "beneath", "not_evaluated", "not_applicable", "fault")
COUNTS_WRITTEN_EVERY: Final = 5.0  # seconds
_KEEP_COUNTS: Final = 60.0  # an attempt to write them goes on so long; then they wait for the next
_MOST: Final = 200_000  # rows that wait while the database fails; what is counted beyond is lost, and logged

Label = tuple[str, str, str]
"""Kind, name, detail."""


class Slot(NamedTuple):
    """Whose calls are summed: of which hour (its beginning, aware), client and service."""

    hour: datetime
    client: str
    service: str


@dataclass(slots=True)
class Sums:
    """Of one slot: numbers by label, and of each rule the six of `RULE_COLUMNS`."""

    calls: dict[Label, int] = field(default_factory=lambda: defaultdict(int))
    rules: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * len(RULE_COLUMNS)))

    def add(self, other: Sums) -> None:
        for label, number in other.calls.items():
            self.calls[label] += number
        for rule, numbers in other.rules.items():
            own = self.rules[rule]
            for index, number in enumerate(numbers):
                own[index] += number

    def __len__(self) -> int:
        return len(self.calls) + len(self.rules)


class CountMemory:
    """Part of Store. Reading raises StoreUnavailable after `feedback_wait` seconds."""

    feedback_wait: float
    _writer: Writer
    _closed: bool
    _read: Callable[[Callable[[Connection], T], float], T]
    _purge_sometimes: Callable[[datetime], None]
    _summing: threading.Lock
    _sums: dict[Slot, Sums]
    _timer: threading.Timer | None
    _lost_told: float

    def add_counts(self, slot: Slot, rules: Iterable[tuple[str, int]], calls: Iterable[tuple[Label, int]]) -> None:
        """Sum in memory: one for each rule named, in the column with this index; the numbers of `calls`."""
        with self._summing:
            sums = self._sums.get(slot)
            if sums is None:
                if self._waiting() > _MOST:
                    self._lose()
                    return
                sums = self._sums[slot] = Sums()
            own = sums.rules
            for rule, column in rules:
                own[rule][column] += 1
            for label, number in calls:
                sums.calls[label] += number
            self._write_soon()

    def write_counts(self) -> Job | None:
        """Have what was summed added to the database, behind what others wait for. The job, None where there is
        nothing to write or no room for it."""
        with self._summing:
            timer, self._timer = self._timer, None
            taken, self._sums = self._sums, {}
        if timer is not None:
            timer.cancel()
        if not taken:
            return None
        job = Job(
            lambda connection: _add(connection, taken),
            time.monotonic() + _KEEP_COUNTS,
            lambda: self._take_back(taken),
            later=True,
        )
        try:
            self._writer.submit(job)
        except StoreUnavailable:
            self._take_back(taken)
            return None
        self._purge_sometimes(max(slot.hour for slot in taken))
        return job

    def rule_counts(
        self, since: datetime, until: datetime, client: str | None = None, rule: str | None = None
    ) -> list[dict[str, Any]]:
        """Rows of rules, by hour; `client` is all its tenants."""
        asked = _between(select(rule_counts), rule_counts, since, until, client)
        if rule is not None:
            asked = asked.where(rule_counts.c.rule == rule)
        return self._read(lambda connection: _rows(connection, asked), self.feedback_wait)

    def call_counts(
        self, since: datetime, until: datetime, client: str | None = None, kinds: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Rows of these kinds (all without one), by hour; `client` is all its tenants."""
        asked = _between(select(call_counts), call_counts, since, until, client)
        if kinds:
            asked = asked.where(call_counts.c.kind.in_(kinds))
        return self._read(lambda connection: _rows(connection, asked), self.feedback_wait)

    def rule_sums(self, since: datetime, until: datetime, client: str | None = None) -> list[dict[str, Any]]:
        """Each rule's numbers added up over the hours."""
        sums = [func.sum(rule_counts.c[name]).label(name) for name in RULE_COLUMNS]
        asked = _between(select(rule_counts.c.rule, *sums), rule_counts, since, until, client)
        grouped = asked.order_by(None).group_by(rule_counts.c.rule)
        return self._read(lambda connection: _rows(connection, grouped), self.feedback_wait)

    def call_sums(
        self, since: datetime, until: datetime, client: str | None = None, kinds: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Rows of these kinds added up over the hours."""
        key = [call_counts.c[name] for name in ("client", "service", "kind", "name", "detail")]
        asked = _between(
            select(*key, func.sum(call_counts.c.number).label("number")), call_counts, since, until, client
        )
        if kinds:
            asked = asked.where(call_counts.c.kind.in_(kinds))
        grouped = asked.order_by(None).group_by(*key)
        return self._read(lambda connection: _rows(connection, grouped), self.feedback_wait)

    def fired_counts(self, since: datetime, until: datetime, client: str | None = None) -> list[dict[str, Any]]:
        """Hour, client, service, rule and how often it fired, where it did."""
        columns = (rule_counts.c[name] for name in ("hour", "client", "service", "rule", "fired"))
        asked = _between(select(*columns), rule_counts, since, until, client).where(rule_counts.c.fired > 0)
        return self._read(lambda connection: _rows(connection, asked), self.feedback_wait)

    def faults_since(self, since: datetime) -> dict[str, int]:
        """How often each rule met a fault of ours, where it did."""
        total = func.sum(rule_counts.c.fault)
        asked = select(rule_counts.c.rule, total).where(rule_counts.c.hour >= since, rule_counts.c.fault > 0)
        grouped = asked.group_by(rule_counts.c.rule)
        return self._read(lambda connection: {r: int(n) for r, n in connection.execute(grouped)}, self.feedback_wait)

    def last_fired(self) -> dict[str, datetime]:
        """The newest hour in which each rule fired, as far as counts are kept."""
        asked = select(rule_counts.c.rule, func.max(rule_counts.c.hour)).where(rule_counts.c.fired > 0)
        grouped = asked.group_by(rule_counts.c.rule)
        return self._read(lambda connection: {rule: at for rule, at in connection.execute(grouped)}, self.feedback_wait)  # noqa: C416 - rows

    def _reset_counts(self) -> None:
        self._summing = threading.Lock()
        self._sums = {}
        self._timer = None
        self._lost_told = 0.0

    def _close_counts(self) -> None:
        with suppress(StoreUnavailable):
            self.write_counts()

    def _waiting(self) -> int:
        return sum(map(len, self._sums.values())) if len(self._sums) > 100 else 0

    def _lose(self) -> None:
        count("store_total", "counts_dropped")
        if time.monotonic() - self._lost_told > 60:
            self._lost_told = time.monotonic()
            log.error("counts dropped")

    def _take_back(self, taken: Mapping[Slot, Sums]) -> None:
        with self._summing:
            for slot, sums in taken.items():
                mine = self._sums.setdefault(slot, Sums())
                mine.add(sums)
            self._write_soon()

    def _write_soon(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = threading.Timer(COUNTS_WRITTEN_EVERY, self.write_counts)
            self._timer.daemon = True
            self._timer.start()


def _between(asked: Select[Any], table: Table, since: datetime, until: datetime, client: str | None) -> Select[Any]:
    asked = asked.where(table.c.hour >= since, table.c.hour < until).order_by(table.c.hour)
    if client is not None:
        asked = asked.where((table.c.client == client) | table.c.client.startswith(f"{client}/", autoescape=True))
    return asked


def _rows(connection: Connection, asked: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(asked).mappings()]


def _add(connection: Connection, taken: Mapping[Slot, Sums]) -> None:
    """Add to what the database has. Rows go in one order, so that no two processes wait for each other."""
    calls = [
        slot._asdict() | {"kind": kind, "name": name, "detail": detail, "number": number}
        for slot, sums in sorted(taken.items())
        for (kind, name, detail), number in sorted(sums.calls.items())
    ]
    rules = [
        slot._asdict() | {"rule": rule} | dict(zip(RULE_COLUMNS, numbers, strict=True))
        for slot, sums in sorted(taken.items())
        for rule, numbers in sorted(sums.rules.items())
    ]
    for table, rows, added in ((call_counts, calls, ("number",)), (rule_counts, rules, RULE_COLUMNS)):
        if rows:
            new = upsert(connection.dialect.name, table)
            sums_ = {name: table.c[name] + new.excluded[name] for name in added}
            key = [column.name for column in table.primary_key.columns]
            connection.execute(new.on_conflict_do_update(index_elements=key, set_=sums_), rows)


def purge_counts(connection: Connection, before: datetime, most: int) -> int:
    """Delete the oldest hours before this moment, until so many rows are gone; returns how many."""
    gone = 0
    while gone < most:
        oldest = [connection.execute(select(func.min(table.c.hour))).scalar() for table in (call_counts, rule_counts)]
        hours = [hour for hour in oldest if hour is not None and hour < before]
        if not hours:
            break
        for table in (call_counts, rule_counts):
            gone += connection.execute(delete(table).where(table.c.hour == min(hours))).rowcount
    return gone
