"""S7: units are read, never guessed, and converted exactly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.terminology.units import UnitProblem, convert
from tests.conftest import shipped

MOLAR_MASS, VALENCE = Decimal("24.305"), 2
TABLE = shipped().vocabulary.units
CONCENTRATIONS = [code for code, unit in TABLE.units.items() if unit.per == "L" and unit.kind != "volume"]


def to(value: str, unit: str, target: str) -> Decimal:
    return TABLE.convert(Decimal(value), unit, target, molar_mass=MOLAR_MASS, valence=VALENCE)


def test_one_millimole_of_magnesium_in_all_its_units() -> None:
    assert to("1", "mmol/L", "mg/dL") == Decimal("2.4305")
    assert to("1", "mmol/L", "meq/L") == Decimal("2")
    assert round(to("1.8", "mg/dL", "mmol/L"), 4) == Decimal("0.7406")
    assert round(to("1.8", "meq/L", "mg/dL"), 5) == Decimal("2.18745")


@given(
    value=st.decimals("0.0001", "99999", places=4),
    unit=st.sampled_from(CONCENTRATIONS),
    target=st.sampled_from(CONCENTRATIONS),
)
def test_there_and_back_is_the_same_to_nine_places(value: Decimal, unit: str, target: str) -> None:
    there = TABLE.convert(value, unit, target, molar_mass=MOLAR_MASS, valence=VALENCE)
    back = TABLE.convert(there, target, unit, molar_mass=MOLAR_MASS, valence=VALENCE)
    assert abs(back - value) <= Decimal("1e-9") * value


@pytest.mark.parametrize(
    ("unit", "target"), [("mg/dL", "mL/min"), ("mL/min", "mL/min/{1.73_m2}"), ("mg", "mg/d"), ("%", "mmol/mol")]
)
def test_what_does_not_compare_is_not_converted(unit: str, target: str) -> None:
    with pytest.raises(UnitProblem):
        to("1", unit, target)


def test_mass_becomes_substance_only_with_a_molar_mass() -> None:
    with pytest.raises(UnitProblem):
        TABLE.convert(Decimal(1), "mg/dL", "mmol/L")
    with pytest.raises(UnitProblem):
        TABLE.convert(Decimal(1), "meq/L", "mmol/L")


def test_an_absurd_number_is_a_problem_and_not_a_crash() -> None:
    with pytest.raises(UnitProblem):
        convert(Decimal("1e999999"), TABLE.units["mg/dL"], TABLE.units["mmol/L"], molar_mass=MOLAR_MASS)


@pytest.mark.parametrize(
    ("text", "code"), [("mEq/L", "meq/L"), ("mg/dl", "mg/dL"), ("mL/min/1.73m2", "mL/min/{1.73_m2}")]
)
def test_what_ehrs_write_is_understood(text: str, code: str) -> None:
    found = TABLE.find(text)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize("text", ["Mg/dL", "MG/DL", "MMOL/L", "mol/L ?", "", " ", "mmol"])
def test_case_counts_and_megagrams_are_not_milligrams(text: str) -> None:
    found = TABLE.find(text)
    assert found is None or found.per != "L"


def test_every_test_of_ours_is_measured_in_a_unit_of_the_table() -> None:
    units = {name: c.unit for name, c in shipped().vocabulary.concepts.items() if c.kind == "lab" and c.unit}
    assert units
    assert {name for name, unit in units.items() if TABLE.find(unit) is None} == set()
