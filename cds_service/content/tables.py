"""The typed form of the tables by which a chart is read: units, routes, written instructions, comments, passing states,
the usual day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from cds_service.content.base import Name, Strict, Text, in_force
from cds_service.content.lab_words import LabTest
from cds_service.content.products import STRENGTH
from cds_service.content.word_fields import ConditionName
from cds_service.patient import Route

Words = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
Some = Annotated[list[Words], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
DAY = 1440  # minutes
DOSES_A_DAY = range(1, 7)
PeriodUnit = Literal["s", "min", "h", "d", "wk", "mo", "a"]
CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z")


def _exact(value: Any) -> Any:
    """A factor stands in quotes, so that no reader of YAML rounds it."""
    return Decimal(value) if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value


class UnitRow(Strict):
    """One UCUM code. `factor` times a number in it is the base unit of its `kind`, `per` that. `also`: spellings,
    `codes` of other systems."""

    kind: Name
    factor: Annotated[Decimal, BeforeValidator(_exact), Field(gt=0)]
    per: Literal["", "L", "d"] = ""
    also: list[Words] = []
    codes: dict[str, Some] = {}


class UnitRows(Strict):
    """`terminology/units.yaml`, by UCUM code."""

    title: Text
    units: dict[Words, UnitRow]


class RouteRow(Strict):
    """How a route of administration is written: codes by their system, and whole texts."""

    codes: dict[str, Some] = {}
    names: list[Words] = []


class RouteRows(Strict):
    """`terminology/routes.yaml`."""

    title: Text
    routes: dict[Route, RouteRow]


class CodeSystem(Strict):
    """The addresses of a code system, the one that we write first. `who`: read as ICD-10 of the WHO by categories of
    three and four characters; those of `but` by three alone. `form`: of its codes. `before`: what
    stands before each."""

    uris: Some
    who: bool = False
    but: list[Words] = []
    form: re.Pattern[str] = re.compile("")
    check_digit: bool = False
    before: str = ""

    def bare(self, code: str) -> str:
        """A code without what stands before each code of the system; nothing where that is not there."""
        code = code.strip()
        return code[len(self.before) :] if code.upper().startswith(self.before) else ""

    def holds(self, code: str) -> bool:
        """Whether a code has its form."""
        found = self.form.match(code)
        if not found or not self.check_digit:
            return found is not None
        digits = [int(digit) for digit in reversed(found[0]) if digit.isdigit()]
        return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


class CodeSystems(Strict):
    """`terminology/code_systems.yaml`, by our short name."""

    title: Text
    systems: dict[Name, CodeSystem]


class SystemNames:
    """Our short names of code systems by their addresses."""

    def __init__(self, systems: Mapping[str, CodeSystem]) -> None:
        uris = [(form, name) for name, row in systems.items() for uri in row.uris for form in (uri, uri.lower())]
        self._exact = {uri: name for uri, name in uris if not uri.endswith("*")}
        self._editions = [(uri[:-1], name) for uri, name in uris if uri.endswith("*")]

    def of(self, uri: str | None) -> str | None:
        """The short name; None if the system is not one of ours."""
        if not uri:
            return None
        found = self._exact.get(uri)
        if found is None:
            plain = uri.partition("|")[0].strip().rstrip("/").lower()
            plain = "http://" + plain[8:] if plain.startswith("https://") else plain
            found = self._exact.get(plain) or next((n for start, n in self._editions if plain.startswith(start)), None)
        return found


class Frequency(Strict):
    """So many doses in a period; `when` are FHIR event codes, `days` days of the week."""

    frequency: Count
    period: Annotated[Decimal, Field(gt=0)]
    unit: PeriodUnit
    when: list[str] = []


class NameWords(Strict):
    """`tables/name_words.yaml`: words that join the parts of a drug's name, the marks of homeopathy, and how codes of
    vehicles begin."""

    title: Text
    salt_of: Some
    made_from: Some
    of: Some
    dilutions: Some
    remedies: Some
    vehicle_codes: Some


class NamedProduct(Strict):
    """What a product holds whose name alone says it, packed as in `terminology/rxnorm_products.csv`; "" where a longer
    name is another product than the shorter one."""

    names: Some
    holds: Annotated[str, Field(pattern=rf"^({STRENGTH}(;{STRENGTH})*)?$")] = ""
    reference: Name


class InjectionWords(Strict):
    """`tables/injections.yaml`: the words around the doses, times and rates of injections and infusions."""

    title: Text
    units: dict[Literal["g", "mg", "meq", "mmol", "mL", "L"], Some]
    minutes: Some
    hours: Some
    per: Some
    hourly: Some
    over: Some
    runs: Some
    at: Some
    into: Some
    to: Some
    numbers: dict[Decimal, Some]
    then: Some
    once: Some
    kilogram: Some


class TimingCodes(Strict):
    """`tables/timing_codes.yaml`: codes of a Timing."""

    title: Text
    codes: dict[str, Frequency]


class OtherMaterials(Strict):
    """What is no serum, plasma or blood of the patient: how words of its name begin, and codes by their system."""

    words: Some
    codes: dict[str, Some]


class SpecimenComments(Strict):
    """`tables/specimen_comments.yaml`: kinds of trouble by words and codes, and how a comment denies them."""

    title: Text
    marks: dict[Name, Some]
    codes: dict[Name, dict[str, Some]]
    modifiers: Some
    elsewhere: Some
    before: Some
    between: Some
    tail: Some
    after: Some
    other_materials: OtherMaterials


class OutcomeCode(Strict):
    """What an EHR's own code says of a search. `system` may end in `*`: the rest of it differs from site to site."""

    system: Words
    code: Words
    says: Text
    means: Literal["none_found", "harmless", "withheld"]
    source: Text


