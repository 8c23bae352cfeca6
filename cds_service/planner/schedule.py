"""The usual day: clock times of meals, sleep and dosage words, read from plain data
(cards/tables/schedule.yaml).

Only the numbers and words of that table are used; none is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

DAY = 1440
MEALS = ("breakfast", "lunch", "dinner")
BODY_CLOCK = (*MEALS, "bedtime", "every_12_hours_from", "every_hours_from")
"""What moves along when somebody wakes at another hour; "in the morning" stays in the morning."""
COUNTS = range(1, 7)


class ScheduleError(ValueError):
    """The table or a site's values cannot be used. `faults` names every fault: (key, what is wrong)."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{key}: {fault}" for key, fault in faults))


@dataclass(frozen=True, slots=True)
class Moment:
    """A FHIR event code: at a named time of day, or with, before or after every meal. `offset` is what is
    meant where the order gives none, in minutes, and `sign` says on which side of the event an offset lies.
    """

    code: str
    words: str
    at: str = ""
    meals: bool = False
    sign: Literal[-1, 1] = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class TimingCode:
    """A timing code: so many doses a day (every so many days), or every so many hours, or at one moment."""

    code: str
    words: str
    doses_a_day: int = 0
    every_days: int = 1
    every_hours: int = 0
    moment: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One day's clock. Times in minutes since midnight, lengths in minutes, `short_course` in days.

    The waking day runs from `waking_starts` for `waking_length` minutes and may cross midnight; the night is
    at least as long as `spacing`, so that the doses of one waking day never come too near to those of the
    next.
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
            raise ScheduleError(
                [("waking_ends", "the night is shorter than the least time between two doses of magnesium")]
            )

    @property
    def waking_ends(self) -> int:
        """The last minute of the waking day, as a time of day."""
        return (self.waking_starts + self.waking_length) % DAY

    @property
    def meals(self) -> tuple[int, ...]:
        """The times at which meals start."""
        return tuple(self.at[meal] for meal in MEALS)

    def awake(self, minute: int) -> bool:
        """Whether a time of day lies in the waking day, its ends included."""
        return (minute - self.waking_starts) % DAY <= self.waking_length

    def for_waking(self, starts: int, ends: int, meals: Mapping[str, int] | None = None) -> Schedule:
        """This day lived at other hours: meals, bedtime and usual dose times move along with waking.

        `starts`, `ends`: minutes since midnight; `ends` may lie past midnight. `meals` sets breakfast, lunch
        and dinner where they are known. Raises ScheduleError if the night is shorter than `spacing`.
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
    """ "07:30" -> 450. Raises ValueError for anything but HH:MM between 00:00 and 23:59."""
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) != 2 or not all(len(part) == 2 and part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is not a time of day such as 07:30")
    hour, minute = int(parts[0]), int(parts[1])
    if hour > 23 or minute > 59:
        raise ValueError(f"{text!r} is not a time of day such as 07:30")
    return hour * 60 + minute


def _number(unit: str, value: Any) -> Any:
    """A table's value as minutes, days or a tuple of minutes; raises ValueError."""
    if unit == "time of day":
        return minute_of(value)
    if unit == "times of day":
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("not a list of times of day")
        return tuple(sorted({minute_of(one) for one in value}))
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number of {unit}")
    return value


def _in_force(values: Mapping[Any, Any], today: date) -> Any:
    """The value of the latest date that is not after today; the earliest where all lie in the future, as for a page."""
    dated = {date.fromisoformat(str(day)): value for day, value in values.items()}
    return dated[max((day for day in dated if day <= today), default=min(dated))]


def _thresholds(table: Mapping[str, Any], site: Mapping[str, Any], today: date) -> dict[str, Any]:
    """Every threshold's value, a site's before the table's; raises ScheduleError with all faults."""
    faults = [(key, "no such threshold in the schedule") for key in site if key not in table["thresholds"]]
    found: dict[str, Any] = {}
    for key, threshold in table["thresholds"].items():
        unit = threshold["unit"]
        try:
            found[key] = _number(unit, _in_force(threshold["values"], today))
            if key in site:
                value = _number(unit, site[key])
                low, high = (_number(unit.replace("times", "time"), edge) for edge in threshold["site_may_set"])
                every = value if isinstance(value, tuple) else (value,)
                if any(not low <= one <= high for one in every):
                    edges = threshold["site_may_set"]
                    raise ValueError(f"{site[key]} is outside {edges[0]} to {edges[1]}")
                found[key] = value
        except ValueError as error:
            faults.append((key, str(error)))
    for count in COUNTS:
        key = f"doses_a_day_{count}"
        if key in found and len(found[key]) != count:
            faults.append((key, f"needs {count} different times"))
    if found.get("grid") and 60 % found["grid"]:
        faults.append(("grid", "does not divide an hour"))
    if faults:
        raise ScheduleError(faults)
    return found


def schedule_from(table: Mapping[str, Any], today: date, site: Mapping[str, Any] | None = None) -> Schedule:
    """The Schedule of a parsed schedule.yaml, with a site's values by threshold name (as written there:
    "07:30", 30).

    Raises ScheduleError with every fault at once: an unknown name, a value outside its range or of the wrong
    kind, values that do not fit together.
    """
    found = _thresholds(table, site or {}, today)
    at = {key: value for key, value in found.items() if table["thresholds"][key]["unit"] == "time of day"}
    moments = {
        code: Moment(
            code=code,
            words=row["words"],
            at=row.get("at", ""),
            meals="meals" in row,
            sign=-1 if "before" in (row.get("meals"), row.get("side")) else 1,
            offset=_usual_offset(row, found),
        )
        for code, row in table["moments"].items()
    }
    return Schedule(
        waking_starts=found["waking_starts"],
        waking_length=(found["waking_ends"] - found["waking_starts"]) % DAY,
        at=at,
        usual_times={count: found[f"doses_a_day_{count}"] for count in COUNTS},
        meals_by_count={count: tuple(meals) for count, meals in table["meals_by_count"].items()},
        moments=moments,
        codes={code: TimingCode(code=code, **row) for code, row in table["codes"].items()},
        spacing=found["magnesium_spacing"],
        meal_length=found["meal_length"],
        room=found["room"],
        grid=found["grid"],
        longest_move=found["longest_move"],
        short_course=found["short_course"],
    )


def _usual_offset(row: Mapping[str, Any], found: Mapping[str, Any]) -> int:
    """The offset that a meal word means where the order gives none."""
    side = row.get("meals") or ("" if "usual" not in row else row["side"])
    return int(found[f"{side}_meal"]) if side in ("before", "after") else 0
