"""The planner's form: medicines and times in, a day out."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse


def plan(app: Flask, *medicines: tuple[str, str], **fields: Any) -> TestResponse:
    rows = {"drug": [name for name, _ in medicines], "drug_when": [when for _, when in medicines]}
    return app.test_client().post("/plan/form", data={"doses": "1", **rows, **fields})


def times(page: TestResponse) -> list[str]:
    return re.findall(r"<li><strong>([^<]*)</strong> every day", page.text)


def test_the_form_stands_at_plan_and_is_linked_from_the_first_page(app: Flask) -> None:
    assert 'href="/plan"' in app.test_client().get("/").text
    page = app.test_client().get("/plan")
    assert page.status_code == 200 and 'value="levothyroxine"' in page.text
    shown = re.search(r'action="([^"#]+)', page.text)
    assert shown and shown[1] == "/plan/form"


def test_a_day_is_what_the_same_question_gets_of_the_api(app: Flask) -> None:
    page = plan(app, ("levothyroxine", "07:00"), ("ciprofloxacin", "8:00 and 20:00"))
    body = {"medications": [{"name": "levothyroxine", "times": ["07:00"]},
                            {"name": "ciprofloxacin", "times": ["08:00", "20:00"]}]}  # fmt: skip
    answer = app.test_client().post("/plan", json=body).json
    assert times(page) == answer["times"] != []
    assert page.text.count("<svg") == 2
    whole = re.search(r'href="(/plan/[^"]+)">The whole day', page.text)
    assert whole and app.test_client().get(html.unescape(whole[1])).status_code == 200
    assert 'value="8:00 and 20:00"' in page.text  # what was typed stays


def test_a_night_shift_and_food_count(app: Flask) -> None:
    night = plan(app, ("levothyroxine", "16:30"), wakes="16:00", sleeps="08:00")
    assert times(night) == ["22:00"]
    assert 'name="food" value="yes" checked' in plan(app, ("levothyroxine", "07:00"), food="yes").text


def test_a_name_that_is_not_known_is_named_as_not_planned_around(app: Flask) -> None:
    page = plan(app, ("levothyroxin", "07:00"), ("Qzyx", "08:00"))
    told = page.text.partition("Not planned around")[2].partition("</ul>")[0]
    assert "Qzyx" in told


def test_no_time_is_said_with_what_could_be_done_instead(app: Flask) -> None:
    page = plan(app, ("ciprofloxacin", "06:00, 09:00, 12:00, 15:00, 18:00, 21:00"))
    assert "No time fits" in page.text and "ciprofloxacin" in page.text
    assert "What could be done instead" in page.text and "No magnesium for now" in page.text


def test_a_row_without_its_other_field_is_never_dropped(app: Flask) -> None:
    sent = app.test_client().post(
        "/plan/form", data={"doses": "1", "drug": ["levothyroxine", "ciprofloxacin"], "drug_when": ["07:00"]}
    )
    assert sent.status_code == 422 and "Medicine 2: type the times" in sent.text


@pytest.mark.parametrize(
    ("medicines", "fields", "said"),
    [
        ([], {}, "Medicine 1: type at least one"),
        ([("", "07:00")], {}, "Medicine 1: type its name"),
        ([("levothyroxine", "")], {}, "Medicine 1: type the times"),
        ([("levothyroxine", "twice a day")], {}, "Medicine 1: type the times"),
        ([("levothyroxine", "25:00")], {}, "Medicine 1: type the times"),
        ([("x" * 201, "07:00")], {}, "Medicine 1: shorten"),
        ([("levothyroxine", "07:00")], {"doses": "0"}, "Doses of magnesium a day: type a whole number"),
        ([("levothyroxine", "07:00")], {"doses": "x"}, "Doses of magnesium a day"),
        ([("levothyroxine", "07:00")], {"wakes": "06:00"}, "Awake from and to: type two times"),
        ([("levothyroxine", "07:00")], {"wakes": "x", "sleeps": "22:00"}, "Awake from and to: type two times"),
        ([("levothyroxine", "07:00")], {"wakes": "06:00", "sleeps": "06:00"}, "Awake from and to:"),
        ([("levothyroxine", "07:00")] * 41, {}, "Medicines: no more than 40"),
    ],
)
def test_a_fault_is_told_beside_its_field_and_what_was_typed_stays(
    app: Flask, medicines: list[tuple[str, str]], fields: dict[str, str], said: str
) -> None:
    page = plan(app, *medicines, **fields)
    assert page.status_code == 422
    assert said in page.text and 'aria-invalid="true"' in page.text
    if medicines and medicines[0][0] == "levothyroxine":
        assert 'value="levothyroxine"' in page.text
    assert "<svg" not in page.text


def test_the_json_of_the_api_is_not_in_its_way(app: Flask) -> None:
    assert app.test_client().post("/plan", json={"medications": []}).status_code == 200
    assert app.test_client().get("/plan/schema.json").status_code == 200