class SearchOutcomes(Strict):
    """`tables/search_outcomes.yaml`: what an OperationOutcome among the results of a search says."""

    title: Text
    withheld: Some
    codes: list[OutcomeCode]

    def meaning(
        self, severity: str | None, issue_type: str | None, codings: list[tuple[str | None, str | None]]
    ) -> Literal["none_found", "harmless", "withheld"]:
        """Of one issue. What is not known counts as withheld unless it is for information only."""
        if severity in ("error", "fatal"):
            return "withheld"
        for row in self.codes:
            if any(code == row.code and fnmatchcase(system or "", row.system) for system, code in codings):
                return row.means
        if issue_type in self.withheld:
            return "withheld"
        return "harmless" if severity in ("information", "success") else "withheld"


class AnswerHolds(Strict):
    """For how many days an answer counts."""

    answer_holds_days: Count


class NotTaken(Strict):
    """Codes of one system by which a chart says that a medicine is not taken."""

    system: Words
    codes: Some
    source: Text


class InfusionWords(Strict):
    """`tables/infusion_words.yaml`: words within an order that say that it goes on, and that it is for a mother."""

    title: Text
    continuous: Some
    obstetric: Some


class PatientStates(Strict):
    """`tables/patient_states.yaml`. `adherence` is the URL of the extension that holds such a code."""

    title: Text
    adherence: Words
    not_taken: list[NotTaken]
    pregnancy: AnswerHolds
    lactation: AnswerHolds


class Purpose(Strict):
    """A row of `tables/purposes.yaml`. `by_vein`: only injected orders have it, and those without such a reason where a
    condition is on the problem list. `in_pregnancy`: only of women who may be pregnant, by a problem that is not older
    than a pregnancy, or by the words of the order. `low`: orders without another purpose have it where this result is
    low."""

    conditions: Annotated[list[ConditionName], Field(min_length=1)]
    by_vein: bool = False
    in_pregnancy: bool = False
    low: LabTest | None = None


