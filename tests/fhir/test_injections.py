"""How injected magnesium is given: dose, time and rate, in FHIR elements and in words."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.patient import Injected, Injection, Medication, Quantity
from tests.conftest import shipped
from tests.fhir.charts import UCUM, bundle, order, read

BY_VEIN = {"coding": [{"system": "http://snomed.info/sct", "code": "47625008"}]}


def ordered(name: str, instruction: dict[str, Any] | None, **more: Any) -> Medication:
    made = {"medicationCodeableConcept": {"text": name}, **more}
    if instruction is not None:
        made["dosageInstruction"] = [{"route": BY_VEIN, **instruction}]
    return read(drafts=bundle(order(**made))).facts.medications[0]


def injection(instruction: dict[str, Any], name: str = "Magnesium sulfate") -> Injection:
    return ordered(name, instruction).injections[0]


def quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def told(text: str, name: bool = False) -> list[str]:
    """Doses and rates of a text, as short words."""
    return [_short(each) for each in shipped().vocabulary.injections.read(text, name)]


def _short(each: Injected) -> str:
    def amount(one: Quantity | None) -> str:
        return f"{one.value.normalize():f} {one.unit}" if one else ""

    kg = "/kg" if each.per_kg else ""
    parts = [amount(each.amount) + kg if each.amount else "", f"{amount(each.rate)}{kg}/h" if each.rate else ""]
    parts += [f"in {each.minutes} min" if each.minutes else "", f"for {each.hours} h" if each.hours else ""]
    parts += [f"{amount(each.per_ml)}/mL" if each.per_ml else "", f"of {each.volume} mL" if each.volume else ""]
    return " ".join(filter(None, parts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4 g over 20 min", ["4 g in 20 min"]),
        ("4g IV push over 5min", ["4 g in 5 min"]),
        ("4 g/20 min", ["4 g in 20 min"]),
        ("4-6 g over 15-20 min", ["6 g in 15 min"]),
        ("2 g/h", ["2 g/h"]),
        ("1 g per hour", ["1 g/h"]),
        ("150 mg/min", ["9000 mg/h"]),
        ("1 g/h continuous infusion for 24 h", ["1 g/h for 24 h"]),
        ("4 g IV over 20 minutes, then 1 g/h for 24 hours", ["4 g in 20 min", "1 g/h for 24 h"]),
        ("10 g bolus then 1 g/h", ["10 g", "1 g/h"]),
        ("40 g/1000 mL at 50 mL/h", ["50 mL/h 0.04 g/mL of 1000 mL"]),
        ("40 g in 1000 mL at 50 mL/h", ["40 g 50 mL/h 0.04 g/mL of 1000 mL"]),
        ("4 g (8 mL of 50%) diluted in 100 mL NS over 30 min", ["4 g in 30 min 0.5 g/mL of 8 mL"]),
        ("4 g (32.5 mEq) over 20 min", ["4 g in 20 min"]),
        ("32 mEq over two hours", ["32 meq in 120 min"]),
        ("40 mmol in 1 L NaCl 0.9% over 12 hours", ["40 mmol in 720 min 0.04 mmol/mL of 1000 mL"]),
        ("25 mg/kg over 20 min", ["25 mg/kg in 20 min"]),
        ("50 mg/kg/h", ["50 mg/kg/h"]),
        ("1,000 mg IV over half an hour", ["1000 mg in 30.0 min"]),
        ("1,5 g i.v. in 30 min", ["1.5 g in 30 min"]),
        ("4 g über 20 Minuten, dann 1 g/Std", ["4 g in 20 min", "1 g/h"]),
        ("4 g en 20 minutes puis 1 g/h", ["4 g in 20 min", "1 g/h"]),
        ("4 g en 20 minutos, luego 1 g/hora", ["4 g in 20 min", "1 g/h"]),
        ("5 g in each buttock", ["5 g"]),
        ("2 g IV every 6 hours", ["2 g"]),
        ("infuse over 30 minutes", ["in 30 min"]),
        ("1.2.3 g over 20 min", ["in 20 min"]),
        ("as directed", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Magnesium sulphate 20% infusion 50 ml", ["of 50 mL"]),
        ("magnesium sulfate in water 20 g/500 mL (4 %) infusion", ["0.04 g/mL of 500 mL"]),
        ("Magnesium sulfate 40 g IV over 20 minutes", ["40 g in 20 min"]),
        ("Magnesium sulfate 50% injection", []),
    ],
)
def test_names_of_products_tell_the_size_of_a_bag_or_a_dose(name: str, expected: list[str]) -> None:
    assert told(name, name=True) == expected


def test_a_dose_with_its_rate_as_a_ratio_goes_in_within_that_time() -> None:
    ratio = {"numerator": quantity(4, "g"), "denominator": quantity(20, "min")}
    (found,) = injection({"doseAndRate": [{"doseQuantity": quantity(4, "g"), "rateRatio": ratio}]}).doses
    assert (found.amount, found.minutes, found.rate) == (Quantity(Decimal(4), "g"), Decimal(20), None)


def test_a_rate_may_stand_for_another_time_than_an_hour() -> None:
    ratio = {"numerator": quantity(6, "g"), "denominator": quantity(30, "min")}
    (found,) = injection({"doseAndRate": [{"rateRatio": ratio}]}).doses
    assert found.rate == Quantity(Decimal(12), "g")


def test_a_rate_per_kilogram() -> None:
    (found,) = injection({"doseAndRate": [{"rateQuantity": quantity(25, "mg/kg/h")}]}).doses
    assert (found.rate, found.per_kg) == (Quantity(Decimal(25), "mg"), True)


def test_the_highest_dose_and_rate_of_a_range_count() -> None:
    dose = {"doseRange": {"low": quantity(2, "g"), "high": quantity(4, "g")}}
    rate = {"rateRange": {"low": quantity(1, "g/h"), "high": quantity(2, "g/h")}}
    (found,) = injection({"doseAndRate": [dose | rate]}).doses
    assert (found.amount, found.rate) == (Quantity(Decimal(4), "g"), Quantity(Decimal(2), "g"))


def test_the_duration_of_a_timing_is_the_time_of_a_dose_and_the_length_of_a_rate() -> None:
    lasting = {"timing": {"repeat": {"duration": 2, "durationUnit": "h"}}}
    (dose,) = injection({"doseAndRate": [{"doseQuantity": quantity(32, "meq")}]} | lasting).doses
    (rate,) = injection({"doseAndRate": [{"rateQuantity": quantity(1, "g/h")}]} | lasting).doses
    assert (dose.minutes, dose.hours) == (Decimal(120), None)
    assert (rate.minutes, rate.hours) == (None, Decimal(2))


def test_bounds_say_how_long_a_rate_goes_on() -> None:
    bounded = {"timing": {"repeat": {"boundsDuration": quantity(24, "h")}}}
    (found,) = injection({"doseAndRate": [{"rateQuantity": quantity(1, "g/h")}]} | bounded).doses
    assert found.hours == Decimal(24)


def test_words_fill_what_the_elements_leave_open() -> None:
    dose = {"doseAndRate": [{"doseQuantity": quantity(4, "g")}]}
    (found,) = injection(dose, "Magnesium sulfate 4 g IV loading dose over 20 min").doses
    assert found.minutes == Decimal(20)


def test_words_that_say_another_dose_stand_beside_it() -> None:
    dose = {"doseAndRate": [{"doseQuantity": quantity(4, "g")}], "text": "40 g IV over 20 minutes"}
    first, second = injection(dose).doses
    assert (first.amount, first.alternative) == (Quantity(Decimal(4), "g"), False)
    assert (second.amount, second.alternative) == (Quantity(Decimal(40), "g"), True)


@pytest.mark.parametrize("many", [False, True])
def test_the_most_in_a_day_is_a_ratio_in_r4_and_a_list_of_them_in_r5(many: bool) -> None:
    ratio = {"numerator": quantity(4, "g"), "denominator": quantity(12, "h")}
    assert injection({"maxDosePerPeriod": [ratio] if many else ratio}).most_a_day == Quantity(Decimal(8), "g")


@pytest.mark.parametrize("broken", ["x", 4, {"numerator": 3}, [[]], {"numerator": quantity(4, "g")}])
def test_a_most_that_cannot_be_read_is_none(broken: Any) -> None:
    assert injection({"maxDosePerPeriod": broken, "text": "4 g once"}).most_a_day is None


@pytest.mark.parametrize("unit", ["g/furlong", "g/h/h/x", "/", "", "mg/m2"])
def test_a_rate_in_a_unit_that_nobody_knows_is_none(unit: str) -> None:
    found = injection({"doseAndRate": [{"rateQuantity": {"value": 5, "unit": unit}}]})
    assert [each for each in found.doses if each.rate] == []


def test_an_order_without_a_route_that_is_given_over_minutes_goes_into_a_vein() -> None:
    item = ordered("Magnesium sulfate", None, dosageInstruction=[{"text": "4 g over 20 min"}])
    assert item.route == "intravenous"
    assert ordered("Magnesium oxide", None, dosageInstruction=[{"text": "400 mg over 20 min"}]).route == "unknown"


def test_what_is_swallowed_has_no_injection() -> None:
    item = ordered("Magnesium oxide 400 MG Oral Tablet", None, dosageInstruction=[{"text": "1 tablet twice daily"}])
    assert item.injections == ()


def test_a_weight_in_the_text() -> None:
    assert injection({"text": "25 mg/kg once (weight 18 kg)"}).weight == Decimal(18)
    assert injection({"text": "25 mg/kg once, 18 kg or 20 kg"}).weight is None


def test_once_is_said_by_a_count_by_words_or_by_a_text_that_says_no_more_than_the_dose() -> None:
    assert injection({"text": "2 g IV over 20 minutes"}).once
    assert injection({"text": "2 g stat, call the ward"}).once
    assert injection({"timing": {"repeat": {"count": 1}}, "doseAndRate": [{"doseQuantity": quantity(2, "g")}]}).once
    assert not injection({"text": "2 g IV over 20 minutes every 6 hours"}).once
    assert not injection({"text": "2 g over 20 minutes whenever the ward asks"}).once


@given(st.text(alphabet="0123456789.,-/() gmhrEq%kLlinovertht\n", max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    reader = shipped().vocabulary.injections
    for each in reader.read(text):
        for amount in (each.amount, each.rate, each.per_ml):
            assert amount is None or amount.value >= 0
        assert each.minutes is None or each.minutes > 0
    assert reader.weight(text) is None or reader.weight(text) >= 0
