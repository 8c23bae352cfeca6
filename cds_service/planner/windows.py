"""Which minutes of a waking day are free: forbidden windows on a circle of one day or one week.

A window is open: magnesium exactly at its edge keeps the interval. So two windows that touch leave one free
minute between them.
"""

from __future__ import annotations

from collections.abc import Iterable

from cds_service.planner.model import DAY, DrugTimes, Interval, same_every_day

Window = tuple[int, int, int]
"""(minute of the dose, minutes forbidden before it, minutes forbidden after it)."""
Segment = tuple[int, int]
"""Free from the first minute to the last, both included, counted from the start of the waking day."""


def day_windows(drugs: Iterable[DrugTimes]) -> frozenset[Window]:
    """The windows of all weekdays laid upon one day, for times that hold every day."""
    return frozenset(
        _window(dose.minute, drug.interval)
        for drug in drugs
        if drug.windowed and drug.interval is not None
        for day in (drug.week[:1] if same_every_day(drug.week) else drug.week)
        for dose in day
    )


def week_windows(drugs: Iterable[DrugTimes]) -> frozenset[Window]:
    """The windows of a week, their doses in minutes since Monday's midnight."""
    return frozenset(
        _window(weekday * DAY + dose.minute, drug.interval)
        for drug in drugs
        if drug.windowed and drug.interval is not None
        for weekday, day in enumerate(drug.week)
        for dose in day
    )


def _window(minute: int, interval: Interval) -> Window:
    """Together is never apart: where one side needs a distance, the minute of the dose itself is forbidden
    too."""
    before, after = interval.magnesium_then_drug, interval.drug_then_magnesium
    return (minute, max(before, 1), max(after, 1)) if before or after else (minute, 0, 0)


def free(windows: Iterable[Window], start: int, length: int, period: int, room: int = 0) -> list[Segment]:
    """The free segments between `start` and `start + length` on a circle of `period` minutes, in order.

    `room` widens every window on both sides.
    """
    spans: list[Segment] = []
    for minute, before, after in windows:
        wide = before + after + 2 * room
        if wide:
            opens = (minute - before - room - start) % period
            if opens < length or opens == 0:
                spans.append((opens, opens + wide))
            if opens + wide > period:
                spans.append((opens - period, opens - period + wide))
    spans.sort()
    found: list[Segment] = []
    reached = 0
    for opens, closes in spans:
        if opens >= reached:
            found.append((reached, min(opens, length)))
        if closes > reached:
            reached = closes
            if reached > length:
                return found
    found.append((reached, length))
    return found
