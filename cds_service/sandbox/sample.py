"""What a sample patient's YAML file may say.

Unknown keys are refused. Dates are relative, so that the samples never go stale.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_AGO = re.compile(r"(?:(today)|(\d+) (hour|day|week|month|year)s? ago)")
_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


def moment(text: str, now: datetime) -> datetime:
    """The time that "today", "3 hours ago" or "10 days ago" means at `now`, to the second.

    A month is 30 days and a year 365. Raises ValueError for any other text.
    """
    match = _AGO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not 'today' or like '10 days ago'")
    now = now.replace(microsecond=0)
    if match[1]:
        return now
    number, unit = int(match[2]), match[3]
    return now - (timedelta(hours=number) if unit == "hour" else timedelta(days=number * _DAYS[unit]))


Ago = Annotated[str, StringConstraints(pattern=f"^{_AGO.pattern}$")]
ResourceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Strict):
    """An active, confirmed problem."""

    text: str
    snomed: str
    icd10cm: str | None = None
    since: Ago


class Dose(_Strict):
    """How a drug is taken: `times` a `period`, of `amount` `unit` (a UCUM code) each time."""

    text: str
    amount: float
    unit: str
    times: int = 1
    period: int = 1
    period_unit: Literal["h", "d", "wk"] = "d"
    at: tuple[Annotated[str, StringConstraints(pattern=r"^\d\d:\d\d$")], ...] = ()
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()


class Drug(_Strict):
    """An oral drug. `kind` says whether it was ordered here or is what the patient says that they take."""

    text: str
    rxnorm: str
    dose: Dose
    since: Ago = "today"
    kind: Literal["order", "statement"] = "order"


class Result(_Strict):
    """A final result."""

    text: str
    loinc: str
    category: Literal["laboratory", "survey"] = "laboratory"
    value: float
    unit: str
    taken: Ago
    low: float | None = None
    high: float | None = None


class Name(_Strict):
    given: str
    family: str

    def __str__(self) -> str:
        return f"{self.given} {self.family}"


class Sample(_Strict):
    """One file in patients/. `id` is its stem; `drafts` are orders that a clinician may be about to place."""

    id: ResourceId
    title: str
    story: Annotated[str, StringConstraints(strip_whitespace=True)]
    name: Name
    sex: Literal["female", "male"]
    age: Annotated[int, Field(ge=0, le=120)]
    problems: tuple[Problem, ...] = ()
    drugs: tuple[Drug, ...] = ()
    results: tuple[Result, ...] = ()
    drafts: dict[ResourceId, Drug] = {}
