"""Regimens worked out by hand from the cited intervals (regimens.HOURS names the rows).

The usual day: awake 06:30 to 22:30, meals at 08:00, 12:30 and 18:30, bedtime 22:00, magnesium 4 h from
magnesium. "(03:00, 11:00)" is a forbidden window; its edges are free.
"""

from datetime import date, time

import pytest

from cds_service.patient import Dosage
from cds_service.planner.model import DAYS, Interval, Plan, clock
from cds_service.planner.schedule import minute_of
from cds_service.planner.times import drug_times
from cds_service.web.plan_page import page
from tests.conftest import shipped
from tests.planner.regimens import TODAY, ask, at, interval, plan, takes, usual_day

LEVOTHYROXINE = takes("levothyroxine", "07:00")
CIPROFLOXACIN = takes("ciprofloxacin", "08:00", "20:00")


def kinds(result: Plan) -> list[str]:
    return [alternative.kind for alternative in result.alternatives]


def gaps(result: Plan, time_of_magnesium: str) -> dict[str, tuple[int | None, int | None]]:
    """Minutes after and before each drug."""
    return {
        gap.label: (gap.after_drug, gap.before_drug)
        for gap in result.gaps
        if gap.minute == minute_of(time_of_magnesium)
    }


def test_nothing_else_is_taken_so_magnesium_goes_with_the_nearest_meal_to_eight_in_the_morning() -> None:
    assert at(plan().times) == ["08:00"]


def test_levothyroxine_at_seven_puts_magnesium_at_lunch() -> None:
    # 4 h and 4 h: (03:00, 11:00). The first meal outside is lunch, 5 h 30 min after, 18 h 30 min before the next.
    result = plan(LEVOTHYROXINE)
    assert at(result.times) == ["12:30"]
    assert gaps(result, "12:30") == {"levothyroxine": (330, 1110)}
    assert result.complete and result.blocked_by == () and result.alternatives == ()


def test_two_doses_around_levothyroxine_go_with_lunch_and_dinner() -> None:
    # Free from 11:00 to 22:30; usual times for two doses are 08:00 and 20:00, the nearest meals 12:30 and 18:30.
    assert at(plan(LEVOTHYROXINE, doses=2).times) == ["12:30", "18:30"]


def test_levothyroxine_and_ciprofloxacin_twice_a_day_leave_eleven_to_two() -> None:
    # Levothyroxine 4 h and 4 h: (03:00, 11:00). Ciprofloxacin 6 h before, 2 h after: (02:00, 10:00), (14:00, 22:00).
    # Free: 11:00 to 14:00, 22:00 to 22:30.
    result = plan(LEVOTHYROXINE, CIPROFLOXACIN)
    assert at(result.times) == ["12:30"]
    assert gaps(result, "12:30") == {"levothyroxine": (330, 1110), "ciprofloxacin": (270, 450)}


def test_two_doses_beside_them_take_the_last_half_hour_of_the_day_too() -> None:
    assert at(plan(LEVOTHYROXINE, CIPROFLOXACIN, doses=2).times) == ["12:30", "22:30"]


def test_a_time_on_the_very_edge_is_taken_where_nothing_else_is_free() -> None:
    # Moxifloxacin 4 h after, 8 h before, at 18:00: (10:00, 22:00). Levothyroxine at 06:00: (02:00, 10:00).
    # Free in the waking day: 10:00 exactly, and 22:00 to 22:30.
    result = plan(takes("moxifloxacin", "18:00"), takes("levothyroxine", "06:00"), doses=2)
    assert at(result.times) == ["10:00", "22:30"]


def test_doxycycline_iron_and_levothyroxine() -> None:
    # Doxycycline 3 h and 3 h: (05:00, 11:00), (17:00, 23:00). Iron 2 h and 2 h at 14:00: (12:00, 16:00).
    # Levothyroxine (03:00, 11:00). Free: 11:00 to 12:00, 16:00 to 17:00. With half an hour to spare on both sides,
    # and nearest 08:00: 11:30.
    result = plan(takes("doxycycline", "08:00", "20:00"), takes("iron", "14:00"), LEVOTHYROXINE)
    assert at(result.times) == ["11:30"]


def test_alendronate_on_sunday_leaves_breakfast_free_on_every_day() -> None:
    # 30 min after it and 4 h before it, at 06:30 on Sunday: Sunday (02:30, 07:00). Breakfast is at 08:00.
    result = plan(takes("alendronate", "06:30", days=("sun",)))
    assert at(result.times) == ["08:00"]


