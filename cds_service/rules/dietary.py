"""Dietary reference intakes: the row of a table for an age, and what it says for a person."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

from cds_service.content.shared import Allowance, UpperLevel
from cds_service.patient import Person

R = TypeVar("R", Allowance, UpperLevel)


def row_for(age: Decimal | int, rows: list[R]) -> R | None:
    """The row for an age in years; infants' rows are bounded in parts of a year."""
    return next((row for row in rows if row.age_from <= age and (row.age_to is None or age < row.age_to)), None)


def allowance_of(person: Person, row: Allowance | None) -> Decimal | None:
    """mg/d for sex, pregnancy and lactation; None where one of them is needed and unknown, or there is no row."""
    if row is None:
        return None
    if person.pregnant and row.pregnancy is not None:
        return row.pregnancy
    if person.lactating and row.lactation is not None:
        return row.lactation
    if person.sex is None:
        return row.male if row.male == row.female else None
    return row.female if person.sex == "female" else row.male
