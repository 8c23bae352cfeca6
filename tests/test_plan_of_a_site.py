"""A site's own day: its meals and its usual times of doses are those that a plan is made with."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.content.yamlfile import ContentError
from tests.test_accepting import ask, order, timing
from tests.test_plan_cards import LEVOTHYROXINE, MAGNESIUM, written


def site(tmp_path: Path, **values: Any) -> Path:
    schedule = {name: {"value": value, "reason": "Meals on our wards"} for name, value in values.items()}
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump({"site": "Test hospital", "schedule": schedule}), "utf-8")
    return file


def test_a_sites_own_lunch_changes_the_plan(make_app: Callable[..., Flask], content: Content, tmp_path: Path) -> None:
    client = make_app(site=site(tmp_path, lunch="13:15")).test_client()
    (card,) = timing(ask(client, order(content, client, [LEVOTHYROXINE], [MAGNESIUM])))
    assert written(card) == ["13:15"]


def test_a_sites_own_dose_times_are_the_assumed_ones(
    make_app: Callable[..., Flask], content: Content, tmp_path: Path
) -> None:
    # Once a day at 10:00: (06:00, 14:00). Of the meals outside, dinner.
    client = make_app(site=site(tmp_path, doses_a_day_1=["10:00"])).test_client()
    (card,) = timing(ask(client, order(content, client, ["levothyroxine"], [MAGNESIUM])))
    assert "levothyroxine at 10:00 (time assumed)" in card["detail"]
    assert written(card) == ["18:30"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"lunch": "17:00"}, "17:00 is outside the allowed range 11:00 to 15:00"),
        ({"magnesium_spacing": 30}, "30 is outside the allowed range 120 to 480"),
        ({"lunsh": "12:00"}, "the schedule has no lunsh"),
        ({"lunch": "noon"}, 'a time is written as "07:30"'),
        ({"lunch": 1230}, 'a time is written as "07:30"'),
        ({"room": "30"}, "is not a whole number of min"),
        ({"grid": 7}, "does not divide an hour"),
        ({"doses_a_day_2": ["08:00"]}, "needs 2 different times"),
        ({"doses_a_day_2": "08:00"}, 'a time is written as "07:30" in a list'),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(values, fault, make_app, tmp_path: Path) -> None:
    with pytest.raises(ContentError, match=re.escape(fault)):
        make_app(site=site(tmp_path, **values))