def test_dolutegravir_twice_a_day() -> None:
    # 2 h after, 6 h before: (02:00, 10:00), (14:00, 22:00). Free: 10:00 to 14:00, 22:00 to 22:30.
    assert at(plan(takes("dolutegravir", "08:00", "20:00")).times) == ["12:30"]


def test_mycophenolate_twice_and_magnesium_twice_a_day() -> None:
    # 2 h and 2 h: (06:00, 10:00), (18:00, 22:00). Free: 10:00 to 18:00, 22:00 to 22:30. Lunch at 12:30 and, half an
    # hour away from the evening dose's window, 17:30: nearest to the usual 20:00 beside 22:30 (2 h 30 min both),
    # and the earlier of the two.
    result = plan(takes("mycophenolate", "08:00", "20:00"), doses=2)
    assert at(result.times) == ["12:30", "17:30"]
    assert gaps(result, "17:30") == {"mycophenolate": (570, 150)}


def test_gabapentin_three_times_a_day() -> None:
    # 2 h and 2 h: (06:00, 10:00), (12:00, 16:00), (18:00, 22:00). Every meal is inside; free with room to spare and
    # nearest 08:00: 10:30.
    assert at(plan(takes("gabapentin", "08:00", "14:00", "20:00")).times) == ["10:30"]


def test_a_product_that_wants_food_takes_the_meal_although_another_moment_is_not_new() -> None:
    # Levothyroxine (03:00, 11:00). An unrelated tablet at 15:00 would be no new moment; lunch is with food.
    other = takes("metformin", "15:00")
    assert at(plan(LEVOTHYROXINE, other).times) == ["15:00"]
    assert at(plan(LEVOTHYROXINE, other, with_food=True).times) == ["12:30"]


def test_a_regimen_with_no_time_left_names_both_drugs_and_only_them() -> None:
    # Moxifloxacin at 14:00, 8 h before and 4 h after: (06:00, 18:00). Doxycycline (05:00, 11:00), (17:00, 23:00).
    # Together (05:00, 23:00): the whole waking day. Levothyroxine adds nothing.
    result = plan(takes("moxifloxacin", "14:00"), takes("doxycycline", "08:00", "20:00"), LEVOTHYROXINE)
    assert not result.possible and result.times == ()
    assert result.blocked_by == ("moxifloxacin", "doxycycline")
    assert kinds(result) == ["no_magnesium_now"]


def test_fewer_doses_come_first_among_the_alternatives() -> None:
    # Three doses of magnesium beside ciprofloxacin: free 10:00 to 14:00, 22:00 to 22:30. Two fit, 10:00 to 14:00 even
    # holds two by itself; three at 4 h: 10:00, 14:00, 22:00. A fourth does not fit.
    assert at(plan(CIPROFLOXACIN, doses=3).times) == ["10:00", "14:00", "22:30"]
    result = plan(CIPROFLOXACIN, doses=4)
    assert result.blocked_by == ("ciprofloxacin",)
    assert kinds(result)[0] == "fewer_doses"
    assert result.alternatives[0].doses_per_day == 3


def test_a_flexible_dose_is_moved_as_little_as_makes_room() -> None:
    # As above. Doxycycline half an hour earlier: (16:30, 22:30) leaves 22:30. Moxifloxacin an hour earlier:
    # (05:00, 17:00) leaves 17:00 exactly, the edge of doxycycline's evening window.
    result = plan(takes("moxifloxacin", "14:00", movable=True), takes("doxycycline", "08:00", "20:00", movable=True))
    first, second, last = result.alternatives
    assert [(clock(m.from_minute), clock(m.to_minute)) for m in first.moves] == [
        ("08:00", "07:30"),
        ("20:00", "19:30"),
    ]
    assert at(first.week[0]) == ["22:30"]
    assert [(m.label, clock(m.from_minute), clock(m.to_minute)) for m in second.moves] == [
        ("moxifloxacin", "14:00", "13:00")
    ]
    assert at(second.week[0]) == ["17:00"]
    assert last.kind == "no_magnesium_now"


def test_a_bisphosphonate_is_never_the_drug_that_is_moved() -> None:
    # An imagined bisphosphonate that reaches over the whole day; its label fixes it on waking, so nothing can move.
    wide = Interval("bisphosphonate", "bisphosphonate", 17 * 60, 60, label_moment="WAKE")
    drug = drug_times("bisphosphonate", "bisphosphonate", (Dosage(code="QD"),), wide, usual_day(), TODAY)
    assert drug is not None
    assert kinds(plan(drug)) == ["no_magnesium_now"]


