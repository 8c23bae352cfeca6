"""When to take magnesium: a day without conflicts, worked out (`plan_day`) and drawn (`picture`).

Knows no FHIR, no HTTP and no clock; intervals, schedule and today are passed in. Dosage instructions become a
PlanRequest by `drug_times`.
"""

from __future__ import annotations

from cds_service.planner.alternatives import alternatives, blockers
from cds_service.planner.model import (
    DAY,
    DAYS,
    WEEK,
    Alternative,
    Assumed,
    Dose,
    DrugTimes,
    Gap,
    Interval,
    Move,
    Plan,
    PlanRequest,
    TooLarge,
    clock,
    hours,
    same_every_day,
)
from cds_service.planner.schedule import Schedule, ScheduleError, minute_of, schedule_from
from cds_service.planner.solve import solve
from cds_service.planner.times import Reading, drug_times, read_dosages

__all__ = [
    "DAYS",
    "Alternative",
    "Assumed",
    "Dose",
    "DrugTimes",
    "Gap",
    "Interval",
    "Move",
    "Plan",
    "PlanRequest",
    "Reading",
    "Schedule",
    "ScheduleError",
    "TooLarge",
    "clock",
    "drug_times",
    "hours",
    "minute_of",
    "plan_day",
    "read_dosages",
    "schedule_from",
]


def plan_day(request: PlanRequest) -> Plan:
    """The best plan, or why there is none and what could be done instead. Same request, same plan.

    Drugs without an interval are no obstacle. A drug with an interval whose times are not known
    (`unreadable`, `as_needed`) is not planned around: it is named in the plan, and the plan is not
    `complete`.
    """
    touching = [drug for drug in request.drugs if drug.interval is not None]
    avoided = any(drug.interval.avoid for drug in touching if drug.interval)
    week = None if avoided else solve(request)
    unread = [drug for drug in touching if drug.unreadable]
    unforeseen = [drug for drug in touching if drug.as_needed]
    return Plan(
        possible=week is not None,
        complete=not unread and not unforeseen and not request.unknown,
        week=week or ((),) * 7,
        blocked_by=() if week else blockers(request),
        alternatives=() if week else alternatives(request),
        intervals=tuple(dict.fromkeys(drug.interval for drug in touching if drug.interval)),
        assumed=tuple(_assumed(request)),
        unreadable=tuple((drug.label, drug.unreadable) for drug in unread),
        as_needed=tuple(drug.label for drug in unforeseen),
        gaps=tuple(_gaps(touching, week)) if week else (),
    )


def _assumed(request: PlanRequest) -> list[Assumed]:
    """Every assumed time of the drugs that matter, with the days on which it stands."""
    found: dict[tuple[str, str, int, str], list[str]] = {}
    for drug in request.drugs:
        for day, doses in zip(DAYS, drug.week, strict=True):
            for dose in doses:
                if dose.assumed and drug.interval is not None:
                    found.setdefault((drug.drug, drug.label, dose.minute, dose.words), []).append(day)
    return [Assumed(*key, days=tuple(days)) for key, days in found.items()]


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
