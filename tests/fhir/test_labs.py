"""F11, F12, S6-S10: which magnesium result is the latest, and whether it can be used."""

from decimal import Decimal

import pytest

from cds_service.patient import Lab
from tests.fhir.charts import (
    LOINC,
    MG_SUBSTANCE,
    UCUM,
    bundle,
    coded,
    magnesium,
    mg,
    observation,
    order,
    quantity,
    read,
    without,
)

INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
MEANING = "http://terminology.hl7.org/CodeSystem/referencerange-meaning"


def range_of(low: object = 1.7, high: object = 2.3, unit: str | None = "mg/dL", **more: object) -> dict[str, object]:
    return {"low": quantity(low, unit), "high": quantity(high, unit)} | more


def test_a_result_in_mg_per_dl_is_converted_exactly_and_kept_as_reported() -> None:
    lab = mg(magnesium(1.8))
    assert lab.value is not None
    assert abs(lab.value - Decimal("18") / Decimal("24.305")) < Decimal("1e-9")
    assert (lab.unit, str(lab.reported.value), lab.reported.unit) == ("mmol/L", "1.8", "mg/dL")
    assert (lab.code, lab.status, lab.problem) == ("19123-9", "final", "")


def test_a_trailing_zero_is_kept_because_it_is_shown() -> None:
    raw = b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","id":"mg","status":"final",'
    raw += b'"subject":{"reference":"Patient/mona"},"effectiveDateTime":"2026-11-10T08:00:00Z",'
    raw += b'"code":{"coding":[{"system":"http://loinc.org","code":"2601-3"}]},'
    raw += b'"valueQuantity":{"value":0.70,"unit":"mmol/L"}}}]}'
    lab = read(serum_magnesium=raw).facts.labs["serum_magnesium"][0]
    assert (str(lab.value), str(lab.reported.value if lab.reported else "")) == ("0.70", "0.70")


@pytest.mark.parametrize("status", ["final", "corrected", "amended", "preliminary"])
def test_a_result_with_a_usable_status_is_used(status: str) -> None:
    assert (mg(magnesium(status=status)).status, mg(magnesium(status=status)).problem) == (status, "")


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "registered"])
def test_a_result_that_never_was_one_is_not_used_and_hides_no_other(status: str) -> None:
    facts = read(serum_magnesium=bundle(magnesium(0.4, status=status, id="x"), magnesium())).facts
    assert [lab.source.id for lab in facts.labs["serum_magnesium"]] == ["mg"]
    assert facts.inputs["serum_magnesium"].complete


@pytest.mark.parametrize("status", [None, "finished", "", "unknown", "FINAL", "registered?"])
def test_a_newest_result_whose_status_is_not_known_is_not_used_and_no_older_one_passes_for_it(status: object) -> None:
    older = magnesium(id="older", effectiveDateTime="2026-11-01T08:00:00Z")
    facts = read(serum_magnesium=bundle(older, magnesium(status=status))).facts
    newest = facts.labs["serum_magnesium"][0]
    assert (newest.source.id, newest.value, newest.problem) == ("mg", None, "its status is not known")


# Latest wins (S10)


def test_the_latest_by_clinical_time_comes_first() -> None:
    old = magnesium(2.4, id="old", effectiveDateTime="2026-11-01T08:00:00+01:00", issued="2026-11-20T08:00:00Z")
    new = magnesium(1.4, id="new", effectiveDateTime="2026-11-09T23:00:00-05:00")
    labs = read(serum_magnesium=bundle(old, new)).facts.labs["serum_magnesium"]
    assert [lab.source.id for lab in labs] == ["new", "old"]


def test_of_two_at_the_same_time_the_later_issued_one_wins() -> None:
    first = magnesium(1.4, id="first", issued="2026-11-10T09:00:00Z")
    second = magnesium(1.9, id="second", issued="2026-11-10T10:00:00Z", status="corrected")
    lab = mg(second, first)
    assert (lab.source.id, lab.problem) == ("second", "")