def test_a_course_that_ends_on_friday_is_one_to_wait_out() -> None:
    # Without doxycycline: moxifloxacin (06:00, 18:00) leaves dinner at 18:30.
    friday = date(2026, 11, 27)
    result = plan(takes("moxifloxacin", "14:00"), takes("doxycycline", "08:00", "20:00", ends=friday))
    wait = result.alternatives[0]
    assert (wait.kind, wait.drugs, wait.starts) == ("wait_until", ("doxycycline",), date(2026, 11, 28))
    assert at(wait.week[0]) == ["18:30"]


def test_a_course_that_ends_next_month_is_not_waited_for() -> None:
    long = takes("doxycycline", "08:00", "20:00", ends=date(2026, 12, 20))
    assert kinds(plan(takes("moxifloxacin", "14:00"), long)) == ["no_magnesium_now"]


def test_the_last_dose_of_a_course_may_reach_into_the_morning_after() -> None:
    # An imagined interval of 11 h after the drug, taken at 22:00: its last dose forbids until 09:00.
    wide = Interval("wide", "wide", 11 * 60, 13 * 60 + 30)
    ends = date(2026, 11, 27)
    result = plan(takes("wide", "22:00", interval=wide, ends=ends))
    wait = next(a for a in result.alternatives if a.kind == "wait_until")
    assert at(wait.week[0]) == ["08:00"]
    assert wait.starts == date(2026, 11, 29)


def test_raltegravir_is_never_scheduled_around() -> None:
    result = plan(takes("raltegravir", "08:00", "20:00"), LEVOTHYROXINE)
    assert not result.possible
    assert result.blocked_by == ("raltegravir",)
    assert kinds(result) == ["no_magnesium_now"]


def test_a_dose_after_midnight_forbids_the_evening_before() -> None:
    # Levothyroxine at 00:30: (20:30, 04:30) round midnight. Usual two doses 08:00 and 20:00; bedtime is forbidden.
    wide = usual_day(waking_ends="23:30")
    result = plan(takes("levothyroxine", "00:30"), doses=2, schedule=wide)
    assert at(result.times) == ["08:00", "18:30"]
    late = plan(takes("levothyroxine", "00:30"), takes("moxifloxacin", "16:20"), schedule=wide)
    # Moxifloxacin (08:20, 20:20) and levothyroxine from 20:30: 06:30 to 08:20 and 20:20 to 20:30 are free.
    assert at(late.times) == ["07:45"]


def test_a_weekly_dose_on_monday_morning_forbids_the_evening_of_sunday() -> None:
    # An imagined drug, 8 h before and 4 h after, on Mondays at 05:00: Sunday 21:00 to Monday 09:00. Another on all days
    # leaves only 22:00 to 22:30: 14:15 with 8 h before and 7 h 45 min after: (06:15, 22:00).
    monday = Interval("weekly", "weekly", 4 * 60, 8 * 60)
    always = Interval("always", "always", 465, 480)
    result = plan(takes("weekly", "05:00", days=("mon",), interval=monday), takes("always", "14:15", interval=always))
    assert not result.possible
    assert result.blocked_by == ("weekly", "always")
    fewer = result.alternatives[0]
    assert fewer.kind == "fewer_doses"
    assert [at(day) for day in fewer.week] == [["22:30"]] * 6 + [[]]


def test_days_get_their_own_times_only_where_no_common_time_exists() -> None:
    # Moxifloxacin on Sundays at 14:30: (06:30, 18:30). Levothyroxine daily at 06:30: (02:30, 10:30). Doxycycline on
    # Wednesdays at 20:30: (17:30, 23:30). Sunday leaves 18:30 to 22:30. Wednesday leaves
    # 10:30 to 17:30. Nothing in common. With room to spare: bedtime on Sunday, lunch on the other days.
    result = plan(
        takes("moxifloxacin", "14:30", days=("sun",)),
        takes("levothyroxine", "06:30"),
        takes("doxycycline", "20:30", days=("wed",)),
    )
    assert result.possible and result.times == ()
    assert {day: at(times) for day, times in zip(DAYS, result.week, strict=True)} == {
        **{day: ["12:30"] for day in DAYS},
        "sun": ["22:00"],
    }


