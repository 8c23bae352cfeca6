"""Why there is no plan, and what could be done instead, in the order in which it is offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import accumulate

from cds_service.planner.model import (
    DAY,
    Alternative,
    DrugTimes,
    Move,
    PlanRequest,
    TimesWeek,
    Week,
)
from cds_service.planner.solve import solve, solve_days
from cds_service.planner.windows import Room, reach_of, room_beside, rooms_without_each

MOST_MOVES = 2


def blockers(request: PlanRequest) -> tuple[str, ...]:
    """The concept ids of a smallest set of drugs that leaves no room: take one away, and the rest leave room.

    Drugs to avoid each block alone; then all of them are named and no other. () where nothing blocks, or
    where not even a day without other drugs has room.
    """
    avoided = tuple(dict.fromkeys(drug.drug for drug in request.drugs if _avoid(drug)))
    if avoided:
        return avoided
    schedule = request.schedule

    drugs = [drug for drug in request.drugs if drug.windowed]
    rooms = [room_beside([reach_of(drug)], schedule) for drug in drugs]
    # before[place]: what the drugs before that place leave; `left`: what the drugs behind it leave that are kept.
    before = list(accumulate(rooms, Room.beside, initial=(left := room_beside([], schedule))))
    if not left.fits(request.doses_per_day) or before[-1].fits(request.doses_per_day):
        return ()
    kept: list[str] = []
    for place in reversed(range(len(drugs))):
        if before[place].beside(left).fits(request.doses_per_day):
            kept.append(drugs[place].drug)
            left = left.beside(rooms[place])
    return tuple(dict.fromkeys(reversed(kept)))


def alternatives(request: PlanRequest) -> tuple[Alternative, ...]:
    """What to do where no plan exists: fewer doses, a flexible dose moved, a course waited out, no magnesium
    now."""
    found: list[Alternative] = []
    if not any(_avoid(drug) for drug in request.drugs):
        found.extend(_fewer_doses(request))
        found.extend(_moves(request))
    found.extend(_wait(request))
    found.append(Alternative(kind="no_magnesium_now"))
    return tuple(found)


def _avoid(drug: DrugTimes) -> bool:
    return drug.interval is not None and drug.interval.avoid


def _fewer_doses(request: PlanRequest) -> Iterator[Alternative]:
    """The most doses that fit every day; if not even one does, the days on which one fits."""
    room = room_beside(map(reach_of, request.drugs), request.schedule)
    for doses in range(request.doses_per_day - 1, 0, -1):
        if room.fits(doses) and (week := solve(replace(request, doses_per_day=doses))):
            yield Alternative(kind="fewer_doses", doses_per_day=doses, week=week)
            return
    for doses in range(request.doses_per_day, 0, -1):
        days = [day for day, roomy in enumerate(room.weekdays(doses)) if roomy]
        if days:
            week = solve_days(replace(request, doses_per_day=doses), days)
            yield Alternative(kind="fewer_doses", doses_per_day=doses, week=week)
            return


def _moves(request: PlanRequest) -> Iterator[Alternative]:
    """For each drug without which there would be room and whose times the order leaves open: the least move
    that makes room; the nearest few. A drug taken once a day moves within the waking day, another as a whole and not
    far."""
    doses, schedule = request.doses_per_day, request.schedule
    reaches = [reach_of(drug) for drug in request.drugs]
    beside_others = rooms_without_each(reaches, schedule)
    options: list[tuple[int, int, int]] = []
    for place, drug in enumerate(request.drugs):
        if not drug.windowed or not _movable(drug):
            continue
        others = beside_others[place]
        if not others.fits(doses):
            continue
        once = all(len(day) <= 1 for day in drug.week)
        furthest = schedule.waking_length if once else schedule.longest_move
        awake = {dose.minute for day in drug.week for dose in day if schedule.awake(dose.minute)}
        for shift in _shifts(furthest, schedule.grid):
            if not all(schedule.awake(minute + shift) for minute in awake):
                continue
            if not others.beside(room_beside([reaches[place].shifted(shift)], schedule)).fits(doses):
                continue
            options.append((abs(shift), place, shift))
            break
    for _, place, shift in sorted(options)[:MOST_MOVES]:
        drug = request.drugs[place]
        moved = replace(drug, week=_shifted(drug.week, shift))
        drugs = (*request.drugs[:place], moved, *request.drugs[place + 1 :])
        if week := solve(replace(request, drugs=drugs)):
            minutes = sorted({dose.minute for day in drug.week for dose in day})
            moves = tuple(Move(drug.drug, drug.label, old, (old + shift) % DAY) for old in minutes)
            yield Alternative("move_dose", doses, week, moves, (drug.drug,))


def _movable(drug: DrugTimes) -> bool:
    return all(dose.movable for day in drug.week for dose in day)


def _shifts(furthest: int, grid: int) -> Iterator[int]:
    """-15, 15, -30, 30, ... up to the furthest, nearest first."""
    for step in range(grid, furthest + 1, grid):
        yield from (-step, step)


def _shifted(week: Week, shift: int) -> Week:
    """The same doses at another time of the same day; one that would cross midnight stays on its weekday's
    name."""
    return tuple(tuple(replace(dose, minute=(dose.minute + shift) % DAY) for dose in day) for day in week)


def _wait(request: PlanRequest) -> Iterator[Alternative]:
    """The first day on which enough short courses are over for a plan."""
    latest = request.today + timedelta(days=request.schedule.short_course)
    courses = [drug for drug in request.drugs if drug.ends and drug.ends <= latest and _matters(drug)]
    for end in sorted({drug.ends for drug in courses if drug.ends}):
        gone = [drug for drug in courses if drug.ends and drug.ends <= end]
        left = tuple(drug for drug in request.drugs if not any(drug is other for other in gone))
        if any(_avoid(drug) for drug in left):
            continue
        week = solve(replace(request, drugs=left))
        if week:
            yield Alternative(
                kind="wait_until",
                doses_per_day=request.doses_per_day,
                week=week,
                drugs=tuple(dict.fromkeys(drug.drug for drug in gone)),
                starts=_first_day(gone, week, end),
            )
            return


def _matters(drug: DrugTimes) -> bool:
    return drug.interval is not None


def _first_day(gone: Sequence[DrugTimes], week: TimesWeek, end: date) -> date:
    """The day after the last course, or a day later where its last dose still reaches into the morning."""
    tomorrow = (end.weekday() + 1) % 7
    first = min(week[tomorrow], default=DAY)
    reach = max(
        (
            dose.minute + drug.interval.drug_then_magnesium - DAY
            for drug in gone
            if drug.interval and drug.ends == end
            for dose in drug.week[end.weekday()]
        ),
        default=0,
    )
    return end + timedelta(days=2 if reach > first else 1)
