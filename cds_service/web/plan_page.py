"""The page behind a plan: the picture, the same in tables, what is assumed and on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cds_service.planner.model import (
    DAY,
    Interval,
    Plan,
    PlanRequest,
    alike,
    clock,
    hours,
)
from cds_service.planner.picture import NARROW, WIDE, environment, svg
from cds_service.planner.schedule import MEALS
from cds_service.planner.times_in_words import alternative_times, axis, day_words, same_days
from cds_service.spelling import joined


@dataclass(frozen=True, slots=True)
class Row:
    """One moment of the day: what is taken then, and what is to be said about it."""

    time: str
    what: str
    note: str
    magnesium: bool


def page(
    request: PlanRequest,
    plan: Plan,
    *,
    styles: str,
    picture: str,
    banner: str = "",
    ways: Sequence[tuple[str, str]] = (),
    icon: str = "",
    data: str = "",
) -> str:
    """The page as HTML. `styles`: address of the folder with the stylesheets; `picture`: address of this plan
    without its ending, for the link to .svg; `banner`: a line on top, such as the profile's; `ways`: addresses of other
    pages and their names, the way home first; `icon` and `data`: addresses of the icon and of the plan as JSON."""
    return (
        environment()
        .get_template("plan.html")
        .render(
            _values(request, plan),
            styles=styles,
            picture=picture,
            banner=banner,
            ways=ways,
            icon=icon,
            data=data,
            wide=svg(request, plan, WIDE, inline=True),
            narrow=svg(request, plan, NARROW, inline=True),
        )
    )


def text(request: PlanRequest, plan: Plan, unknown: Sequence[str] = ()) -> str:
    """The same as plain text, for a terminal. `unknown`: names that were not recognised."""
    values = _values(request, plan) | {"hours": hours, "unknown": list(unknown)}
    return environment().get_template("plan.txt").render(values).strip() + "\n"


def _values(request: PlanRequest, plan: Plan) -> dict[str, Any]:
    return {
        "plan": plan,
        "request": request,
        "days": [(day_words(group), _rows(request, plan, group[0])) for group in same_days(request, plan)],
        "headline": [(day_words(days), list(map(clock, times))) for times, days in alike(plan.week).items()],
        "evidence": [(interval, _nearest(plan, interval)) for interval in plan.intervals],
        "labels": request.labels,
        "alternatives": [(option, alternative_times(option)) for option in plan.alternatives],
        "hours": _unbroken,
        "clock": clock,
        "joined": joined,
        "day_words": day_words,
    }


def _rows(request: PlanRequest, plan: Plan, weekday: int) -> list[Row]:
    """The day in order, from the hour at which its picture starts."""
    found: list[tuple[int, int, Row]] = []
    start = axis(request)
    for minute in plan.week[weekday]:
        row = Row(clock(minute), "Magnesium", _moment(request, minute), True)
        found.append(((minute - start) % DAY, 0, row))
    together: dict[tuple[int, str], list[str]] = {}
    for drug in request.drugs:
        for dose in drug.week[weekday]:
            note = f"time assumed: {dose.words}" if dose.assumed else ""
            if dose.assumed and drug.any_day:
                note += "; day not known"
            together.setdefault((dose.minute, note), []).append(drug.label)
    for place, ((minute, note), labels) in enumerate(together.items(), 1):
        what = joined(labels)
        found.append(((minute - start) % DAY, place, Row(clock(minute), what, note, False)))
    return [row for _, _, row in sorted(found, key=lambda item: item[:2])]


def _moment(request: PlanRequest, minute: int) -> str:
    """ "with lunch", "at bedtime" or ""."""
    schedule = request.schedule
    for moment in schedule.moments.values():
        at_meal = moment.at in MEALS and moment.sign == 1 and not moment.offset
        if at_meal and schedule.at[moment.at] == minute:
            return moment.words
    return schedule.moments["HS"].words if schedule.at["bedtime"] == minute else ""


def _nearest(plan: Plan, interval: Interval) -> tuple[str, str]:
    """The plan's own shortest distances: after the drug and before it, "" where there is none."""
    gaps = [gap for gap in plan.gaps if gap.drug == interval.drug]
    after = [gap.after_drug for gap in gaps if gap.after_drug is not None]
    before = [gap.before_drug for gap in gaps if gap.before_drug is not None]
    return _unbroken(min(after)) if after else "", _unbroken(min(before)) if before else ""


def _unbroken(minutes: int) -> str:
    """ "4 h" that does not break at the end of a line."""
    return hours(minutes).replace(" ", "\u00a0")