def test_a_common_time_goes_before_a_meal_on_most_days() -> None:
    # Moxifloxacin on Sundays at 12:00: (04:00, 16:00): 16:30 is no meal, dinner at 18:30 is; breakfast on six days
    # would be nearer to 08:00, but one time for all days is easier to live by.
    assert at(plan(takes("moxifloxacin", "12:00", days=("sun",))).times) == ["18:30"]


def test_a_night_shift_gets_its_magnesium_at_night() -> None:
    # Awake 16:00 to 08:00, meals moved 9 h 30 min: 17:30, 22:00, 04:00. Levothyroxine at 16:30: (12:30, 20:30).
    # Usual time for one dose: 17:30; the nearest meal outside the window: 22:00.
    night = usual_day().for_waking(minute_of("16:00"), minute_of("08:00"))
    result = plan(takes("levothyroxine", "16:30"), schedule=night)
    assert at(result.times) == ["22:00"]
    assert at(plan(takes("levothyroxine", "16:30"), schedule=night, doses=2).times) == ["04:00", "22:00"]


def test_own_meal_times_of_a_night_shift_are_kept() -> None:
    meals = {"breakfast": minute_of("17:00"), "lunch": minute_of("23:30"), "dinner": minute_of("05:00")}
    night = usual_day().for_waking(minute_of("16:00"), minute_of("08:00"), meals)
    assert at(plan(takes("levothyroxine", "16:30"), schedule=night).times) == ["23:30"]


def test_a_written_instruction_is_planned_around_and_its_times_are_named_as_assumed() -> None:
    written = Dosage(**shipped().vocabulary.sigs.read("Take 1 tablet by mouth twice daily"))
    drug = drug_times("ciprofloxacin", "Ciprofloxacin", (written,), interval("ciprofloxacin"), usual_day(), TODAY)
    result = plan(drug)
    assert at(result.times) == ["12:30"]  # free: 10:00 to 14:00, 22:00 to 22:30
    told = page(ask(drug), result, styles="", picture="")
    assert [time in told for time in ("08:00", "20:00")] == [True, True]
    assert told.count("time assumed: twice a day") == 2 and "An assumed time is a usual one" in told
    assert result.complete


def test_an_unreadable_instruction_is_named_and_the_plan_is_not_complete() -> None:
    order = (Dosage(text="as directed by the clinic", problem="not readable"),)
    drug = drug_times("ciprofloxacin", "Ciprofloxacin", order, interval("ciprofloxacin"), usual_day(), TODAY)
    result = plan(drug, LEVOTHYROXINE)
    assert at(result.times) == ["12:30"]
    assert not result.complete
    assert result.unreadable == (("Ciprofloxacin", "not readable"),)


def test_as_needed_is_named_with_its_interval_and_not_planned_around() -> None:
    order = (Dosage(times=(time(12, 30),), as_needed=True),)
    drug = drug_times("doxycycline", "Doxycycline", order, interval("doxycycline"), usual_day(), TODAY)
    result = plan(drug)
    assert result.possible and not result.complete
    assert result.as_needed == ("Doxycycline",)
    assert [known.drug for known in result.intervals] == ["doxycycline"]


def test_an_unknown_medicine_makes_the_plan_incomplete() -> None:
    assert not plan(unknown=1).complete


def test_the_waking_day_itself_can_be_too_short() -> None:
    # 16 h awake hold five doses at 4 h, not six; no drug is to blame.
    result = plan(doses=6)
    assert not result.possible and result.blocked_by == ()
    assert result.alternatives[0].doses_per_day == 5


def test_together_is_never_apart_even_where_one_side_needs_no_distance() -> None:
    # Nothing needed after it, 2 h before it, at 08:00: (06:00, 08:00], so breakfast at 08:00 is not free, and lunch is
    # the next meal.
    one_sided = Interval("one_sided", "one_sided", 0, 120)
    assert at(plan(takes("one_sided", "08:00", interval=one_sided)).times) == ["12:30"]


def test_the_same_question_has_the_same_answer() -> None:
    regimen = (LEVOTHYROXINE, CIPROFLOXACIN, takes("iron", "16:00"))
    assert plan(*regimen, doses=2) == plan(*regimen, doses=2)


@pytest.mark.parametrize("doses", [0, 7, -1])
def test_doses_that_cannot_be_planned_are_refused(doses) -> None:
    with pytest.raises(ValueError, match="cannot be planned"):
        plan(doses=doses)
