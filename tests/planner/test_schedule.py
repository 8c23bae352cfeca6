"""The schedule table: its own shape, and a site's values."""

import pytest

from cds_service.content.tables import ScheduleTable
from cds_service.planner.schedule import ScheduleError, minute_of, schedule_from
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
        assert usual_day(**{name: value}), name


def test_every_moment_and_code_points_at_something_that_exists() -> None:
    schedule = usual_day()
    for code, moment in some(schedule.moments.items()):
        assert not moment.at or moment.at in schedule.at, code
    for timing in some(schedule.codes.values()):
        assert timing.moment in schedule.moments or timing.every_hours or timing.doses_a_day in schedule.usual_times


def test_a_site_value_moves_the_plan() -> None:
    assert usual_day(breakfast="09:15").at["breakfast"] == minute_of("09:15")


def test_a_value_holds_from_its_date_on() -> None:
    row = {**table()["thresholds"]["breakfast"], "values": {"2026-01-01": "08:00", "2026-12-01": "09:00"}}
    document = {**table(), "thresholds": {**table()["thresholds"], "breakfast": row}}
    later = ScheduleTable.model_validate(document)
    assert schedule_from(later, TODAY, {}).at["breakfast"] == minute_of("08:00")
    assert schedule_from(later, TODAY.replace(month=12), {}).at["breakfast"] == minute_of("09:00")
    assert schedule_from(later, TODAY.replace(year=1970), {}).at["breakfast"] == minute_of("08:00")


def test_a_night_shorter_than_the_spacing_of_magnesium_is_refused() -> None:
    with pytest.raises(ScheduleError, match="night is shorter"):
        usual_day().for_waking(0, 23 * 60)
