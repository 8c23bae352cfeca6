"""What the fields of the test words hold: names of labs, drugs, conditions and thresholds, and limits made of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import model_validator

from cds_service.content.base import UNIT_OF_THE_LAB, Name, Names, Strict
from cds_service.patient import CONDITIONS, MEDICATIONS, PREGNANCY, STATEMENTS

LAB = Names("lab", kinds=("lab",))
DRUG = Names("drug", kinds=("drug", "drug_class"), reads=frozenset({MEDICATIONS, STATEMENTS}))
_PROBLEM = Names("condition", kinds=("condition",), reads=frozenset({CONDITIONS}))
# What tells that magnesium is given to a mother: problems, how long each holds, and ages.
OBSTETRIC = [
    (_PROBLEM, "pregnancy_problem"),
    (_PROBLEM, "recent_birth"),
    (Names("threshold", unit="d"), "pregnancy_problem_holds"),
    (Names("threshold", unit="d"), "birth_holds"),
    (Names("threshold", unit="a"), "obstetric_age_from"),
    (Names("threshold", unit="a"), "obstetric_age_to"),
]
UPPER_LEVEL = "upper_level_for_age"
# Pregnancy and lactation are read from observations and from the problem list.
PREGNANCY_INPUTS = frozenset({CONDITIONS, PREGNANCY})

LabName = Annotated[Name, LAB]
DrugName = Annotated[Name, DRUG]
ConditionName = Annotated[Name, Names("condition", kinds=("condition",), reads=frozenset({CONDITIONS}))]
ReasonName = Annotated[Name, Names("reason", kinds=("condition",), reads=frozenset({CONDITIONS}))]
FormName = Annotated[str, Names("form")]
# Names of thresholds, by what they count.
Days = Annotated[Name, Names("threshold", unit="d")]
DaysBack = Annotated[Name, Names("threshold", unit="d", looks_back=True)]
Hours = Annotated[Name, Names("threshold", unit="h")]
Years = Annotated[Name, Names("threshold", unit="a")]
Count = Annotated[Name, Names("threshold", unit="1")]
LabLimit = Annotated[Name, Names("threshold", unit=UNIT_OF_THE_LAB)]
# What a drafted magnesium order is for: see `tables/purposes.yaml`; any other order is `other`.
PurposeName = Literal["obstetric", "emergency", "replacement"]
OTHER: Final = "other"
DailyAmount = Annotated[Name, Names("threshold", unit="mg/d", besides=(UPPER_LEVEL,))]
Minutes = Annotated[Name, Names("threshold", unit="min")]
Grams = Annotated[Name, Names("threshold", unit="g")]
GramsAnHour = Annotated[Name, Names("threshold", unit="g/h")]
GramsADay = Annotated[Name, Names("threshold", unit="g/d")]
MilligramsAKilogram = Annotated[Name, Names("threshold", unit="mg/kg")]

Comparison = Literal["below", "at_most", "above", "at_least"]
_COMPARISONS: Final[tuple[Comparison, ...]] = get_args(Comparison)


def limits_of(test: Strict) -> dict[Comparison, str]:
    """The thresholds of a test by the comparison in which they stand, in the order of `Comparison`."""
    return {word: name for word in _COMPARISONS if (name := getattr(test, word, None))}


class Persists(Strict):
    """Beyond the limit at least the threshold `apart` before the newest result too, with no result within the limit in
    between; or beyond it although one of the drugs of `despite` had then been on the list for that long."""

    apart: Days
    despite: list[DrugName] = []


class KidneyLimits(Strict):
    """eGFR `below` or `at_least` a threshold, or both for a band; or `unknown`."""

    below: LabLimit | None = None
    at_least: LabLimit | None = None
    unknown: Literal[True] | None = None

    @model_validator(mode="after")
    def _limits_or_unknown(self) -> KidneyLimits:
        if bool(limits_of(self)) == bool(self.unknown):
            raise ValueError("needs below or at_least, or unknown alone")
        return self


class InjectedLimits(Strict):
    """One limit of magnesium sulfate: of a dose (`dose`: also of one whose time is not said), by weight, each hour, in
    a day, or in two days."""

    dose: Grams | None = None
    quick_dose: Grams | None = None
    dose_by_weight: MilligramsAKilogram | None = None
    rate: GramsAnHour | None = None
    day: GramsADay | None = None
    two_days: Grams | None = None

    @model_validator(mode="after")
    def _one(self) -> InjectedLimits:
        if sum(name is not None for _, name in self) != 1:
            raise ValueError("needs one limit")
        return self

    @property
    def named(self) -> tuple[str, str]:
        """What is limited, and the threshold."""
        return next((word, name) for word, name in self if name)
