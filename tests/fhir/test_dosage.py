"""FHIR Timing, and the few written instructions that can mean only one thing."""

from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.patient import Dosage, Quantity
from tests.conftest import shipped
from tests.fhir.charts import UCUM, bundle, order, read

DAILY = {"frequency": 1, "period": 1, "periodUnit": "d"}


def dosage(instruction: dict[str, Any], authored: str = "2026-11-20") -> Dosage:
    given_order = order(dosageInstruction=[instruction], authoredOn=authored)
    return read(drafts=bundle(given_order)).facts.medications[0].dosages[0]


def repeat(**more: Any) -> Dosage:
    return dosage({"timing": {"repeat": more}})


def test_once_a_day() -> None:
    read_back = repeat(**DAILY)
    assert (read_back.frequency, read_back.period, read_back.period_unit) == (1, Decimal(1), "d")
    assert (read_back.times, read_back.when, read_back.problem) == ((), (), "")


def test_two_to_three_times_in_one_to_two_days() -> None:
    read_back = repeat(frequency=2, frequencyMax=3, period=1, periodMax=2, periodUnit="d")
    assert (read_back.frequency_max, read_back.period_max) == (3, Decimal(2))


def test_a_period_without_a_frequency_means_once() -> None:
    assert repeat(period=8, periodUnit="h").frequency == 1


def test_times_of_day_in_their_order() -> None:
    assert repeat(timeOfDay=["20:00:00", "08:30:00", None]).times == (time(8, 30), time(20, 0))


def test_half_an_hour_before_breakfast_and_at_bedtime() -> None:
    assert repeat(when=["ACM", "HS"], offset=30).when == (("ACM", 30), ("HS", 30))


def test_days_of_the_week() -> None:
    assert repeat(dayOfWeek=["mon", "thu"], **DAILY).days == ("mon", "thu")


@pytest.mark.parametrize(
    ("code", "frequency", "period", "unit", "when"),
    [
        ("BID", 2, 1, "d", ()),
        ("TID", 3, 1, "d", ()),
        ("QOD", 1, 2, "d", ()),
        ("Q6H", 1, 6, "h", ()),
        ("AM", 1, 1, "d", (("MORN", 0),)),
        ("BED", 1, 1, "d", (("HS", 0),)),
    ],
)
def test_a_timing_code(code: str, frequency: int, period: int, unit: str, when: object) -> None:
    system = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"
    read_back = dosage({"timing": {"code": {"coding": [{"system": system, "code": code}]}}})
    assert read_back.code == code
    assert (read_back.frequency, read_back.period, read_back.period_unit) == (frequency, Decimal(period), unit)
    assert read_back.when == when


def test_a_timing_code_written_as_text() -> None:
    assert dosage({"timing": {"code": {"text": "BID"}}}).frequency == 2


def test_the_structured_timing_stands_beside_its_code() -> None:
    read_back = dosage({"timing": {"code": {"coding": [{"code": "BID"}]}, "repeat": {"timeOfDay": ["07:00:00"]}}})
    assert (read_back.code, read_back.times, read_back.frequency) == ("BID", (time(7),), None)


@pytest.mark.parametrize(
    "timing",
    [
        {"code": {"coding": [{"system": "http://ehr.example", "code": "BID"}]}},
        {"code": {"text": "as the nurse says"}},
        {"repeat": {"period": 1}},
        {"repeat": {"frequency": 1, "period": 1, "periodUnit": "moon"}},
        {"repeat": {"frequency": 0, "period": 1, "periodUnit": "d"}},
        {"repeat": {"frequency": 1.5, "period": 1, "periodUnit": "d"}},
        {"repeat": {"frequency": 1, "period": -1, "periodUnit": "d"}},
        {"repeat": {"frequency": 1, "period": "1", "periodUnit": "d"}},
        {"repeat": {"timeOfDay": ["25:00:00"]}},
        {"repeat": {"when": ["TEATIME"]}},
        {"repeat": {"dayOfWeek": ["monday"]}},
        {"repeat": {"when": ["ACM"], "offset": -5}},
        {"repeat": DAILY | {"boundsDuration": {"value": 3, "code": "moons"}}},
        {"event": ["someday"]},
    ],
)
def test_a_timing_that_cannot_be_read_says_so(timing: dict[str, Any]) -> None:
    read_back = dosage({"timing": timing})
    assert read_back.problem
    assert (read_back.frequency, read_back.times, read_back.when) == (None, (), ())


