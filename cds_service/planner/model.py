"""What the planner takes and gives: plain frozen data. All times are whole minutes.

A time of day is minutes since midnight, 0..1439. A week is seven tuples, Monday first. An interval is in minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, TypeVar

from cds_service.planner.schedule import Schedule

T = TypeVar("T", bound=Hashable)
DAY = 1440
WEEK = 7 * DAY
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""FHIR day codes, in the order of every week in this package."""
MOST_DRUGS, MOST_DOSES = 40, 500
"""What one plan may hold: medicines, and doses of all of them in one week. What it costs to plan and draw grows with
both."""


class TooLarge(ValueError):
    """More than one plan may hold. The message says of what, in our own words."""


@dataclass(frozen=True, slots=True)
class Interval:
    """How far magnesium stays from one drug, as the content says it. `drug` is a concept id, `label` its name.

    `drug_then_magnesium`: least minutes from the drug to magnesium. `magnesium_then_drug`: the other way round.
    `avoid`: not to be combined at any distance. `label_moment`: the FHIR event code at which the drug's own label fixes
    its dose (a bisphosphonate: WAKE), or "". `reason` says in a few words why, `reference` names the source.
    """

    drug: str
    label: str
    drug_then_magnesium: int
    magnesium_then_drug: int
    avoid: bool = False
    label_moment: str = ""
    verified: bool = False
    certainty: str = ""
    reason: str = ""
    reference: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        if self.drug_then_magnesium < 0 or self.magnesium_then_drug < 0:
            raise ValueError(f"{self.drug}: an interval is below zero")


@dataclass(frozen=True, slots=True, order=True)
class Dose:
    """One dose at one time of day.

    `assumed`: the order names no clock time; `words` says what it does name ("twice a day"). `movable`: the
    order leaves the time open, so that another one would still follow it.
    """

    minute: int
    assumed: bool = False
    movable: bool = False
    words: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.minute < DAY:
            raise ValueError(f"{self.minute} is not a minute of the day")


Week = tuple[tuple[Dose, ...], ...]
NO_DOSES: Week = ((), (), (), (), (), (), ())