def test_a_final_result_wins_over_a_preliminary_one_of_the_same_time() -> None:
    lab = mg(magnesium(1.4, id="early", status="preliminary"), magnesium(1.9, id="final"))
    assert (lab.source.id, lab.problem) == ("final", "")


def test_two_different_results_at_the_same_time_are_not_used() -> None:
    labs = read(serum_magnesium=bundle(magnesium(1.4, id="a"), magnesium(2.9, id="b"))).facts.labs["serum_magnesium"]
    assert labs[0].value is None
    assert labs[0].problem == "two different results at the same time"
    assert labs[0].reported is not None
    assert len(labs) == 2


def test_one_specimen_reported_in_two_units_is_one_result() -> None:
    lab = mg(magnesium(1.8, id="a"), magnesium(0.74, "mmol/L", code=MG_SUBSTANCE, id="b"))
    assert lab.problem == ""


def test_a_result_with_only_a_day_and_one_with_a_time_on_that_day_cannot_be_ordered() -> None:
    lab = mg(magnesium(1.4, id="a", effectiveDateTime="2026-11-10"), magnesium(2.9, id="b"))
    assert lab.problem == "two different results at the same time"


def test_a_comparator_makes_two_equal_numbers_different() -> None:
    below = magnesium(id="b", valueQuantity=quantity(1.8, comparator="<"))
    assert mg(magnesium(1.8, id="a"), below).problem == "two different results at the same time"


# Time (F12)


def test_a_date_without_time_counts_from_the_start_of_the_day_and_says_so() -> None:
    lab = mg(magnesium(effectiveDateTime="2026-11-10"))
    assert (lab.time.isoformat(), lab.time_is_date_only) == ("2026-11-10T00:00:00+00:00", True)


def test_a_time_without_a_zone_is_taken_as_its_day() -> None:
    lab = mg(magnesium(effectiveDateTime="2026-11-10T08:00:00"))
    assert (lab.time.isoformat(), lab.time_is_date_only) == ("2026-11-10T00:00:00+00:00", True)


def test_a_period_counts_by_its_end() -> None:
    period = {"start": "2026-11-01T08:00:00Z", "end": "2026-11-02T08:00:00Z"}
    lab = mg(without(magnesium(effectivePeriod=period), "effectiveDateTime"))
    assert lab.time.day == 2


def test_an_instant_and_the_time_of_issue_are_read_where_there_is_nothing_better() -> None:
    instant = without(magnesium(effectiveInstant="2026-11-03T08:00:00Z"), "effectiveDateTime")
    issued = without(magnesium(issued="2026-11-04T08:00:00Z"), "effectiveDateTime")
    assert (mg(instant).time.day, mg(issued).time.day) == (3, 4)


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("2026-11-21T12:14:00Z", ""),
        ("2026-11-21T12:16:00Z", "time lies in the future"),
        ("2026-11-21T14:00:00Z", "time lies in the future"),
        ("2026-11-21", ""),
        ("2026-11-22", ""),  # may have begun east of us
        ("2026-11-23", "time lies in the future"),
        ("2026-11", "time is only a month or a year"),
        ("2026", "time is only a month or a year"),
        ("yesterday", "time missing or not readable"),
        ("2026-13-40", "time missing or not readable"),
        ("0001-01-01T00:00:00+14:00", "time missing or not readable"),
        (None, "time missing or not readable"),
    ],
)
def test_a_time_that_cannot_be_right_makes_the_result_unusable(when: str | None, problem: str) -> None:
    lab = mg(magnesium(effectiveDateTime=when))
    assert lab.problem == problem
    assert (lab.value is None) == bool(problem)


def test_a_result_without_a_time_may_be_the_latest_and_stands_first() -> None:
    undated = magnesium(0.9, id="undated", effectiveDateTime=None)
    labs = read(serum_magnesium=bundle(magnesium(), undated)).facts.labs["serum_magnesium"]
    assert [lab.source.id for lab in labs] == ["undated", "mg"]


