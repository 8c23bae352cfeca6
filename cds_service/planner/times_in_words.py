"""The plan in words: days in groups that look the same, and the picture for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.planner.model import DAY, WEEK, Alternative, Plan, PlanRequest, alike, clock, hours, same_every_day
from cds_service.planner.windows import free, week_windows
from cds_service.spelling import joined

DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def describe(request: PlanRequest, plan: Plan) -> str:
    """The picture in words, for those who do not see it."""
    said = []
    for weekdays in same_days(request, plan):
        times = [clock(minute) for minute in plan.week[weekdays[0]]]
        said.append(
            f"{day_words(weekdays)}: magnesium at {joined(times)}."
            if times
            else f"{day_words(weekdays)}: no magnesium."
        )
        for drug in request.drugs:
            doses = drug.week[weekdays[0]]
            if doses and drug.interval is not None and not drug.interval.avoid:
                after, before = drug.interval.drug_then_magnesium, drug.interval.magnesium_then_drug
                taken = joined([clock(dose.minute) + (" (assumed)" if dose.assumed else "") for dose in doses])
                said.append(
                    f"{drug.label} at {taken}: no magnesium from {hours(before)} before to {hours(after)} after."
                )
    said += [f"{drug.label}: not with magnesium." for drug in request.drugs if drug.interval and drug.interval.avoid]
    said += [f"{label}: not planned around." for label in (*(row[0] for row in plan.unreadable), *plan.as_needed)]
    return " ".join(said)


def day_words(weekdays: Sequence[int]) -> str:
    """[0, .., 5] -> "Monday to Saturday"; all seven -> "Every day"; [0, 2] -> "Monday and Wednesday"."""
    if len(weekdays) == 7:
        return "Every day"
    runs: list[list[int]] = []
    for day in weekdays:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    words = []
    for run in runs:
        if len(run) > 2:
            words.append(f"{DAY_NAMES[run[0]]} to {DAY_NAMES[run[-1]]}")
        else:
            words += [DAY_NAMES[day] for day in run]
    return joined(words)


def same_days(request: PlanRequest, plan: Plan) -> list[list[int]]:
    """The weekdays in groups on which the same is taken, free and forbidden; those that come first, first."""
    windows = week_windows(request.drugs)
    starts = [weekday * DAY + axis(request) for weekday in range(7)]
    looks = [
        (
            tuple(sorted(offset for minute in plan.minutes if (offset := (minute - start) % WEEK) < DAY)),
            tuple(drug.week[weekday] for drug in request.drugs),
            tuple(free(windows, start, DAY, WEEK)),
        )
        for weekday, start in enumerate(starts)
    ]
    return list(alike(looks).values())


def axis(request: PlanRequest) -> int:
    """Where the picture's day starts: midnight, or two hours before waking where the waking day crosses midnight."""
    schedule = request.schedule
    if schedule.waking_starts + schedule.waking_length <= DAY:
        return 0
    return (schedule.waking_starts // 60 - 2) % 24 * 60


def alternative_times(option: Alternative) -> str:
    """ "at 12:30 and 22:00", or by day: "Monday to Saturday at 22:30, Sunday none"; "" where it has no times."""
    if not any(option.week):
        return ""
    if same_every_day(option.week):
        return "at " + joined(map(clock, option.week[0]))
    return "; ".join(
        f"{day_words(days)} {'at ' + joined(map(clock, times)) if times else 'none'}"
        for times, days in alike(option.week).items()
    )
