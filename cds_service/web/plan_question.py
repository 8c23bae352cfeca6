"""POST /plan: what it takes and what it answers, as pydantic models, and the way between them and the planner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cds_service.planner.model import (
    DAYS,
    MOST_DRUGS,
    Alternative,
    Dose,
    DrugTimes,
    Interval,
    Plan,
    PlanContent,
    PlanRequest,
    TimesWeek,
    clock,
    common_times,
    same_every_day,
)
from cds_service.planner.schedule import ScheduleError, minute_of

Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["07:00"])]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Magnesium(_Body):
    """The magnesium that is to be planned."""

    dosesPerDay: Annotated[int, Field(ge=1, le=6)] = 1
    withFood: Annotated[bool, Field(description="the product is better taken with food")] = False


class MedicationTimes(_Body):
    """One medicine and when it is taken."""

    name: Annotated[str, Field(min_length=1, max_length=200, description="ingredient or brand name")]
    times: Annotated[list[Clock], Field(max_length=24, description="clock times of a day")]
    days: Annotated[list[Day] | None, Field(min_length=1, max_length=7, description="default: every day")] = None
    fixed: Annotated[bool, Field(description="its times cannot be moved")] = False
    ends: Annotated[date | None, Field(description="last day of the course")] = None


class PlanQuestion(_Body):
    """The body of POST /plan."""

    magnesium: Magnesium = Magnesium()
    medications: Annotated[list[MedicationTimes], Field(max_length=MOST_DRUGS)]
    waking: Annotated[
        list[Clock] | None, Field(min_length=2, max_length=2, description="start and end; may cross midnight")
    ] = None
    meals: Annotated[
        dict[Literal["breakfast", "lunch", "dinner"], Clock] | None,
        Field(description="where they are not the usual ones"),
    ] = None


class IntervalAnswer(_Body):
    """How far magnesium stays from one medicine, in hours."""

    medication: str
    drugThenMagnesium: float | None = None
    magnesiumThenDrug: float | None = None
    avoid: bool
    verified: bool
    certainty: str
    reference: str


class MoveAnswer(_Body):
    """A dose at another time."""

    medication: str
    fromTime: str
    toTime: str


class AlternativeAnswer(_Body):
    """What could be done instead; the kinds come in the order of preference."""

    kind: Literal["fewer_doses", "move_dose", "wait_until", "no_magnesium_now"]
    dosesPerDay: int
    times: list[str]
    perDay: dict[str, list[str]] | None = None
    moves: list[MoveAnswer] = []
    medications: list[str] = []
    starts: str | None = None


class PlanAnswer(_Body):
    """The answer of POST /plan. `complete` is false where some medicine was not planned around. `link` is the page."""

    possible: bool
    complete: bool
    times: list[str]
    perDay: dict[str, list[str]] | None = None
    blockedBy: list[str]
    alternatives: list[AlternativeAnswer]
    intervals: list[IntervalAnswer]
    unknown: list[str]
    link: str


def schema() -> dict[str, Any]:
    """JSON Schema of the question and of the answer."""
    question, answer = PlanQuestion.model_json_schema(), PlanAnswer.model_json_schema()
    definitions = {**question.pop("$defs", {}), **answer.pop("$defs", {})}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "POST /plan",
        "$defs": {**definitions, "PlanQuestion": question, "PlanAnswer": answer},
        "$ref": "#/$defs/PlanQuestion",
    }


def request_of(question: PlanQuestion, content: PlanContent, today: date) -> tuple[PlanRequest, list[str]]:
    """The planner's request and the names that were not recognised.

    A medicine with several concepts is planned with every interval among them. Raises ScheduleError where the
    waking hours leave a night that is too short, TooLarge where all together are more than one plan may hold.
    """
    schedule = content.schedule
    if question.waking or question.meals:
        starts, ends = schedule.waking_starts, schedule.waking_starts + schedule.waking_length
        if question.waking:
            starts, ends = map(minute_of, question.waking)
        if starts == ends:
            raise ScheduleError("starts and ends at the same time")
        meals: dict[str, int] = {meal: minute_of(at) for meal, at in (question.meals or {}).items()}
        schedule = schedule.for_waking(starts, ends, meals)
    drugs: list[DrugTimes] = []
    unknown = []
    for medication in question.medications:
        concepts = list(dict.fromkeys(content.find(medication.name)))
        if not concepts:
            unknown.append(medication.name)
        elif medication.ends is None or medication.ends >= today:
            known = [concept for concept in concepts if concept in content.intervals]
            drugs += [_drug(medication, concept, content.intervals.get(concept)) for concept in known or concepts[:1]]
    magnesium = question.magnesium
    request = PlanRequest(schedule, today, magnesium.dosesPerDay, magnesium.withFood, tuple(drugs), len(unknown))
    return request, unknown


def _drug(medication: MedicationTimes, concept: str, interval: Interval | None) -> DrugTimes:
    movable = not medication.fixed and not (interval and interval.label_moment)
    doses = tuple(Dose(minute, movable=movable) for minute in sorted(set(map(minute_of, medication.times))))
    return DrugTimes(
        drug=concept,
        label=interval.label if interval else concept.replace("_", " "),
        interval=interval,
        week=tuple(doses if day in (medication.days or DAYS) else () for day in DAYS),
        unreadable="" if doses else "no times were given",
        ends=medication.ends,
    )


def answer_of(plan: Plan, request: PlanRequest, unknown: list[str], link: str) -> PlanAnswer:
    """The plan on the wire."""
    labels = request.labels
    return PlanAnswer(
        possible=plan.possible,
        complete=plan.complete,
        times=_clocks(common_times(plan.week)),
        perDay=_by_day(plan.week),
        blockedBy=[labels[drug] for drug in plan.blocked_by],
        alternatives=[_alternative(option, labels) for option in plan.alternatives],
        intervals=[
            IntervalAnswer(
                medication=interval.label,
                drugThenMagnesium=None if interval.avoid else interval.drug_then_magnesium / 60,
                magnesiumThenDrug=None if interval.avoid else interval.magnesium_then_drug / 60,
                avoid=interval.avoid,
                verified=interval.verified,
                certainty=interval.certainty,
                reference=interval.reference,
            )
            for interval in plan.intervals
        ],
        unknown=unknown,
        link=link,
    )


def _alternative(option: Alternative, labels: Mapping[str, str]) -> AlternativeAnswer:
    return AlternativeAnswer(
        kind=option.kind,
        dosesPerDay=option.doses_per_day,
        times=_clocks(common_times(option.week)),
        perDay=_by_day(option.week),
        moves=[
            MoveAnswer(medication=move.label, fromTime=clock(move.from_minute), toTime=clock(move.to_minute))
            for move in option.moves
        ],
        medications=[labels[drug] for drug in option.drugs],
        starts=option.starts.isoformat() if option.starts else None,
    )


def _clocks(minutes: Iterable[int]) -> list[str]:
    return [clock(minute) for minute in minutes]


def _by_day(week: TimesWeek) -> dict[str, list[str]] | None:
    if same_every_day(week):
        return None
    return {day: _clocks(minutes) for day, minutes in zip(DAYS, week, strict=True)}