# Value (F11, S7, S8)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"valueQuantity": None}, "no value"),
        ({"valueQuantity": {}}, "no value"),
        ({"valueQuantity": None, "valueString": "<0.5"}, "value is not a quantity"),
        ({"valueQuantity": None, "valueRange": {"low": quantity(1)}}, "value is not a quantity"),
        ({"valueQuantity": None, "valueCodeableConcept": {"text": "normal"}}, "value is not a quantity"),
        ({"valueQuantity": None, "valueInteger": 2}, "value is not a quantity"),
        ({"valueQuantity": quantity("1.8")}, "value not readable"),
        ({"valueQuantity": quantity(True)}, "value not readable"),
        ({"valueQuantity": quantity(10**25)}, "value not readable"),
        ({"valueQuantity": quantity(1.8, comparator="~")}, "comparator not known"),
        ({"valueQuantity": quantity(1.8, None)}, "unit missing"),
        ({"valueQuantity": quantity(1.8, None, unit="")}, "unit missing"),
        ({"valueQuantity": quantity(1.8, None, unit="mg per decilitre")}, "unit not known"),
        ({"valueQuantity": quantity(1.8, "Mg/dL")}, "unit not known"),
        ({"valueQuantity": quantity(1.8, "mg/dL", unit="mmol/L")}, "unit code and unit text disagree"),
        ({"valueQuantity": quantity(1.8, "mmol/L")}, "unit does not fit the code of the test"),
        ({"valueQuantity": quantity(1.8, "mL/min")}, "unit does not fit the code of the test"),
        ({"valueQuantity": quantity(37)}, "not plausible"),
        ({"valueQuantity": quantity(0.1)}, "not plausible"),
        ({"valueQuantity": quantity(-1.8)}, "not plausible"),
        ({"dataAbsentReason": coded("error")}, "no value: the laboratory says that it is absent"),
    ],
)
def test_a_value_that_cannot_be_used_says_why_and_is_not_dropped(change: dict[str, object], problem: str) -> None:
    lab = mg(magnesium(**change))
    assert (lab.value, lab.problem) == (None, problem)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"unit": "mg/dl"}, "0.7405883563052869779880682987"),
        ({"code": "mg/dL"}, "0.7405883563052869779880682987"),
        ({"unit": "milligram per decilitre", "system": UCUM, "code": "mg/dL"}, "0.7405883563052869779880682987"),
    ],
)
def test_a_unit_may_be_written_as_text_or_as_code(given: dict[str, str], value: str) -> None:
    lab = mg(magnesium(valueQuantity={"value": 1.8} | given))
    assert lab.value is not None
    assert round(lab.value, 20) == round(Decimal(value), 20)


@pytest.mark.parametrize(("unit", "value"), [("mmol/L", "1.5"), ("meq/L", "0.75"), ("mEq/L", "0.75")])
def test_the_substance_code_may_carry_mmol_or_milliequivalents(unit: str, value: str) -> None:
    assert mg(magnesium(1.5, unit, code=MG_SUBSTANCE)).value == Decimal(value)


def test_the_substance_code_with_a_mass_unit_is_not_used() -> None:
    assert mg(magnesium(1.8, "mg/dL", code=MG_SUBSTANCE)).problem == "unit does not fit the code of the test"


def test_a_comparator_is_kept() -> None:
    assert mg(magnesium(valueQuantity=quantity(0.6, comparator="<"))).comparator == "<"


def test_a_unit_code_of_another_system_says_nothing() -> None:
    other = {"value": 1.8, "system": "http://lab.example/units", "code": "mg/dL"}
    assert mg(magnesium(valueQuantity=other)).problem == "unit not known"


# Reference range and interpretation


def test_the_laboratorys_own_range_is_converted_with_the_value() -> None:
    lab = mg(magnesium(referenceRange=[range_of()]))
    assert (round(lab.low, 4), round(lab.high, 4)) == (Decimal("0.6994"), Decimal("0.9463"))


