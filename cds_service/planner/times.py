"""Dosage instructions -> dose times of a week, or why they could not be read.

A clock time in the order is kept. Words such as "twice a day" or "before breakfast" become the clock times of the
schedule, marked as assumed. What contradicts itself or says no time is named and not guessed. Where the day of a dose
is not known (every other day, weekly without a day), the dose stands on all seven: more is kept free than needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from cds_service.patient import Dosage
from cds_service.planner.model import DAY, DAYS, Dose, DrugTimes, Interval, hours
from cds_service.planner.schedule import Schedule

UNIT_HOURS = {"h": Decimal(1), "d": Decimal(24), "wk": Decimal(168), "mo": Decimal(672), "a": Decimal(8760)}
"""Hours in a FHIR period unit; a month counts as its shortest, because only "less than daily" matters there."""


class Unreadable(Exception):
    """A dosage instruction that names no time without doubt. The message says why, in our own words."""


@dataclass(frozen=True, slots=True)
class _Rate:
    """How often: `count` doses on a day with doses (None: not said), or every `interval` minutes round the clock.
    `sparse`: not on every day. `strict`: the number is said, so that listed times must agree with it."""

    count: int | None = None
    interval: int | None = None
    sparse: bool = False
    strict: bool = False
    words: str = ""


def drug_times(
    drug: str, label: str, dosages: Sequence[Dosage], interval: Interval | None, schedule: Schedule, today: date
) -> DrugTimes | None:
    """The doses of a week under all instructions that are in force or still to come; None if all lie in the past.

    Instructions that follow one another (FHIR `sequence`) are all kept free, since none says when one gives way to the
    next unless it has dates.
    """
    known = DrugTimes(drug, label, interval)
    if not dosages:
        return replace(known, unreadable="the order has no dosage instruction")
    current = [dosage for dosage in dosages if dosage.end is None or dosage.end >= today]
    if not current:
        return None
    doses: list[dict[int, Dose]] = [{} for _ in DAYS]
    as_needed = any_day = False
    for dosage in current:
        try:
            if dosage.problem:
                raise Unreadable(dosage.problem)
            if dosage.as_needed:
                as_needed = True
                continue
            if not (dosage.times or dosage.when or dosage.code or dosage.frequency or dosage.period or dosage.days):
                raise Unreadable("the order says no dose time")
            rate = _rate(dosage, schedule)
            moments = _doses(dosage, rate, schedule, interval.label_moment if interval else "")
        except Unreadable as why:
            return replace(known, as_needed=as_needed, unreadable=str(why))
        any_day = any_day or (rate.sparse and not dosage.days)
        for day, found in zip(DAYS, doses, strict=True):
            if not dosage.days or day in dosage.days:
                for dose in moments:  # where two instructions name the same minute, the plainer dose stays
                    found[dose.minute] = min(dose, found.get(dose.minute, dose))
    week = tuple(tuple(sorted(found.values())) for found in doses)
    ends = [dosage.end for dosage in current if dosage.end is not None]
    return replace(
        known, week=week, as_needed=as_needed, any_day=any_day, ends=max(ends) if len(ends) == len(current) else None
    )


def _rate(dosage: Dosage, schedule: Schedule) -> _Rate:
    """How often, from the code and from frequency and period; raises Unreadable if they disagree."""
    coded = _code_rate(dosage.code, schedule)
    timed = _period_rate(dosage)
    if coded and timed and dosage.period is not None:
        if coded.count is not None and (coded.count, coded.interval) != (timed.count, timed.interval):
            raise Unreadable("its timing code and its frequency disagree")
        return replace(timed, sparse=timed.sparse or coded.sparse, words=coded.words or timed.words)
    return coded or timed or _Rate()


def _code_rate(code: str | None, schedule: Schedule) -> _Rate | None:
    if code is None:
        return None
    known = schedule.codes.get(code.upper())
    if known is None:
        raise Unreadable("its timing code is not known")
    if known.moment:
        return _Rate(count=1, words=known.words)
    if known.every_hours:
        return _every(Decimal(known.every_hours), known.words)
    return _Rate(count=known.doses_a_day, sparse=(known.every_days or 1) > 1, strict=True, words=known.words)


def _period_rate(dosage: Dosage) -> _Rate | None:
    """frequency, period and periodUnit. The highest frequency and the shortest period count: they forbid most."""
    if dosage.frequency is None and dosage.frequency_max is None and dosage.period is None:
        return None
    number = dosage.frequency_max or dosage.frequency or 1
    if dosage.period is None or dosage.period_unit is None:
        if number == 1:
            return _Rate(count=1)
        raise Unreadable(f"it says {number} times, but not in what time")
    if dosage.period_unit not in UNIT_HOURS or dosage.period <= 0 or number < 1:
        raise Unreadable("its period is in a unit that is not planned with")
    if dosage.period_unit in ("wk", "mo", "a") and dosage.days:
        return _on_days(number, len(set(dosage.days)), dosage.period_unit == "wk" and dosage.period == 1)
    span = dosage.period * UNIT_HOURS[dosage.period_unit]
    if span % 24 or (dosage.period_unit == "h" and number == 1 and span < 24):
        return _every(span / number, "")
    days = span / 24
    if number > days:
        count = -int(-number // days)
        return _Rate(count=count, strict=True, sparse=number % days != 0)
    return _Rate(count=1, sparse=number < days, strict=True)


def _on_days(number: int, days: int, one_week: bool) -> _Rate:
    """So many doses a week on named days. Every second week and the like is planned as every week."""
    if number in (1, days):
        return _Rate(count=1, strict=True, sparse=not one_week)
    if number % days:
        raise Unreadable(f"{number} doses do not fit {days} named days")
    return _Rate(count=number // days, strict=True)


def _every(span: Decimal, words: str) -> _Rate:
    """Every so many hours; raises Unreadable where that is at other times each day."""
    if span >= 24 and span % 24 == 0:
        return _Rate(count=1, sparse=span > 24, strict=True, words=words)
    minutes = span * 60
    if minutes != int(minutes) or span < 1 or DAY % int(minutes):
        raise Unreadable("its doses fall at other times each day")
    return _Rate(interval=int(minutes), count=DAY // int(minutes), strict=True, words=words)


def _doses(dosage: Dosage, rate: _Rate, schedule: Schedule, label_moment: str) -> list[Dose]:
    """The doses of a day that has doses. Raises Unreadable."""
    if dosage.times:
        return _clock_doses(dosage, rate)
    when = dosage.when
    code = schedule.codes.get((dosage.code or "").upper())
    if not when and code and code.moment:
        when = ((code.moment, 0),)
    if not when and label_moment and rate.count in (None, 1):
        when = ((label_moment, 0),)
    if when:
        return _moment_doses(when, rate, schedule)
    if rate.interval:
        first = schedule.at["every_12_hours_from" if rate.interval == DAY // 2 else "every_hours_from"]
        words = rate.words or f"every {hours(rate.interval)}"
        return [Dose((first + step) % DAY, True, not label_moment, words) for step in range(0, DAY, rate.interval)]
    count = rate.count or 1
    if count not in schedule.usual_times:
        raise Unreadable(f"no clock times are set for {count} doses a day")
    known = (code.words for code in schedule.codes.values() if code.doses_a_day == count)
    words = rate.words or next(known, f"{count} times a day")
    return [Dose(minute, True, not label_moment, words) for minute in schedule.usual_times[count]]


def _clock_doses(dosage: Dosage, rate: _Rate) -> list[Dose]:
    minutes = sorted({at.hour * 60 + at.minute for at in dosage.times})
    # FHIR's frequency is 1 by default; only a number above it contradicts a list of times.
    if rate.strict and rate.count not in (None, 1, len(minutes)):
        raise Unreadable(f"it says {rate.count} doses a day and {len(minutes)} clock times")
    return [Dose(minute) for minute in minutes]


def _moment_doses(when: Sequence[tuple[str, int]], rate: _Rate, schedule: Schedule) -> list[Dose]:
    """Event codes with their offsets; "with meals" means as many meals as there are doses."""
    found: dict[int, Dose] = {}
    for code, given in when:
        moment = schedule.moments.get(code)
        if moment is None:
            raise Unreadable("it names a moment of the day that is not known")
        names: tuple[str, ...] = (moment.at,)
        if not moment.at:
            wanted = rate.count if rate.strict and rate.count else max(schedule.meals_by_count)
            if wanted not in schedule.meals_by_count:
                raise Unreadable(f"it says {wanted} doses a day at meals")
            names = schedule.meals_by_count[wanted]
        offset = moment.sign * (given or moment.offset)
        words = f"{hours(given)} {moment.words}" if given and moment.offset else moment.words
        for name in names:
            minute = (schedule.at[name] + offset) % DAY
            found[minute] = Dose(minute, assumed=True, words=words)
    if rate.strict and rate.count not in (None, 1, len(found)):
        raise Unreadable(f"it says {rate.count} doses a day and {len(found)} moments of the day")
    return list(found.values())