# Bounds


def test_bounds_are_days() -> None:
    read_back = repeat(boundsPeriod={"start": "2026-11-21T10:00:00Z", "end": "2026-12-01"}, **DAILY)
    assert (read_back.start, read_back.end) == (date(2026, 11, 21), date(2026, 12, 1))


@pytest.mark.parametrize(("value", "unit", "end"), [(7, "d", 26), (36, "h", 21), (1, "wk", 26)])
def test_a_duration_counts_from_the_day_of_the_order(value: int, unit: str, end: int) -> None:
    read_back = repeat(boundsDuration={"value": value, "code": unit}, **DAILY)
    assert (read_back.start, read_back.end) == (date(2026, 11, 20), date(2026, 11, end))


def test_of_a_range_of_durations_the_longer_holds() -> None:
    read_back = repeat(boundsRange={"low": {"value": 5, "code": "d"}, "high": {"value": 7, "code": "d"}}, **DAILY)
    assert read_back.end == date(2026, 11, 26)


def test_six_doses_twice_a_day_last_three_days() -> None:
    assert repeat(frequency=2, period=1, periodUnit="d", count=6).end == date(2026, 11, 22)


def test_a_single_dose_is_over_on_its_day() -> None:
    assert repeat(count=1).end == date(2026, 11, 20)


def test_stated_dates_bound_the_doses() -> None:
    read_back = dosage({"timing": {"event": ["2026-11-21T08:00:00Z", "2026-11-23T20:00:00Z"]}})
    assert (read_back.times, read_back.start, read_back.end) == (
        (time(8), time(20)),
        date(2026, 11, 21),
        date(2026, 11, 23),
    )


# Amount, need, order


def test_a_dose_with_its_unit() -> None:
    dose = {"doseQuantity": {"value": 2, "system": UCUM, "code": "{tbl}"}}
    assert dosage({"doseAndRate": [dose]}).amount == Quantity(Decimal(2), "{tbl}")


def test_a_dose_range() -> None:
    low, high = {"value": 1, "unit": "mg"}, {"value": 2, "unit": "mg"}
    read_back = dosage({"doseAndRate": [{"doseRange": {"low": low, "high": high}}]})
    assert (read_back.amount, read_back.amount_high) == (Quantity(Decimal(1), "mg"), Quantity(Decimal(2), "mg"))


def test_a_dose_without_a_unit_has_none_and_one_with_an_unknown_unit_is_unusable() -> None:
    assert dosage({"doseAndRate": [{"doseQuantity": {"value": 1}}]}).amount == Quantity(Decimal(1), "")
    assert dosage({"doseAndRate": [{"doseQuantity": {"value": 1, "unit": "<b>dollop</b>"}}]}).amount is None


@pytest.mark.parametrize(
    "need", [{"asNeededBoolean": True}, {"asNeededCodeableConcept": {"text": "pain"}}, {"asNeeded": True}]
)
def test_as_needed_needs_no_timing(need: dict[str, Any]) -> None:
    read_back = dosage(need)
    assert (read_back.as_needed, read_back.problem) == (True, "")


def test_not_as_needed_and_no_timing_is_a_problem() -> None:
    assert dosage({"asNeededBoolean": False}).problem == "no timing given"


def test_the_sequence_is_kept() -> None:
    assert dosage({"sequence": 2, "timing": {"repeat": DAILY}}).sequence == 2


def test_our_own_instruction_is_recognised_when_it_comes_back() -> None:
    coding = {"system": "urn:magnesium-cds:keep-apart", "code": "levothyroxine"}
    other = {"system": "http://ehr.example", "code": "magnesium"}
    injected = {"system": "urn:magnesium-cds:keep-apart", "code": "<img src=x>"}
    read_back = dosage({"additionalInstruction": [{"coding": [coding, other, injected]}], "timing": {"repeat": DAILY}})
    assert read_back.kept_apart_from == {"levothyroxine"}