def test_a_range_without_a_unit_is_in_the_unit_of_the_result() -> None:
    lab = mg(magnesium(1.8, referenceRange=[range_of(unit=None)]))
    assert round(lab.low, 4) == Decimal("0.6994")


@pytest.mark.parametrize(
    "ranges",
    [
        [range_of(appliesTo=[{"text": "pregnant"}])],
        [range_of(age={"low": quantity(0, "a")})],
        [range_of(type=coded("therapeutic", MEANING))],
        [range_of(unit="furlong")],
        [range_of(unit="mmol/L"), range_of()],
        [range_of(2.3, 1.7)],
        [{"text": "1.7-2.3"}],
        [],
    ],
)
def test_a_range_that_may_not_be_this_patients_normal_is_not_used(ranges: list[object]) -> None:
    lab = mg(magnesium(referenceRange=ranges))
    assert (lab.low, lab.high, lab.problem) == (None, None, "")


def test_the_normal_range_is_found_among_others() -> None:
    ranges = [range_of(type=coded("normal", MEANING)), range_of(4, 6, type=coded("therapeutic", MEANING))]
    assert mg(magnesium(referenceRange=ranges)).low is not None


@pytest.mark.parametrize("flag", ["LL", "L", "N", "H", "HH"])
def test_the_laboratorys_flag_is_read(flag: str) -> None:
    assert mg(magnesium(interpretation=[coded(flag, INTERPRETATION)])).interpretation == flag


@pytest.mark.parametrize(
    "flags",
    [
        [coded("A", INTERPRETATION)],
        [coded("<", INTERPRETATION)],
        [coded("L", "http://lab.example/flags")],
        [coded("L", INTERPRETATION), coded("H", INTERPRETATION)],
        [{"text": "low"}],
    ],
)
def test_a_flag_that_says_nothing_clear_is_none(flags: list[object]) -> None:
    assert mg(magnesium(interpretation=flags)).interpretation is None


# Code, component


@pytest.mark.parametrize("code", ["19124-7", "26746-8", "2597-3", "35677-9"])
def test_urine_and_red_cell_magnesium_are_never_taken_for_serum(code: str) -> None:
    assert read(serum_magnesium=bundle(magnesium(code=code))).facts.labs == {}


@pytest.mark.parametrize(
    "code", [{"text": "Magnesium"}, coded("19123-9", "http://lab.example"), coded("MG", LOINC), {"coding": [{}]}]
)
def test_a_name_or_a_code_of_another_system_is_never_matched(code: dict[str, object]) -> None:
    assert read(serum_magnesium=bundle(magnesium() | {"code": code})).facts.labs == {}


def test_codes_of_two_tests_on_one_result_are_trusted_for_neither() -> None:
    torn = magnesium() | {"code": {"coding": [{"system": LOINC, "code": c} for c in ("19123-9", "2823-3")]}}
    assert mg(torn).problem == "codes of two different tests"


def test_both_magnesium_codes_on_one_result_leave_the_unit_to_decide() -> None:
    both = magnesium(1.8) | {"code": {"coding": [{"system": LOINC, "code": c} for c in ("19123-9", "2601-3")]}}
    assert mg(both).problem == ""


def test_a_panel_gives_the_results_of_its_components() -> None:
    part = {"code": coded("19123-9", LOINC), "valueQuantity": quantity(1.8), "referenceRange": [range_of()]}
    panel = observation(
        "24323-8", component=[part, {"code": coded("2823-3", LOINC), "valueQuantity": quantity(4.1, "mmol/L")}]
    )
    labs = read(serum_magnesium=bundle(panel)).facts.labs
    assert labs["serum_magnesium"][0].low is not None
    assert labs["potassium"][0].value == Decimal("4.1")
    assert labs["potassium"][0].source == labs["serum_magnesium"][0].source


def test_a_drafted_observation_is_no_result() -> None:
    assert read(drafts=bundle(magnesium(), order())).facts.labs == {}


def test_labs_are_immutable_plain_facts() -> None:
    assert isinstance(mg(magnesium()), Lab)