class ScheduleThreshold(Strict):
    """A value of the usual day: a clock time, several, or a whole number of minutes or days; `values` are dated."""

    label: Text
    unit: Literal["time of day", "times of day", "min", "d"]
    values: Annotated[dict[date, int | str | list[str]], Field(min_length=1)]
    site_may_set: tuple[int, int] | tuple[str, str]
    basis: Text

    @model_validator(mode="after")
    def _fitting(self) -> ScheduleThreshold:
        for edge in self.site_may_set:
            if isinstance(edge, int) != (self.unit in ("min", "d")) or (
                isinstance(edge, str) and not CLOCK.match(edge)
            ):
                raise ValueError(f"site_may_set: {edge} is no {self.unit.replace('times', 'time')}")
        for value in self.values.values():
            if fault := self.fault_of(value):
                raise ValueError(f"values: {fault}")
        return self

    def at(self, day: date) -> Any:
        return in_force(self.values, day)

    def fault_of(self, value: int | str | list[str]) -> str:
        """What is wrong with a value of this: its kind or its range; "" for nothing."""
        low, high = self.site_may_set
        if self.unit in ("time of day", "times of day"):
            listed: list[Any] = value if isinstance(value, list) else [value]
            several = self.unit == "times of day"
            if several != isinstance(value, list) or not all(CLOCK.match(str(one)) for one in listed):
                return 'a time is written as "07:30"' + (" in a list" if several else "")
        elif isinstance(value, bool) or not isinstance(value, int):
            return f"is not a whole number of {self.unit}"
        else:
            listed = [value]
        outside = [str(one) for one in listed if not low <= one <= high]
        return f"{', '.join(outside)} is outside the allowed range {low} to {high}" if outside else ""


class Moment(Strict):
    """A FHIR event code: at a time of the day, or with, before or after every meal."""

    words: Text
    at: Name | None = None
    meals: Literal["with", "before", "after"] | None = None
    side: Literal["before", "after"] | None = None
    usual: Name | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Moment:
        if (self.at is None) == (self.meals is None):
            raise ValueError("needs one of at, meals")
        if self.usual is not None and self.side is None:
            raise ValueError("usual goes with side")
        return self


class TimingCode(Strict):
    """A timing code: so many doses a day (every so many days), every so many hours, or at one moment."""

    words: Text
    doses_a_day: Count | None = None
    every_days: Count | None = None
    every_hours: Count | None = None
    moment: str | None = None

    @model_validator(mode="after")
    def _one_meaning(self) -> TimingCode:
        if [self.doses_a_day, self.every_hours, self.moment].count(None) != 2:
            raise ValueError("needs one of doses_a_day, every_hours, moment")
        return self


class ScheduleTable(Strict):
    """`tables/schedule.yaml`: the usual day."""

    title: Text
    why: Text
    known_limits: Text
    thresholds: dict[Name, ScheduleThreshold]
    moments: dict[str, Moment]
    meals_by_count: dict[Count, list[Literal["breakfast", "lunch", "dinner"]]]
    codes: dict[str, TimingCode]

    def misfits(self, own: Mapping[str, Any] | None = None) -> Iterator[tuple[str, str]]:
        """What does not fit together on some day, with the values `own` of a site: name and fault, each once."""
        days = sorted({day for row in self.thresholds.values() for day in row.values})
        found: dict[tuple[str, str], None] = {}
        for day in days:
            at = {name: row.at(day) for name, row in self.thresholds.items()} | dict(own or {})
            for count in DOSES_A_DAY:
                if len(set(at[f"doses_a_day_{count}"])) != count:
                    found[f"doses_a_day_{count}", f"needs {count} different times"] = None
            if at["grid"] < 1 or 60 % at["grid"]:
                found["grid", "does not divide an hour"] = None
            awake = (_minute(at["waking_ends"]) - _minute(at["waking_starts"])) % DAY
            if not 0 < awake <= DAY - at["magnesium_spacing"]:
                found["waking_ends", "the night is shorter than the least time between two doses of magnesium"] = None
        yield from found


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