# Written instructions


@pytest.mark.parametrize(
    ("text", "frequency", "when"),
    [
        ("once daily", 1, ()),
        ("Twice a day", 2, ()),
        ("1 tablet twice daily", 2, ()),
        ("Take one tablet by mouth twice daily.", 2, ()),
        ("Take 1 tablet by mouth once daily at bedtime", 1, (("HS", 0),)),
        ("In the morning", 1, (("MORN", 0),)),
        ("1 capsule in the morning and at bedtime", 2, (("MORN", 0), ("HS", 0))),
        ("2 tablets before breakfast", 1, (("ACM", 0),)),
        ("10 mL three times a day", 3, ()),
    ],
)
def test_a_written_instruction_with_one_meaning_is_read(text: str, frequency: int, when: object) -> None:
    read_back = dosage({"text": text})
    assert (read_back.problem, read_back.frequency, read_back.period, read_back.when) == (
        "",
        frequency,
        Decimal(1),
        when,
    )
    assert read_back.text == text


def test_the_amount_in_a_written_instruction_is_read() -> None:
    assert dosage({"text": "take 1.5 tablets daily"}).amount == Quantity(Decimal("1.5"), "{tbl}")
    assert dosage({"text": "take half tablet daily"}).amount == Quantity(Decimal("0.5"), "{tbl}")


@pytest.mark.parametrize(
    "text",
    [
        "as directed",
        "twice daily at bedtime",
        "once daily twice daily",
        "1 tablet",
        "daily except Sundays",
        "not daily",
        "1 tablet 2 tablets daily",
        "daily " * 60,
        "¿?",
        "stop taking once daily",
        "1 tablet daily, magnesium at bedtime",
        "200 mg of elemental iron daily",
    ],
)
def test_every_other_written_instruction_is_left_unread(text: str) -> None:
    read_back = dosage({"text": text})
    assert read_back.problem == "not readable"
    assert (read_back.frequency, read_back.when) == (None, ())


@pytest.mark.parametrize(
    "text",
    [
        "Take 200 mg of elemental magnesium twice daily",
        "200 mg elemental twice daily",
        "Take 200 mg elemental magnesium by mouth twice a day.",
    ],
)
def test_an_amount_may_be_called_elemental(text: str) -> None:
    read_back = dosage({"text": text})
    amount = Quantity(Decimal(200), "mg")
    assert (read_back.problem, read_back.frequency) == ("", 2)
    assert read_back.amount == read_back.elemental == amount


def test_an_amount_is_called_elemental_beside_a_structured_timing() -> None:
    read_back = dosage({"text": "one tablet (400 mg elemental) each morning", "timing": {"repeat": DAILY}})
    assert read_back.elemental == Quantity(Decimal(400), "mg")
    assert dosage({"text": "one tablet of 400 mg", "timing": {"repeat": DAILY}}).elemental is None


def test_a_written_instruction_as_needed() -> None:
    read_back = dosage({"text": "1 tablet every 6 hours as needed"})
    assert (read_back.as_needed, read_back.frequency, read_back.period, read_back.period_unit) == (True, 1, 6, "h")


def test_a_text_that_contradicts_the_structured_timing_leaves_it_unread() -> None:
    assert dosage({"text": "twice daily", "timing": {"repeat": DAILY}}).problem == "the timing and the text disagree"
    assert dosage({"text": "as the doctor says", "timing": {"repeat": DAILY}}).frequency == 1


def test_a_text_that_contradicts_the_structured_dose_leaves_it_unread() -> None:
    one = {"doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}]}
    assert dosage(one | {"text": "2 tablets daily"}).problem == "the amount and the text disagree"
    assert dosage(one | {"text": "2 tablets daily", "timing": {"repeat": DAILY}}).problem
    assert dosage(one | {"text": "400 mg daily"}).problem == ""


def test_an_order_without_instructions_has_no_dosage() -> None:
    assert read(drafts=bundle(order())).facts.medications[0].dosages == ()


@given(st.text(max_size=250))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = shipped().vocabulary.sigs.read(text)
    assert found is None or found.get("period")
