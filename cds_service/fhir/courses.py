"""How long what was ordered may be taken: its durations, how often it is dispensed, and until when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from cds_service.fhir.dates import days_covered, plus, read_day
from cds_service.fhir.elements import DispenseRequest, MedicationRequest, QuantityView
from cds_service.fhir.numbers import number, whole
from cds_service.patient import Dosage
from cds_service.terminology.units import UnitTable

_MOST_DAYS = 10**6
_NOT_SAID = (b"", b"null")


@dataclass(frozen=True, slots=True)
class Course:
    """What a duration in an order counts from, and what makes it longer.

    `authored`: the day of the order. `dispensed`: how many times it may be dispensed, None where that cannot be read.
    `supply`: the days that one supply lasts. `last`: the last day on which it may be dispensed.
    """

    authored: date | None = None
    dispensed: int | None = 1
    supply: Decimal | None = None
    last: date | None = None

    def end(self, start: date | None, days: Decimal) -> date | None:
        """The last day on which a dose "for so many days" may be taken. One supply counts from `start`; of several, the
        last as late as the order allows it to be dispensed. None where nobody can tell."""
        if start is None or self.dispensed is None:
            return None
        if self.dispensed == 1:  # many orders of a week may be dispensed for a year: nobody takes them so long
            return _last_day(start, days)
        one = self.supply or days
        end = _last_day(start, max(days, one * self.dispensed))
        late = _last_day(self.last, one) if self.last else end
        return max(end, late) if end and late else None

    @property
    def used_up(self) -> date | None:
        """The last day of what is dispensed on the last day for that; None where it is not said."""
        return _last_day(self.last, self.supply) if self.last and self.supply else None


def course_of(view: MedicationRequest, units: UnitTable) -> Course:
    """The course of an order in force. When it may be dispensed says nothing of when it is taken (FHIR R4,
    dispenseRequest.validityPeriod)."""
    authored, asked = read_day(view.authoredOn), view.dispenseRequest or DispenseRequest()
    repeats = asked.numberOfRepeatsAllowed
    again = whole(repeats) if bytes(repeats) not in _NOT_SAID else 0
    supply = in_days(asked.expectedSupplyDuration, units) if asked.expectedSupplyDuration else None
    covered = days_covered(asked.validityPeriod.end) if asked.validityPeriod else None
    dispensed = again + 1 if again is not None and again >= 0 else None
    return Course(authored, dispensed, supply, covered[1] if covered else None)


def one_after_another(dosages: Sequence[Dosage], course: Course) -> tuple[Dosage, ...]:
    """The same with the latest day on which each may end: a duration may begin only when those of lower number
    (FHIR R4, Dosage.sequence) are over."""
    lasts: dict[int, timedelta] = {}
    for each in dosages:
        if each.sequence is not None and each.end and each.start and each.start == course.authored:
            days = each.end - each.start + timedelta(days=1)
            lasts[each.sequence] = max(days, lasts.get(each.sequence, days))
    found = []
    for each in dosages:
        if each.sequence in lasts and each.end and each.start == course.authored:
            before = (days for number, days in lasts.items() if each.sequence is not None and number < each.sequence)
            each = replace(each, end=plus(each.end, sum(before, timedelta())))
        found.append(each)
    return tuple(found)


def seconds_of(time: QuantityView, units: UnitTable) -> Decimal | None:
    """A duration in seconds; None where it cannot be read."""
    amount, unit = number(time.value), units.find(time.code or time.unit)
    return amount * unit.factor if amount is not None and unit is not None and unit.kind == "time" else None


def in_days(duration: QuantityView, units: UnitTable) -> Decimal | None:
    """A duration in days; None where it cannot be read or is none."""
    seconds = seconds_of(duration, units)
    return seconds / 86400 if seconds is not None and 0 < seconds < 86400 * _MOST_DAYS else None


def _last_day(start: date, days: Decimal) -> date | None:
    # "For 7 days" from the 1st ends on the 7th.
    return plus(start, timedelta(days=max(math.ceil(days), 1) - 1)) if days < _MOST_DAYS else None
