"""The times of magnesium in a week, by plain search.

A plan breaks no interval, lies in the waking day and keeps its doses apart: without these three it is no
plan. Among plans the best has, in this order, the most doses with food (where the product wants food) and the
fewest new moments at which something is taken, counted over the week. Ties fall to: not within `room` of a
forbidden window; at a meal or bedtime; nearest the usual clock times of so many doses a day; earliest.

One set of times for all days goes before sets that differ by day, even better ones: it is easier to live by.
Days differ only where no common set exists.

The search needs few times only. Push every dose of a plan as early as it will go: it comes to rest at the
start of a free segment, at a moment that makes it better (a meal, another medicine), or at the least distance
behind the dose before it. So those are tried, and the grid for good looks. Over them runs a table: best cost
of so many doses up to each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cds_service.planner.model import DAY, DAYS, WEEK, PlanRequest, TimesWeek, week_minutes
from cds_service.planner.schedule import Schedule
from cds_service.planner.windows import Segment, day_windows, fits, free, reach_of, room_beside, week_windows

# A cost is one number: each part outweighs all parts to its right. Doses are at most six, days seven, minutes 1440.
FOOD, NEW, TIGHT, NO_CUE = 10**9, 10**7, 10**6, 10**5


@dataclass(frozen=True, slots=True)
class _Day:
    """What makes one time better than another on one stretch of the waking day; times from its start.

    `taken`: time -> on how many of `days` days something is taken then anyway.
    """

    start: int
    days: int
    taken: dict[int, int]


def solve(request: PlanRequest) -> TimesWeek | None:
    """The best plan, None if there is none. Drugs to avoid and unread ones are the caller's affair."""
    room = room_beside(map(reach_of, request.drugs), request.schedule)
    if fits(room.laid, request.doses_per_day, request.schedule.spacing):
        return (_common(request, room.laid),) * 7
    return solve_days(request, range(7)) if room.fits(request.doses_per_day) else None


def solve_days(request: PlanRequest, weekdays: Iterable[int]) -> TimesWeek:
    """The best times of each of these waking days, all of which have room; nothing on the others.

    A waking day that runs past midnight ends on the next weekday.
    """
    schedule = request.schedule
    windows = week_windows(request.drugs)
    taken_at = week_minutes(request.drugs)
    found: list[set[int]] = [set() for _ in DAYS]
    solved: dict[object, tuple[int, ...]] = {}
    for weekday in weekdays:
        start = weekday * DAY + schedule.waking_starts
        taken = {offset: 1 for minute in taken_at if (offset := (minute - start) % WEEK) < DAY}
        segments = free(windows, start, schedule.waking_length, WEEK)
        roomy = free(windows, start, schedule.waking_length, WEEK, schedule.room)
        alike = (tuple(segments), tuple(roomy), frozenset(taken))
        if alike not in solved:
            solved[alike] = _best(request, segments, roomy, _Day(start, 1, taken))
        for offset in solved[alike]:
            day, minute = divmod((start + offset) % WEEK, DAY)
            found[day].add(minute)
    return tuple(tuple(sorted(minutes)) for minutes in found)


def _common(request: PlanRequest, segments: Sequence[Segment]) -> tuple[int, ...]:
    """The best times that hold every day; there is room for them in the segments."""
    schedule = request.schedule
    start, length = schedule.waking_starts, schedule.waking_length
    taken: dict[int, int] = {}
    for minute in week_minutes(request.drugs):
        offset = (minute - start) % DAY
        taken[offset] = taken.get(offset, 0) + 1
    roomy = free(day_windows(request.drugs), start, length, DAY, schedule.room)
    best = _best(request, segments, roomy, _Day(start, 7, taken))
    return tuple(sorted((start + offset) % DAY for offset in best))


def _best(request: PlanRequest, segments: Sequence[Segment], roomy: Sequence[Segment], day: _Day) -> tuple[int, ...]:
    """The cheapest times; there is room for all doses in the segments. `roomy`: what is free with room to spare."""
    schedule, doses = request.schedule, request.doses_per_day
    times = _candidates(segments, day, doses, schedule)
    costs = _costs(times, roomy, day, request)
    usual = sorted(
        min((minute - schedule.waking_starts) % DAY, schedule.waking_length) for minute in schedule.usual_times[doses]
    )
    # best[i]: (cost, chosen times) of the doses so far, the last one at times[i] or before.
    best: list[tuple[int, tuple[int, ...]] | None] = [(0, ())] * len(times)
    for number, wanted in enumerate(usual):
        layer: list[tuple[int, tuple[int, ...]] | None] = []
        cheapest: tuple[int, tuple[int, ...]] | None = None
        before = -1
        for time, cost in zip(times, costs, strict=True):
            while number and before + 1 < len(times) and times[before + 1] <= time - schedule.spacing:
                before += 1
            previous = best[before] if number and before >= 0 else None if number else (0, ())
            if previous is not None:
                total = previous[0] + cost + abs(time - wanted)
                if cheapest is None or total < cheapest[0]:
                    cheapest = (total, (*previous[1], time))
            layer.append(cheapest)
        best = layer
    last = best[-1]
    assert last is not None
    return last[1]


def _candidates(segments: Sequence[Segment], day: _Day, doses: int, schedule: Schedule) -> list[int]:
    """The times worth trying, in order; see the head of this file."""
    grid, spacing = schedule.grid, schedule.spacing
    anchors = {opens for opens, _ in segments} | set(day.taken) | _offsets(schedule.meals, schedule)
    anchors |= _offsets((schedule.at["bedtime"],), schedule)
    uneven = {anchor for anchor in anchors if spacing % grid or (anchor + day.start) % grid}
    anchors |= {anchor + step * spacing for anchor in uneven for step in range(1, doses)}
    found = {anchor for anchor in anchors if any(opens <= anchor <= closes for opens, closes in segments)}
    for opens, closes in segments:
        found.update(range(opens + (-(opens + day.start)) % grid, closes + 1, grid))
    return sorted(found)


def _offsets(minutes: Iterable[int], schedule: Schedule) -> set[int]:
    """Times of day, counted from the start of the waking day."""
    return {(minute - schedule.waking_starts) % DAY for minute in minutes}


def _costs(times: Sequence[int], roomy: Sequence[Segment], day: _Day, request: PlanRequest) -> list[int]:
    """What each time costs by itself."""
    schedule = request.schedule
    meals = _offsets(schedule.meals, schedule)
    cues = meals | _offsets((schedule.at["bedtime"],), schedule)
    costs = []
    for time in times:
        cost = NEW * (day.days - day.taken.get(time, 0))
        if request.with_food and not any((time - meal) % DAY <= schedule.meal_length for meal in meals):
            cost += FOOD
        if not any(opens <= time <= closes for opens, closes in roomy):
            cost += TIGHT
        if time not in cues:
            cost += NO_CUE
        costs.append(cost)
    return costs
