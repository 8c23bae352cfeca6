"""What an order says, and the dose times that are read from it. Clock times are those of
cards/tables/schedule.yaml."""

from datetime import date, time
from decimal import Decimal

import pytest

from cds_service.patient import Dosage
from cds_service.planner.model import DAYS, clock
from cds_service.planner.times import drug_times
from tests.planner.regimens import TODAY, interval, usual_day


def read(*dosages: Dosage, label_moment: str = "", schedule=None):
    distance = interval("ciprofloxacin", label_moment=label_moment)
    reading = drug_times("x", "x", dosages, distance, schedule or usual_day(), TODAY)
    assert reading is not None
    return reading


def every_day(reading) -> list[str]:
    """The clock times, where all days have the same."""
    assert reading.unreadable == ""
    assert len(set(reading.week)) == 1
    return [clock(dose.minute) for dose in reading.week[0]]


def rate(frequency: int | None, period: str, unit: str, **given) -> Dosage:
    return Dosage(frequency=frequency, period=Decimal(period), period_unit=unit, **given)


@pytest.mark.parametrize(
    ("dosage", "times"),
    [
        (Dosage(times=(time(7), time(19, 30))), ["07:00", "19:30"]),
        (Dosage(code="QD"), ["08:00"]),
        (Dosage(code="BID"), ["08:00", "20:00"]),
        (Dosage(code="TID"), ["08:00", "14:00", "20:00"]),
        (Dosage(code="QID"), ["08:00", "12:00", "16:00", "20:00"]),
        (Dosage(code="AM"), ["08:00"]),
        (Dosage(code="PM"), ["15:00"]),
        (Dosage(code="BED"), ["22:00"]),
        (Dosage(code="QHS"), ["22:00"]),
        (Dosage(code="Q6H"), ["00:00", "06:00", "12:00", "18:00"]),
        (Dosage(code="Q4H"), ["02:00", "06:00", "10:00", "14:00", "18:00", "22:00"]),
        (Dosage(code="Q8H"), ["06:00", "14:00", "22:00"]),
        (rate(1, "1", "d"), ["08:00"]),
        (rate(2, "1", "d"), ["08:00", "20:00"]),
        (rate(2, "24", "h"), ["08:00", "20:00"]),
        (rate(1, "12", "h"), ["08:00", "20:00"]),
        (rate(1, "0.5", "d"), ["08:00", "20:00"]),
        (rate(1, "8", "h"), ["06:00", "14:00", "22:00"]),
        (rate(None, "6", "h"), ["00:00", "06:00", "12:00", "18:00"]),
        (rate(1, "24", "h"), ["08:00"]),
        (rate(7, "1", "wk"), ["08:00"]),
        (rate(14, "1", "wk"), ["08:00", "20:00"]),
        (rate(1, "1", "d", frequency_max=2), ["08:00", "20:00"]),
        (rate(5, "1", "d"), ["07:00", "10:30", "14:00", "17:30", "21:00"]),
        (Dosage(code="BID", frequency=2, period=Decimal(1), period_unit="d"), ["08:00", "20:00"]),
        (Dosage(when=(("WAKE", 0),)), ["06:30"]),
        (Dosage(when=(("HS", 0),)), ["22:00"]),
        (Dosage(when=(("HS", 60),)), ["21:00"]),
        (Dosage(when=(("ACM", 0),)), ["07:30"]),
        (Dosage(when=(("ACM", 60),)), ["07:00"]),
        (Dosage(when=(("PCV", 90),)), ["20:00"]),
        (Dosage(when=(("CM", 0), ("CV", 0))), ["08:00", "18:30"]),
        (Dosage(when=(("C", 0),)), ["08:00", "12:30", "18:30"]),
        (Dosage(when=(("AC", 0),)), ["07:30", "12:00", "18:00"]),
        (Dosage(when=(("PC", 0),)), ["08:30", "13:00", "19:00"]),
        (rate(2, "1", "d", when=(("C", 0),)), ["08:00", "18:30"]),
        (rate(1, "1", "d", when=(("CD", 0),)), ["12:30"]),
        (
            Dosage(when=(("MORN", 0), ("NOON", 0), ("EVE", 0), ("NIGHT", 0))),
            ["08:00", "12:00", "20:00", "22:00"],
        ),
        (Dosage(when=(("MORN.early", 0), ("AFT.late", 0))), ["06:30", "16:30"]),
        (Dosage(when=(("PHS", 30),)), ["07:00"]),
    ],
)
def test_an_oral_dosage_has_the_clock_times_of_the_schedule(dosage, times) -> None:
    assert every_day(read(dosage)) == times


def test_a_clock_time_of_the_order_is_neither_assumed_nor_movable() -> None:
    (dose,) = read(Dosage(times=(time(7),), frequency=1, period=Decimal(1), period_unit="d")).week[0]
    assert (dose.assumed, dose.movable) == (False, False)


def test_twice_a_day_is_assumed_and_movable_and_says_so() -> None:
    first, second = read(Dosage(code="BID")).week[3]
    assert (first.assumed, first.movable, first.words) == (True, True, "twice a day")
    assert second.assumed and second.movable


def test_a_moment_that_the_prescriber_chose_is_assumed_by_the_clock_but_not_movable() -> None:
    (dose,) = read(Dosage(when=(("HS", 0),))).week[0]
    assert (dose.assumed, dose.movable, dose.words) == (True, False, "at bedtime")


def test_a_bisphosphonate_once_a_day_is_taken_on_waking_because_its_label_says_so() -> None:
    (dose,) = read(Dosage(code="QD"), label_moment="WAKE").week[0]
    assert (clock(dose.minute), dose.assumed, dose.movable) == ("06:30", True, False)


