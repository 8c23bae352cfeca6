"""Which minutes of a waking day are free: forbidden windows on a circle of one day or one week.

A window is open: magnesium exactly at its edge keeps the interval. So two windows that touch leave one free
minute between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

from cds_service.planner.model import DAY, WEEK, DrugTimes, Interval, same_every_day
from cds_service.planner.schedule import Schedule

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
    """Together is never apart: where one side needs a distance, the minute of the dose itself is forbidden too."""
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


@dataclass(frozen=True, slots=True)
class Reach:
    """What one drug forbids. `day`: the windows of all weekdays laid upon one day; `week`: those of each day, where
    days differ, else ()."""

    day: frozenset[Window]
    week: tuple[Window, ...] = ()

    def shifted(self, minutes: int) -> Reach:
        """The same doses so much later; one that crosses midnight stays on its weekday."""
        day = frozenset(((at + minutes) % DAY, before, after) for at, before, after in self.day)
        week = [(at // DAY * DAY + (at % DAY + minutes) % DAY, before, after) for at, before, after in self.week]
        return Reach(day, tuple(week))


NOTHING = Reach(frozenset())


def reach_of(drug: DrugTimes) -> Reach:
    """What a drug forbids; nothing where it has no window."""
    if not drug.windowed:
        return NOTHING
    return Reach(day_windows([drug]), () if same_every_day(drug.week) else tuple(week_windows([drug])))


@dataclass(frozen=True, slots=True)
class Room:
    """What a set of drugs leaves free of the waking day: laid upon one day, by drugs that are taken alike every day,
    and by the others on each weekday, Monday first (() where there are no others)."""

    laid: tuple[Segment, ...]
    steady: tuple[Segment, ...]
    by_day: tuple[tuple[Segment, ...], ...]
    schedule: Schedule

    def beside(self, other: Room) -> Room:
        """What both leave free."""
        days = [room.by_day or (room.all_day,) * 7 for room in (self, other)]
        return Room(
            overlap(self.laid, other.laid),
            overlap(self.steady, other.steady),
            tuple(map(overlap, *days)) if self.by_day or other.by_day else (),
            self.schedule,
        )

    @property
    def all_day(self) -> tuple[Segment, ...]:
        """The whole waking day."""
        return ((0, self.schedule.waking_length),)

    def weekdays(self, doses: int) -> Iterator[bool]:
        """For each waking day, Monday first, whether so many doses fit."""
        spacing = self.schedule.spacing
        if not self.by_day or not fits(self.steady, doses, spacing):
            yield from (fits(self.steady, doses, spacing),) * 7
        else:
            yield from (fits(overlap(self.steady, day), doses, spacing) for day in self.by_day)

    def fits(self, doses: int) -> bool:
        """Whether there is a plan: the same times every day, or times for each day."""
        return fits(self.laid, doses, self.schedule.spacing) or (bool(self.by_day) and all(self.weekdays(doses)))


def room_beside(reaches: Iterable[Reach], schedule: Schedule) -> Room:
    """What these drugs leave free."""
    reaches = tuple(reaches)
    starts, length = schedule.waking_starts, schedule.waking_length
    steady: frozenset[Window] = reduce(frozenset.union, (r.day for r in reaches if not r.week), frozenset())
    laid = reduce(frozenset.union, (r.day for r in reaches if r.week), steady)
    week = [window for r in reaches for window in r.week]
    kept = tuple(free(steady, starts, length, DAY))
    if not week:
        return Room(kept, kept, (), schedule)
    days = tuple(tuple(free(week, weekday * DAY + starts, length, WEEK)) for weekday in range(7))
    return Room(tuple(free(laid, starts, length, DAY)), kept, days, schedule)


def rooms_without_each(reaches: Sequence[Reach], schedule: Schedule) -> list[Room]:
    """For each drug what all the others leave free."""
    nothing, rooms = room_beside([], schedule), [room_beside([reach], schedule) for reach in reaches]
    before = accumulate(rooms[:-1], Room.beside, initial=nothing)
    behind = [*accumulate(reversed(rooms[1:]), Room.beside, initial=nothing)][::-1]
    return [one.beside(other) for one, other in zip(before, behind, strict=True)] if rooms else []


def overlap(some: Sequence[Segment], others: Sequence[Segment]) -> tuple[Segment, ...]:
    """What lies in both; each in order and without overlap."""
    found: list[Segment] = []
    i = j = 0
    while i < len(some) and j < len(others):
        opens, closes = max(some[i][0], others[j][0]), min(some[i][1], others[j][1])
        if opens <= closes:
            found.append((opens, closes))
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def fits(segments: Sequence[Segment], doses: int, spacing: int) -> bool:
    """Whether so many doses fit: each is put as early as it goes."""
    earliest = 0
    for opens, closes in segments:
        while (at := max(opens, earliest)) <= closes:
            doses -= 1
            if not doses:
                return True
            earliest = at + spacing
    return False
