"""Rows of counts as streams to be judged: every rule's firings, and what is wrong with the data, by client and in all.

The data of one client: prefetch keys not filled, codes not read, units not read, calls refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cds_service.watch.judge import TESTS, Test
from cds_service.watch.streams import PAST_DAYS, Calls, Stream

READ_DAYS: Final = PAST_DAYS + 29
QUALITY_TESTS: Final[tuple[Test, ...]] = tuple(test for test in TESTS if test.side == "high")
"""Of what is wrong with data only more is news."""
ALL: Final = ""
_NOT_FILLED: Final = frozenset({"absent", "failed", "incomplete"})

Row = Mapping[str, Any]
Hours = dict[str, list[int]]


def first_hour(now: datetime) -> datetime:
    """The midnight (UTC) from which on rows are wanted."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=READ_DAYS)


class _Grid:
    """Numbers by hour, of a key and group."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start = start
        self.hours = int((end - start) / timedelta(hours=1))
        self.rows: dict[Any, Hours] = defaultdict(dict)

    def add(self, key: Any, group: str, hour: datetime, number: int) -> None:
        index = int((hour - self.start) / timedelta(hours=1))
        if 0 <= index < self.hours:
            row = self.rows[key].setdefault(group, [])
            if not row:
                row.extend([0] * self.hours)
            row[index] += number


def rule_streams(calls: Iterable[Row], fired: Iterable[Row], start: datetime, end: datetime) -> list[Stream]:
    """Of every rule that ever fired: by client, and in all where there are several. `calls`: rows of kind version;
    `fired`: rows of rules. Rows before `start` or from `end` (whole hours) on are left out."""
    made, counts = _Grid(start, end), _Grid(start, end)
    for row in calls:
        made.add(row["client"], row["service"], row["hour"], row["number"])
        made.add(ALL, f"{row['client']} {row['service']}", row["hour"], row["number"])
    for row in fired:
        counts.add((row["rule"], row["client"]), row["service"], row["hour"], row["fired"])
        counts.add((row["rule"], ALL), f"{row['client']} {row['service']}", row["hour"], row["fired"])
    exposure = {client: Calls(start, groups) for client, groups in made.rows.items()}
    several = len(exposure) > 2
    return [
        Stream(rule, client, exposure[client], groups)
        for (rule, client), groups in sorted(counts.rows.items(), key=lambda each: each[0])
        if client in exposure and (several or client != ALL)
    ]


def quality_streams(rows: Iterable[Row], start: datetime, end: datetime) -> list[Stream]:
    """Of each client, and in all where there are several, what is wrong with the data, as shares of all there is."""
    made, counts = _Grid(start, end), _Grid(start, end)
    for row in rows:
        about = _subject(row)
        if about is not None:
            for client in (row["client"], ALL):
                made.add((about[0], client), row["client"], row["hour"], row["number"])
                counts.add((about[0], client), row["client"], row["hour"], row["number"] if about[1] else 0)
    several = len({client for _, client in made.rows}) > 2
    return [
        Stream(subject, client, Calls(start, groups), counts.rows[subject, client])
        for (subject, client), groups in sorted(made.rows.items())
        if several or client != ALL
    ]


def _subject(row: Row) -> tuple[str, bool] | None:
    """What a row of counts is about, and whether it counts what is wrong with it."""
    kind, name, detail = row["kind"], row["name"], row["detail"]
    if kind == "input" and detail != "not_available":
        return f"input {name}", detail in _NOT_FILLED
    if kind in ("read", "not read"):
        return f"codes {name}", kind == "not read"
    if kind == "lab":
        return f"unit {name}", detail == "unit not read"
    if kind in ("version", "refused"):
        return "calls", kind == "refused"
    return None


def settled(now: datetime) -> datetime:
    """The hour (its beginning) before which all is written down: counts come some seconds late."""
    late = now - timedelta(minutes=2)
    return late.replace(minute=0, second=0, microsecond=0)