@pytest.mark.parametrize(
    ("dosage", "days", "any_day"),
    [
        (Dosage(days=("sun",)), ("sun",), False),
        (rate(1, "1", "wk", days=("sun",)), ("sun",), False),
        (rate(2, "1", "wk", days=("mon", "thu")), ("mon", "thu"), False),
        (Dosage(times=(time(7),), days=("sat", "sun")), ("sat", "sun"), False),
        (rate(1, "1", "wk"), DAYS, True),
        (Dosage(code="WK"), DAYS, True),
        (Dosage(code="QOD"), DAYS, True),
        (Dosage(code="MO"), DAYS, True),
        (rate(1, "48", "h"), DAYS, True),
        (rate(3, "1", "wk"), DAYS, True),
        (rate(1, "1", "mo"), DAYS, True),
        (rate(1, "2", "wk", days=("tue",)), ("tue",), False),
    ],
)
def test_a_dose_stands_on_its_days_and_on_every_day_where_its_day_is_not_known(dosage, days, any_day) -> None:
    reading = read(dosage)
    assert reading.unreadable == ""
    assert tuple(day for day, doses in zip(DAYS, reading.week, strict=True) if doses) == days
    assert reading.any_day is any_day
    assert all(len(doses) <= 1 for doses in reading.week)


def test_four_doses_on_two_days_of_the_week_are_two_on_each() -> None:
    reading = read(rate(4, "1", "wk", days=("mon", "thu")))
    assert [len(doses) for doses in reading.week] == [2, 0, 0, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("dosage", "why"),
    [
        (Dosage(), "no dose time"),
        (Dosage(text="use as directed", problem="not readable"), "not readable"),
        (Dosage(code="XYZ"), "timing code is not known"),
        (Dosage(frequency=3), "not in what time"),
        (rate(1, "36", "h"), "other times each day"),
        (rate(1, "5", "h"), "other times each day"),
        (rate(1, "30", "min"), "unit that is not planned with"),
        (rate(9, "1", "d"), "no clock times are set for 9 doses"),
        (rate(3, "1", "d", times=(time(7), time(19))), "3 doses a day and 2 clock times"),
        (rate(2, "1", "d", when=(("MORN", 0),)), "2 doses a day and 1 moments"),
        (rate(4, "1", "d", when=(("C", 0),)), "4 doses a day at meals"),
        (rate(3, "1", "wk", days=("mon", "thu")), "3 doses do not fit 2 named days"),
        (
            Dosage(code="BID", frequency=3, period=Decimal(1), period_unit="d"),
            "code and its frequency disagree",
        ),
        (Dosage(when=(("IMD", 0),)), "moment of the day that is not known"),
    ],
)
def test_what_cannot_be_read_is_named_and_not_guessed(dosage, why) -> None:
    reading = read(dosage)
    assert why in reading.unreadable
    assert not any(reading.week)


def test_an_order_without_any_instruction_is_not_readable() -> None:
    assert "no dosage instruction" in read().unreadable


def test_one_unreadable_instruction_makes_the_drug_unreadable() -> None:
    assert read(Dosage(code="BID"), Dosage(problem="not readable")).unreadable == "not readable"


def test_as_needed_is_not_a_fixed_time() -> None:
    reading = read(Dosage(code="TID", as_needed=True))
    assert reading.as_needed and not any(reading.week) and reading.unreadable == ""


def test_a_fixed_dose_stays_beside_one_as_needed() -> None:
    reading = read(Dosage(code="AM"), Dosage(as_needed=True))
    assert reading.as_needed
    assert every_day(reading) == ["08:00"]


def test_several_instructions_are_all_kept_free_whatever_their_sequence() -> None:
    reading = read(Dosage(sequence=1, times=(time(7),)), Dosage(sequence=2, times=(time(7), time(19))))
    assert every_day(reading) == ["07:00", "19:00"]


def test_a_step_whose_dates_are_over_does_not_count() -> None:
    reading = read(Dosage(sequence=1, times=(time(7),), end=date(2026, 11, 20)), Dosage(sequence=2, times=(time(19),)))
    assert every_day(reading) == ["19:00"]
    assert reading.ends is None


def test_a_course_is_in_force_on_its_last_day_and_over_the_day_after() -> None:
    course = Dosage(code="BID", start=date(2026, 11, 15), end=TODAY)
    assert every_day(read(course)) == ["08:00", "20:00"]
    assert read(course).ends == TODAY
    assert drug_times("x", "x", (course,), interval("ciprofloxacin"), usual_day(), date(2026, 11, 22)) is None


def test_a_course_that_starts_next_week_is_planned_around_already() -> None:
    assert every_day(read(Dosage(code="QD", start=date(2026, 12, 1)))) == ["08:00"]


def test_a_night_shift_moves_meals_sleep_and_usual_times_but_not_the_morning() -> None:
    night = usual_day().for_waking(16 * 60, 8 * 60)  # wakes 9 h 30 min later than 06:30
    assert every_day(read(Dosage(code="BID"), schedule=night)) == ["05:30", "17:30"]
    assert every_day(read(Dosage(when=(("CM", 0),)), schedule=night)) == ["17:30"]
    assert every_day(read(Dosage(when=(("WAKE", 0),)), schedule=night)) == ["16:00"]
    assert every_day(read(Dosage(when=(("HS", 0),)), schedule=night)) == ["07:30"]
    assert every_day(read(Dosage(when=(("MORN", 0),)), schedule=night)) == ["08:00"]
