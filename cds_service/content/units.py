"""Units, and exact conversion between them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException
from functools import lru_cache

EXACT = Context(prec=40)


class UnitProblem(Exception):
    """Why a unit cannot be used, in our own words."""


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One UCUM code of a table. `factor` times a number in it gives the base unit of its `kind`, `per` that."""

    code: str
    kind: str
    factor: Decimal
    per: str = ""

    def same_as(self, other: Unit) -> bool:
        """Equal in meaning, whatever the spelling."""
        return (self.kind, self.per, self.factor) == (other.kind, other.per, other.factor)


def convert(
    value: Decimal, unit: Unit, target: Unit, *, molar_mass: Decimal | None = None, valence: int | None = None
) -> Decimal:
    """`value` from `unit` to `target`. `molar_mass` is in g/mol. Raises UnitProblem where the two do not compare."""
    if unit is target:
        return value
    times, over = _ratio(unit, target, molar_mass, valence)
    try:
        # Multiplied first and divided once: a value that lies exactly on a limit stays exactly on it.
        return EXACT.divide(EXACT.multiply(value, times), over)
    except DecimalException as error:
        raise UnitProblem("value not readable") from error


@lru_cache(maxsize=512)
def _ratio(unit: Unit, target: Unit, molar_mass: Decimal | None, valence: int | None) -> tuple[Decimal, Decimal]:
    """What to multiply by and what to divide by. Bases: mass mg, substance mmol, charge meq."""
    if unit.per != target.per:
        raise UnitProblem("unit does not fit this test")
    times, over = unit.factor, target.factor
    if unit.kind != target.kind:
        # Through substance: mg / molar mass = mmol, meq / valence = mmol.
        over = EXACT.multiply(over, _per_mmol(unit.kind, molar_mass, valence))
        times = EXACT.multiply(times, _per_mmol(target.kind, molar_mass, valence))
    return times, over


def _per_mmol(kind: str, molar_mass: Decimal | None, valence: int | None) -> Decimal:
    if kind == "substance":
        return Decimal(1)
    if kind == "mass" and molar_mass:
        return molar_mass
    if kind == "charge" and valence:
        return Decimal(valence)
    raise UnitProblem("unit does not fit this test")
