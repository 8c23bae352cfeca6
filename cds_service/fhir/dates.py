"""FHIR dates and times. Nothing here reads the clock."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_WHOLE_DAY = len("2026-11-30")
_EASTERNMOST, _WESTERNMOST = timedelta(hours=14), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time. `date_only`: no time of day, or one without a zone, was given; `at` is then the start of
    that day.

    `ends`: the end of the month or year, whatever the zone, where no more was given; `at` is then its beginning. `day`:
    the calendar day where it was, as far as that is said; of a time in UTC it is not.
    """

    at: datetime
    date_only: bool = False
    ends: datetime | None = None
    day: date | None = None

    @property
    def vague(self) -> bool:
        """Whether it is only a month or a year."""
        return self.ends is not None

    @property
    def latest(self) -> datetime:
        """The time, or how late it may be."""
        return self.ends or self.at

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
        day, last = _days_of(text)
        begins = datetime.combine(day, time(0), zone)
        if len(text) == _WHOLE_DAY:
            return Moment(begins, date_only=True, day=day)
        ends = datetime.combine(last, time(0), UTC) + timedelta(days=1) + _WESTERNMOST
        return Moment(begins, date_only=True, ends=ends, day=day)
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
        return _days_of(text)
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


def _days_of(text: str) -> tuple[date, date]:
    """First and last day of a year, a month or a day."""
    if len(text) == 4 and text.isdigit():
        return date(int(text), 1, 1), date(int(text), 12, 31)
    if len(text) == 7 and text[4] == "-" and text[:4].isdigit() and text[5:].isdigit():
        year, month = int(text[:4]), int(text[5:])
        return date(year, month, 1), date(year, month, monthrange(year, month)[1])
    if len(text) != _WHOLE_DAY or text[4] != "-" or text[7] != "-":
        raise ValueError
    day = date.fromisoformat(text)
    return day, day
