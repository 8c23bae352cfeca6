"""The usual day: clock times of meals, sleep and dosage words, from cards/tables/schedule.yaml and a site's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from cds_service.content.tables import ScheduleTable, TimingCode

DAY = 1440
MEALS = ("breakfast", "lunch", "dinner")
BODY_CLOCK = (*MEALS, "bedtime", "every_12_hours_from", "every_hours_from")
"""What moves along when somebody wakes at another hour; "in the morning" stays in the morning."""
COUNTS = range(1, 7)


class ScheduleError(ValueError):
    """Waking hours that cannot be planned with. The message says why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A FHIR event code: at a named time of day, or at every meal (`at` is "").

    `offset`: the minutes that are meant where the order gives none. `sign`: -1 where they count before the event.
    """

    words: str
    at: str
    sign: Literal[-1, 1]
    offset: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """One day's clock. Times in minutes since midnight, lengths in minutes, `short_course` in days.

    The waking day runs from `waking_starts` for `waking_length` minutes and may cross midnight. The night is at least
    as long as `spacing`, so that the doses of one waking day never come too near to those of the next.
    """

    waking_starts: int
    waking_length: int
    at: Mapping[str, int]
    usual_times: Mapping[int, tuple[int, ...]]
    meals_by_count: Mapping[int, tuple[str, ...]]
    moments: Mapping[str, Moment]
    codes: Mapping[str, TimingCode]
    spacing: int
    meal_length: int
    room: int
    grid: int
    longest_move: int
    short_course: int

    def __post_init__(self) -> None:
        if not 0 < self.waking_length <= DAY - self.spacing:
            raise ScheduleError("the night is shorter than the least time between two doses of magnesium")

    @property
    def meals(self) -> tuple[int, ...]:
        """The times at which meals start."""
        return tuple(self.at[meal] for meal in MEALS)

    def awake(self, minute: int) -> bool:
        """Whether a time of day lies in the waking day, its ends included."""
        return (minute - self.waking_starts) % DAY <= self.waking_length

    def for_waking(self, starts: int, ends: int, meals: Mapping[str, int] | None = None) -> Schedule:
        """This day lived at other hours: meals, bedtime and usual dose times move along with waking.

        `starts`, `ends`: minutes since midnight; `ends` may lie past midnight. `meals` sets breakfast, lunch and
        dinner where they are known. Raises ScheduleError if the night is shorter than `spacing`.
        """
        length = (ends - starts) % DAY
        shift = starts - self.waking_starts
        at = {**self.at, "waking_starts": starts, "waking_ends": ends % DAY}
        at |= {name: (self.at[name] + shift) % DAY for name in BODY_CLOCK}
        if (at["bedtime"] - starts) % DAY > length:
            at["bedtime"] = ends % DAY
        usual = {
            count: tuple(sorted((minute + shift) % DAY for minute in times))
            for count, times in self.usual_times.items()
        }
        return replace(self, waking_starts=starts, waking_length=length, at={**at, **(meals or {})}, usual_times=usual)


def minute_of(text: str) -> int:
    """ "07:30" -> 450."""
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def schedule_from(table: ScheduleTable, today: date, site: Mapping[str, Any]) -> Schedule:
    """The usual day on `today`. `site`: a site's values by threshold, written as in the table ("07:30", 30).

    Table and site values were checked when they were loaded.
    """
    value = {name: site.get(name, row.at(today)) for name, row in table.thresholds.items()}
    at = {name: minute_of(value[name]) for name, row in table.thresholds.items() if row.unit == "time of day"}
    moments = {}
    for code, row in table.moments.items():
        side = row.meals or (row.usual and row.side)
        offset = value[f"{side}_meal"] if side in ("before", "after") else 0
        moments[code] = Moment(row.words, row.at or "", -1 if "before" in (row.meals, row.side) else 1, offset)
    return Schedule(
        waking_starts=at["waking_starts"],
        waking_length=(at["waking_ends"] - at["waking_starts"]) % DAY,
        at=at,
        usual_times={count: tuple(sorted(map(minute_of, value[f"doses_a_day_{count}"]))) for count in COUNTS},
        meals_by_count={count: tuple(meals) for count, meals in table.meals_by_count.items()},
        moments=moments,
        codes=table.codes,
        spacing=value["magnesium_spacing"],
        meal_length=value["meal_length"],
        room=value["room"],
        grid=value["grid"],
        longest_move=value["longest_move"],
        short_course=value["short_course"],
    )
