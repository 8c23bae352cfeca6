"""FHIR dates and times. Nothing here reads the clock."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_EASTERNMOST, _WESTERNMOST = timedelta(hours=14), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time. `date_only`: no time of day, or one without a zone, was given; `at` is then the start of
    that day.

    `vague`: only a year or a month was given; `at` is its first day. `day`: the calendar day where it was, as far as
    that is said; of a time in UTC it is not.
    """

    at: datetime
    date_only: bool = False
    vague: bool = False
    day: date | None = None

    def may_share_a_day(self, other: Moment) -> bool:
        """Whether both may be of one day, of which one of them is all that is known."""
        day, moment = (self, other) if self.date_only else (other, self)
        if day.day is None or not day.date_only:
            return False
        if moment.day is not None:
            return day.day == moment.day
        begins = datetime.combine(day.day, time(0), UTC)
        return begins - _EASTERNMOST <= moment.at < begins + timedelta(days=1) + _WESTERNMOST


def read_moment(text: str | None, zone: tzinfo | None = None) -> Moment | None:
    """A FHIR date, dateTime or instant; None where it is not one. Days without a zone start in `zone` (UTC)."""
    if not text or len(text) > 40:
        return None
    zone = zone or UTC
    try:
        if len(text) > 10:
            if text[10] not in "T ":
                return None
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                return Moment(datetime.combine(at.date(), time(0), zone), date_only=True, day=at.date())
            # Times at the very edge of the calendar cannot be moved to another zone.
            return Moment(at.astimezone(UTC), day=at.date() if at.utcoffset() else None)
        day, vague = _first_day(text)
        return Moment(datetime.combine(day, time(0), zone), date_only=True, vague=vague, day=day)
    except (ValueError, OverflowError):
        return None


def read_day(text: str | None) -> date | None:
    """The calendar day of a FHIR date or dateTime as written; None where it is unreadable or less than a day."""
    if not text or len(text) < 10:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def days_covered(text: str | None) -> tuple[date, date] | None:
    """First and last day that a FHIR date (YYYY, YYYY-MM, YYYY-MM-DD, or a dateTime) may mean."""
    if not text or len(text) > 40:
        return None
    try:
        if len(text) >= 10:
            day = date.fromisoformat(text[:10])
            return day, day
        first, _ = _first_day(text)
        last = date(first.year, first.month, monthrange(first.year, first.month)[1])
        return first, (date(first.year, 12, 31) if len(text) == 4 else last)
    except ValueError:
        return None


def has_ended(text: str | None, now: datetime) -> bool:
    """Whether the end of a FHIR Period lies before `now`. An end given as a day includes that whole day."""
    moment = read_moment(text, now.tzinfo)
    if moment is None:
        return False
    if not moment.date_only:
        return moment.at < now
    covered = days_covered(text)
    return covered is not None and covered[1] < now.date()


def plus(day: date, span: timedelta) -> date | None:
    """`day` + `span`, or None past the end of the calendar."""
    try:
        return day + span
    except OverflowError:
        return None


def _first_day(text: str) -> tuple[date, bool]:
    if len(text) == 4 and text.isdigit():
        return date(int(text), 1, 1), True
    if len(text) == 7 and text[4] == "-" and text[:4].isdigit() and text[5:].isdigit():
        return date(int(text[:4]), int(text[5:]), 1), True
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        raise ValueError
    return date.fromisoformat(text), False