@dataclass(frozen=True, slots=True)
class DrugTimes:
    """One medicine of the patient's week.

    `interval` is None for a medicine that magnesium does not disturb: its times only count as moments at
    which something is taken anyway. `unreadable` says why its times are not known ("" if they are).
    `as_needed`: it has doses that no plan can foresee. `any_day`: it is not taken daily and its day is not
    known, so every day is kept free. `ends`: the last day of the course, where known.
    """

    drug: str
    label: str
    interval: Interval | None = None
    week: Week = NO_DOSES
    as_needed: bool = False
    any_day: bool = False
    unreadable: str = ""
    ends: date | None = None

    def __post_init__(self) -> None:
        if len(self.week) != len(DAYS):
            raise ValueError(f"{self.drug}: a week has seven days")

    @property
    def avoid(self) -> bool:
        """It is not to be combined with magnesium at any distance."""
        return self.interval is not None and self.interval.avoid

    @property
    def windowed(self) -> bool:
        """Its doses forbid magnesium around them."""
        return self.interval is not None and not self.interval.avoid and any(self.week)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What to plan. `doses_per_day` of magnesium, `with_food` where the product wants it, the other medicines, the
    day's schedule. `unknown` counts medicines that were not recognised. Raises ValueError for fewer than one dose,
    TooLarge for more than MOST_DRUGS or MOST_DOSES."""

    schedule: Schedule
    today: date
    doses_per_day: int = 1
    with_food: bool = False
    drugs: tuple[DrugTimes, ...] = ()
    unknown: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.doses_per_day <= max(self.schedule.usual_times):
            raise ValueError(f"{self.doses_per_day} doses of magnesium a day cannot be planned")
        if len(self.drugs) > MOST_DRUGS:
            raise TooLarge(f"more than {MOST_DRUGS} medicines")
        if sum(len(day) for drug in self.drugs for day in drug.week) > MOST_DOSES:
            raise TooLarge(f"more than {MOST_DOSES} doses in a week")

    @property
    def labels(self) -> dict[str, str]:
        """The name of each medicine by its concept id."""
        return {drug.drug: drug.label for drug in self.drugs}


TimesWeek = tuple[tuple[int, ...], ...]
"""Minutes of the day at which magnesium is taken, for each weekday."""


@dataclass(frozen=True, slots=True)
class Move:
    """A dose of a drug taken at another time of day than now."""

    drug: str
    label: str
    from_minute: int
    to_minute: int


AlternativeKind = Literal["fewer_doses", "move_dose", "wait_until", "no_magnesium_now"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """What could be done instead, where no plan exists.

    fewer_doses: `week` holds a plan with `doses_per_day`, or with none on some days. move_dose: `week` holds
    the plan once `moves` are made. wait_until: magnesium from the day `starts` on, when the courses of
    `drugs` have ended. no_magnesium_now: always the last.
    """

    kind: AlternativeKind
    doses_per_day: int = 0
    week: TimesWeek = ((), (), (), (), (), (), ())
    moves: tuple[Move, ...] = ()
    drugs: tuple[str, ...] = ()
    starts: date | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Around one planned dose: the shortest time since a dose of the drug and until its next one, in minutes,
    over all the days on which magnesium is taken then. None: the drug has no dose within a day of it."""

    minute: int
    drug: str
    label: str
    after_drug: int | None
    before_drug: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. `week` holds the times of magnesium; `assumed`: it rests on a dose time that no order gives.

    `complete` is false where a drug with an interval has doses that no plan can foresee or that could not be
    read: such a plan must be shown with `unreadable` and `as_needed`, and never be written into an order
    unasked. `blocked_by` names a smallest set of drugs that leaves no room (each drug alone, where it is to
    be avoided); it is empty where not even an empty day has room for so many doses.
    """

    possible: bool
    complete: bool
    week: TimesWeek
    blocked_by: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    intervals: tuple[Interval, ...] = ()
    assumed: bool = False
    unreadable: tuple[tuple[str, str], ...] = ()
    as_needed: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def minutes(self) -> list[int]:
        """The minutes of the week at which magnesium is taken."""
        return [weekday * DAY + minute for weekday, minutes in enumerate(self.week) for minute in minutes]

    @property
    def times(self) -> tuple[int, ...]:
        """The times of every day, () where there is no plan or days differ."""
        return common_times(self.week)


@dataclass(frozen=True, slots=True)
class PlanContent:
    """What the content says on one day: intervals by drug concept, the schedule, how a medicine's name is found (its
    concept ids, none if it is not known), and labels of the concepts that have no interval."""

    intervals: Mapping[str, Interval]
    schedule: Schedule
    find: Callable[[str], Iterable[str]]
    names: Mapping[str, str] = field(default_factory=dict)


def week_minutes(drugs: Iterable[DrugTimes]) -> set[int]:
    """Every minute of the week at which some of these medicines are taken."""
    return {weekday * DAY + dose.minute for drug in drugs for weekday, day in enumerate(drug.week) for dose in day}


def same_every_day(week: Sequence[object]) -> bool:
    """Whether all seven days hold the same."""
    return week.count(week[0]) == len(week)


def alike(week: Sequence[T]) -> dict[T, list[int]]:
    """The weekdays (0 Monday) by what they hold; the earliest first."""
    groups: dict[T, list[int]] = {}
    for weekday, held in enumerate(week):
        groups.setdefault(held, []).append(weekday)
    return groups


def common_times(week: TimesWeek) -> tuple[int, ...]:
    """The times of every day, () where days differ."""
    return week[0] if same_every_day(week) else ()


def clock(minute: int) -> str:
    """450 -> "07:30"."""
    minute %= DAY
    return f"{minute // 60:02d}:{minute % 60:02d}"


def hours(minutes: int) -> str:
    """240 -> "4 h"; 30 -> "30 min"; 150 -> "2 h 30 min"."""
    whole, rest = divmod(minutes, 60)
    return " ".join(filter(None, [f"{whole} h" if whole else "", f"{rest} min" if rest or not whole else ""]))
