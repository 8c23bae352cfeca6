"""The best plan of a week, or why there is none and what could be done instead, in the order in which it is offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import accumulate

from cds_service.planner.model import (
    DAY,
    WEEK,
    Alternative,
    DrugTimes,
    Gap,
    Move,
    Plan,
    PlanRequest,
    TimesWeek,
    same_every_day,
)
from cds_service.planner.solve import solve, solve_days
from cds_service.planner.windows import Room, reach_of, room_beside, rooms_without_each

MOST_MOVES = 2


def plan_day(request: PlanRequest) -> Plan:
    """The best plan, or why there is none and what could be done instead. Same request, same plan.

    Drugs without an interval are no obstacle. A drug with an interval whose times are not known (`unreadable`,
    `as_needed`) is not planned around: it is named in the plan, and the plan is not `complete`.
    """
    touching = [drug for drug in request.drugs if drug.interval is not None]
    week = None if any(drug.avoid for drug in touching) else solve(request)
    unread = [drug for drug in touching if drug.unreadable]
    unforeseen = [drug for drug in touching if drug.as_needed]
    return Plan(
        possible=week is not None,
        complete=not unread and not unforeseen and not request.unknown,
        week=week or ((),) * 7,
        blocked_by=() if week else blockers(request),
        alternatives=() if week else alternatives(request),
        intervals=tuple(dict.fromkeys(drug.interval for drug in touching if drug.interval)),
        assumed=any(dose.assumed for drug in touching for doses in drug.week for dose in doses),
        unreadable=tuple((drug.label, drug.unreadable) for drug in unread),
        as_needed=tuple(drug.label for drug in unforeseen),
        gaps=tuple(_gaps(touching, week)) if week else (),
    )


def _gaps(touching: list[DrugTimes], week: tuple[tuple[int, ...], ...]) -> list[Gap]:
    """How far each planned time is from each drug, at the nearest."""
    found = []
    steady = same_every_day(week)
    times = [(weekday, minute) for weekday, minutes in enumerate(week) for minute in minutes]
    for minute in sorted({minute for _, minute in times}):
        for drug in touching:
            # Where nothing differs by day, one day on its circle tells the same as the week.
            period = DAY if steady and same_every_day(drug.week) else WEEK
            moments = [weekday * DAY + at for weekday, at in times if at == minute and weekday * DAY < period]
            doses = [
                weekday * DAY + dose.minute for weekday, day in enumerate(drug.week[: period // DAY]) for dose in day
            ]
            after = [(moment - dose) % period for moment in moments for dose in doses]
            before = [(dose - moment) % period for moment in moments for dose in doses]
            found.append(Gap(minute, drug.drug, drug.label, _near(after), _near(before)))
    return found


def _near(gaps: list[int]) -> int | None:
    """The shortest gap if it is within a day."""
    return shortest if gaps and (shortest := min(gaps)) <= DAY else None


def blockers(request: PlanRequest) -> tuple[str, ...]:
    """The concept ids of a smallest set of drugs that leaves no room: take one away, and the rest leave room.

    Drugs to avoid each block alone; then all of them are named and no other. () where nothing blocks, or
    where not even a day without other drugs has room.
    """
    avoided = tuple(dict.fromkeys(drug.drug for drug in request.drugs if drug.avoid))
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
    """What to do where no plan exists: fewer doses, a flexible dose moved, a course waited out, no magnesium now."""
    found: list[Alternative] = []
    if not any(drug.avoid for drug in request.drugs):
        found.extend(_fewer_doses(request))
        found.extend(_moves(request))
    found.extend(_wait(request))
    found.append(Alternative(kind="no_magnesium_now"))
    return tuple(found)


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
    """The few least moves of one drug that make room, where the order leaves its times open.

    A drug taken once a day moves within the waking day, another as a whole and not far.
    """
    doses, schedule = request.doses_per_day, request.schedule
    reaches = [reach_of(drug) for drug in request.drugs]
    beside_others = rooms_without_each(reaches, schedule)
    options: list[tuple[int, int, int]] = []
    for place, drug in enumerate(request.drugs):
        others = beside_others[place]
        if not drug.windowed or not all(dose.movable for day in drug.week for dose in day) or not others.fits(doses):
            continue
        once = all(len(day) <= 1 for day in drug.week)
        furthest = schedule.waking_length if once else schedule.longest_move
        awake = {dose.minute for day in drug.week for dose in day if schedule.awake(dose.minute)}
        nearest_first = (way * far for far in range(schedule.grid, furthest + 1, schedule.grid) for way in (-1, 1))
        for shift in nearest_first:
            if not all(schedule.awake(minute + shift) for minute in awake):
                continue
            if others.beside(room_beside([reaches[place].shifted(shift)], schedule)).fits(doses):
                options.append((abs(shift), place, shift))
                break
    for _, place, shift in sorted(options)[:MOST_MOVES]:
        drug = request.drugs[place]
        # A dose that would cross midnight stays on its weekday.
        moved = [tuple(replace(dose, minute=(dose.minute + shift) % DAY) for dose in day) for day in drug.week]
        drugs = (*request.drugs[:place], replace(drug, week=tuple(moved)), *request.drugs[place + 1 :])
        if week := solve(replace(request, drugs=drugs)):
            minutes = sorted({dose.minute for day in drug.week for dose in day})
            moves = tuple(Move(drug.drug, drug.label, old, (old + shift) % DAY) for old in minutes)
            yield Alternative("move_dose", doses, week, moves, (drug.drug,))


def _wait(request: PlanRequest) -> Iterator[Alternative]:
    """The first day on which enough short courses are over for a plan."""
    latest = request.today + timedelta(days=request.schedule.short_course)
    courses = [drug for drug in request.drugs if drug.ends and drug.ends <= latest and drug.interval is not None]
    for end in sorted({drug.ends for drug in courses if drug.ends}):
        gone = [drug for drug in courses if drug.ends and drug.ends <= end]
        left = tuple(drug for drug in request.drugs if not any(drug is other for other in gone))
        if any(drug.avoid for drug in left):
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
