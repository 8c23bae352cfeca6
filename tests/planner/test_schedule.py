"""The schedule table: its own shape, and a site's values."""

import pytest

from cds_service.planner import ScheduleError, minute_of, schedule_from
from tests.planner.regimens import TODAY, table, usual_day
from tests.support.some import some


def test_every_threshold_says_what_it_is_where_it_comes_from_and_how_far_a_site_may_go() -> None:
    for name, row in some(table()["thresholds"].items()):
        assert list(row) == ["label", "unit", "values", "site_may_set", "basis"], name
        assert row["basis"] == "product policy", f"{name}: name the source in references.yaml and this test"
        assert len(row["site_may_set"]) == 2, name


def test_every_shipped_value_lies_in_the_range_that_a_site_has() -> None:
    for name, row in some(table()["thresholds"].items()):
        (value,) = row["values"].values()
        assert schedule_from(table(), TODAY, {name: value}), name


def test_every_moment_and_code_points_at_something_that_exists() -> None:
    schedule = usual_day()
    for moment in some(schedule.moments.values()):
        assert moment.meals or moment.at in schedule.at, moment.code
    for code in some(schedule.codes.values()):
        assert code.moment in schedule.moments or code.every_hours or code.doses_a_day in schedule.usual_times


@pytest.mark.parametrize(
    ("site", "key", "why"),
    [
        ({"breakfast": "04:00"}, "breakfast", "outside 05:00 to 11:00"),
        ({"breakfast": "8 am"}, "breakfast", "not a time of day"),
        ({"breakfast": 800}, "breakfast", "not a time of day"),
        ({"room": "30"}, "room", "not a whole number of min"),
        ({"room": True}, "room", "not a whole number of min"),
        ({"brunch": "10:00"}, "brunch", "no such threshold"),
        ({"grid": 7}, "grid", "does not divide an hour"),
        ({"doses_a_day_2": ["08:00"]}, "doses_a_day_2", "needs 2 different times"),
        ({"doses_a_day_2": "08:00"}, "doses_a_day_2", "not a list of times"),
        ({"waking_ends": "23:59", "magnesium_spacing": 480}, "waking_ends", "night is shorter"),
    ],
)
def test_a_site_value_that_cannot_be_used_is_named_with_its_key(site, key, why) -> None:
    with pytest.raises(ScheduleError) as caught:
        usual_day(**site)
    ((named, fault),) = caught.value.faults
    assert named == key
    assert why in fault


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ScheduleError) as caught:
        usual_day(breakfast="04:00", lunch="23:00")
    assert [key for key, _ in caught.value.faults] == ["breakfast", "lunch"]


def test_a_site_value_moves_the_plan() -> None:
    assert usual_day(breakfast="09:15").at["breakfast"] == minute_of("09:15")


def test_a_value_holds_from_its_date_on() -> None:
    row = {**table()["thresholds"]["breakfast"], "values": {"2026-01-01": "08:00", "2026-12-01": "09:00"}}
    later = {**table(), "thresholds": {**table()["thresholds"], "breakfast": row}}
    assert schedule_from(later, TODAY).at["breakfast"] == minute_of("08:00")
    assert schedule_from(later, TODAY.replace(month=12)).at["breakfast"] == minute_of("09:00")
    assert schedule_from(later, TODAY.replace(year=1970)).at["breakfast"] == minute_of("08:00")


def test_a_night_shorter_than_the_spacing_of_magnesium_is_refused() -> None:
    with pytest.raises(ScheduleError, match="night is shorter"):
        usual_day().for_waking(0, 23 * 60)
