"""S7: the closed table of units against a parser of all of UCUM (ucumvert) and a library of units (pint)."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ucumvert import InvalidUcumError, PintUcumRegistry

from cds_service.terminology.units import UnitProblem
from tests.conftest import shipped

TABLE = shipped().vocabulary.units
MOLAR_MASS, VALENCE = Decimal("24.305"), 2
COUNTED = sorted(code for code, unit in TABLE.units.items() if unit.kind == "count")
MEASURED = [code for code, unit in TABLE.units.items() if unit.kind != "count"]
CONCENTRATIONS = [code for code in MEASURED if TABLE.units[code].per == "L"]

# One dimension, and yet no factor: a charge needs its valence, an index its body surface, and the two ways to report
# glycated haemoglobin are two measures.
APART = [{"charge", "substance"}, {"clearance", "indexed_clearance"}, {"percentage", "ifcc_ratio"}]

# What EHRs write and mean otherwise than UCUM reads it: megagauss, megalitre, milligram times percent, a body surface
# that is multiplied, a day that is only a remark.
NOT_AS_UCUM = {"MG", "ML", "mg%", "mL/min/1.73.m2", "g/{24h}", "mg/{24h}", "mg/{day}"}


@pytest.fixture(scope="module")
def ucum() -> Any:
    """The quantity that one of a UCUM code is; None where a text is no UCUM."""
    registry = PintUcumRegistry()

    @cache
    def read(code: str) -> Any:
        try:
            return registry.from_ucum(code)
        except InvalidUcumError:
            return None

    return read


def in_terms_of(one: Any, other: Any) -> float | None:
    """How many of the other one of this is; None where they are of different dimensions."""
    ratio = (one / other).to_base_units()
    return float(ratio.magnitude) if ratio.dimensionless else None


def test_every_code_of_the_table_is_ucum(ucum: Any) -> None:
    assert [code for code in MEASURED if ucum(code) is None] == []
    # A remark in braces is a unit of its own in UCUM, of no dimension: what is counted stands in it, or it is the one.
    remarks = [code for code in COUNTED if code != "1"]
    assert all(code[0] + code[-1] == "{}" for code in remarks)
    assert [str(ucum(code)) for code in remarks] == remarks


def test_units_convert_where_their_dimensions_are_one_and_nowhere_else(ucum: Any) -> None:
    for unit, target in product(MEASURED, repeat=2):
        expected = in_terms_of(ucum(unit), ucum(target))
        kinds = {TABLE.units[unit].kind, TABLE.units[target].kind}
        if expected is None or kinds in APART:
            with pytest.raises(UnitProblem):
                TABLE.convert(Decimal(1), unit, target)
        else:
            assert float(TABLE.convert(Decimal(1), unit, target)) == pytest.approx(expected, rel=1e-9), (unit, target)


@given(
    value=st.decimals("0.0001", "99999", places=4),
    unit=st.sampled_from(CONCENTRATIONS),
    target=st.sampled_from(CONCENTRATIONS),
)
def test_any_concentration_of_magnesium_is_what_pint_makes_of_it(
    ucum: Any, value: Decimal, unit: str, target: str
) -> None:
    mole = {"mass": float(MOLAR_MASS) * ucum("g/mol"), "charge": VALENCE, "substance": 1}
    moles = float(value) * ucum(unit) / mole[TABLE.units[unit].kind]
    expected = in_terms_of(moles * mole[TABLE.units[target].kind], ucum(target))
    assert expected is not None
    found = TABLE.convert(value, unit, target, molar_mass=MOLAR_MASS, valence=VALENCE)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_another_spelling_that_is_ucum_too_means_the_same_there_or_is_named_here(ucum: Any) -> None:
    other = set()
    for spelling, unit in TABLE.aliases.items():
        means = ucum(spelling)
        if unit.kind == "count" or means is None:  # no UCUM: an EHR's own way to write it
            continue
        if in_terms_of(means, ucum(unit.code)) != pytest.approx(1, rel=1e-9):
            other.add(spelling)
    assert other == NOT_AS_UCUM
