"""POST /plan and the addresses of a plan, over HTTP."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

from cds_service.planner import token
from cds_service.planner.model import DAYS, MOST_DOSES, MOST_DRUGS, NO_DOSES, Dose, DrugTimes, TooLarge, clock
from cds_service.planner.plan import plan_day
from cds_service.web.plan_routes import LARGEST_BODY
from tests.planner.app import content, make_app
from tests.planner.regimens import HOURS, TODAY, ask, takes, usual_day

EXAMPLE = {
    "magnesium": {"dosesPerDay": 1},
    "medications": [
        {"name": "Levothyroxine", "times": ["07:00"]},
        {"name": "ciprofloxacin", "times": ["08:00", "20:00"], "days": ["mon", "tue", "wed"]},
        {"name": "metformin", "times": ["08:00", "18:30"]},
    ],
}
HOURLY = [f"{hour:02d}:00" for hour in range(24)]
MEDICATION = st.fixed_dictionaries({
    "name": st.sampled_from([*HOURS, "raltegravir", "metformin", "not known"]),
    "times": st.lists(st.integers(0, 1439).map(clock), min_size=8, max_size=24, unique=True),
    "days": st.lists(st.sampled_from(DAYS), min_size=1, max_size=3, unique=True),
})  # fmt: skip


@pytest.fixture
def client():
    return make_app().test_client()


def post(client, **body):
    return client.post("/plan", json=body)


def test_a_plan_is_answered_as_json_with_its_intervals_and_a_link(client) -> None:
    response = client.post("/plan", json=EXAMPLE)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.json
    # Levothyroxine (03:00, 11:00); ciprofloxacin (02:00, 10:00), (14:00, 22:00) on three days. Metformin at 18:30 is
    # taken anyway, but on Monday to Wednesday that is forbidden; 12:30 is a meal.
    assert answer["possible"] is True and answer["complete"] is True
    assert answer["times"] == ["12:30"] and "perDay" not in answer
    assert answer["blockedBy"] == answer["alternatives"] == answer["unknown"] == []
    assert answer["intervals"][1] == {
        "medication": "Ciprofloxacin",
        "drugThenMagnesium": 2.0,
        "magnesiumThenDrug": 6.0,
        "avoid": False,
        "verified": True,
        "certainty": "moderate",
        "reference": "Product label, 2024",
    }
    assert client.get(answer["link"]).status_code == 200


def test_unknown_names_come_back_and_the_plan_is_not_complete(client) -> None:
    answer = post(client, medications=[{"name": "Xyzzy forte", "times": ["08:00"]}]).json
    assert answer["unknown"] == ["Xyzzy forte"]
    assert answer["complete"] is False


def test_no_plan_comes_with_who_blocks_it_and_what_else_could_be_done(client) -> None:
    answer = post(
        client,
        medications=[
            {"name": "moxifloxacin", "times": ["14:00"], "fixed": True},
            {"name": "doxycycline", "times": ["08:00", "20:00"], "ends": "2026-11-27"},
        ],
    ).json
    assert answer["possible"] is False and answer["times"] == []
    assert answer["blockedBy"] == ["Moxifloxacin", "Doxycycline"]
    move, wait, none = answer["alternatives"]
    assert move["moves"][0] == {"medication": "Doxycycline", "fromTime": "08:00", "toTime": "07:30"}
    assert (wait["kind"], wait["starts"], wait["medications"]) == (
        "wait_until",
        "2026-11-28",
        ["Doxycycline"],
    )
    assert none["kind"] == "no_magnesium_now"


def test_a_drug_to_avoid_is_never_scheduled_around(client) -> None:
    answer = post(client, medications=[{"name": "raltegravir", "times": ["08:00"]}]).json
    assert (answer["possible"], answer["blockedBy"]) == (False, ["raltegravir"])
    assert answer["intervals"][0]["avoid"] is True and "drugThenMagnesium" not in answer["intervals"][0]


def test_a_bisphosphonate_is_not_moved_even_where_the_caller_does_not_say_fixed(client) -> None:
    holds = content(TODAY)
    wide = replace(holds.intervals["alendronate"], drug_then_magnesium=17 * 60)
    from cds_service.web.plan_question import PlanQuestion, request_of

    question = PlanQuestion(medications=[{"name": "alendronate", "times": ["06:30"]}])
    asked, _ = request_of(question, replace(holds, intervals={"alendronate": wide}), TODAY)
    assert [option.kind for option in plan_day(asked).alternatives] == ["no_magnesium_now"]


def test_a_medicine_without_times_is_not_planned_around(client) -> None:
    answer = post(client, medications=[{"name": "ciprofloxacin", "times": []}]).json
    assert answer["possible"] and not answer["complete"]


def test_a_course_that_is_over_is_left_out(client) -> None:
    answer = post(client, medications=[{"name": "ciprofloxacin", "times": ["08:00"], "ends": "2026-11-20"}]).json
    assert answer["intervals"] == []


def test_days_that_differ_are_answered_by_day(client) -> None:
    answer = post(
        client,
        medications=[
            {"name": "moxifloxacin", "times": ["14:30"], "days": ["sun"]},
            {"name": "levothyroxine", "times": ["06:30"]},
            {"name": "doxycycline", "times": ["20:30"], "days": ["wed"]},
        ],
    ).json
    assert answer["times"] == []
    assert answer["perDay"]["sun"] == ["22:00"] and answer["perDay"]["mon"] == ["12:30"]


def test_waking_hours_and_meals_of_a_night_shift(client) -> None:
    answer = post(
        client,
        medications=[{"name": "levothyroxine", "times": ["16:30"]}],
        waking=["16:00", "08:00"],
        meals={"lunch": "23:30"},
    ).json
    assert answer["times"] == ["23:30"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "medications"),
        ({"medications": [{"name": "x", "times": ["7:00"]}]}, "medications[0].times[0]"),
        ({"medications": [{"name": "x", "times": ["24:00"]}]}, "medications[0].times[0]"),
        ({"medications": [{"name": "x", "times": ["07:00"], "days": ["funday"]}]}, "medications[0].days[0]"),
        ({"medications": [{"name": "x", "times": ["07:00"], "dose": "1"}]}, "medications[0]"),
        ({"medications": [{"name": "x", "times": ["07:00"], "ends": "2026-02-30"}]}, "medications[0].ends"),
        ({"medications": [], "magnesium": {"dosesPerDay": 0}}, "magnesium.dosesPerDay"),
        ({"medications": [], "magnesium": {"dosesPerDay": "1"}}, "magnesium.dosesPerDay"),
        ({"medications": [], "waking": ["06:00"]}, "waking"),
        ({"medications": [], "waking": ["06:00", "05:00"]}, "waking"),
        ({"medications": [], "waking": ["06:00", "06:00"]}, "waking"),
        ({"medications": [{"name": "", "times": []}] * 1}, "medications[0].name"),
        ({"medications": [{"name": "x", "times": []}] * 41}, "medications"),
        ({"medications": [{"name": "x", "times": ["07:00"] * 25}]}, "medications[0].times"),
        ({"medications": [{"name": "x", "times": [], "days": ["mon"] * 8}]}, "medications[0].days"),
        ({"medications": [{"name": "x" * 201, "times": []}]}, "medications[0].name"),
        ({"medications": [{"name": "iron", "times": HOURLY}] * 3}, "medications"),
        ({"medications": [{"name": "iron and doxycycline", "times": []}] * 21}, "medications"),
    ],
)
def test_a_question_that_cannot_be_used_is_refused_with_its_place_and_without_its_value(client, body, place) -> None:
    response = client.post("/plan", json=body)
    assert response.status_code == 400
    assert response.json["resourceType"] == "OperationOutcome"
    assert place in [issue["expression"][0] for issue in response.json["issue"]]
    assert "funday" not in response.text and "2026-02-30" not in response.text


def test_a_body_that_is_no_json_or_too_large_is_refused(client) -> None:
    assert client.post("/plan", data="{", content_type="application/json").status_code == 400
    assert client.post("/plan", data="x=1").status_code == 415
    assert client.post("/plan", data=" " * 70_000, content_type="application/json").status_code == 413


def test_the_published_schema_accepts_the_example_and_describes_the_answer(client) -> None:
    schema = client.get("/plan/schema.json").json
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(EXAMPLE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"medications": [{"name": "x", "times": ["25:00"]}]}, schema)
    answer = client.post("/plan", json=EXAMPLE).json
    jsonschema.validate(answer, {**schema, "$ref": "#/$defs/PlanAnswer"})


def test_the_page_and_the_picture_answer_at_the_link(client) -> None:
    link = client.post("/plan", json=EXAMPLE).json["link"]
    page = client.get(link)
    assert page.mimetype == "text/html"
    assert "script" not in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text and "style=" not in page.text and "<style" not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert "12:30" in page.text and "Levothyroxine" in page.text
    for sheet in ("plan.css", "timeline.css"):
        assert f"/plan/static/{sheet}" in page.text
        with client.get(f"/plan/static/{sheet}") as styles:
            assert styles.mimetype == "text/css"
    drawing = client.get(link + ".svg")
    assert drawing.mimetype == "image/svg+xml"
    assert ElementTree.fromstring(drawing.data).get("role") == "img"
    assert client.get(link + ".png").status_code == 404  # drawing one took seconds


def test_the_token_holds_concepts_and_times_and_no_name_that_was_sent(client) -> None:
    body = {"medications": [*EXAMPLE["medications"], {"name": "for Jane Doe of Elm Street", "times": ["08:00"]}]}
    link = client.post("/plan", json=body).json["link"]
    held = URLSafeTimedSerializer(
        "a secret of the tests", salt=token.SALT, signer_kwargs={"key_derivation": "hmac"}
    ).loads(link.removeprefix("/plan/"))
    assert held == {
        "n": 1,
        "u": 1,
        "w": [390, 960, 480, 750, 1110],
        "d": [
            ["levothyroxine", 0, [[420, 127, 2]]],
            ["ciprofloxacin", 0, [[480, 7, 2], [1200, 7, 2]]],
            ["metformin", 0, [[480, 127, 2], [1110, 127, 2]]],
        ],
    }
    assert "One medicine was" in client.get(link).text


def test_a_changed_a_foreign_and_a_nonsense_token_are_not_found(client) -> None:
    link = client.post("/plan", json=EXAMPLE).json["link"]
    other = make_app(secret="another").test_client().post("/plan", json=EXAMPLE).json["link"]
    # The last letter holds bits that nobody reads; all of the one before it count.
    changed = link[:-2] + ("A" if link[-2] != "A" else "B") + link[-1]
    for wrong in (changed, other, "/plan/abc", "/plan/" + "a" * 5000):
        for ending in ("", ".svg"):
            response = client.get(wrong + ending)
            assert response.status_code == 404
            assert response.json["resourceType"] == "OperationOutcome"


def test_an_expired_token_is_gone() -> None:
    client = make_app(max_age=-1).test_client()
    link = client.post("/plan", json=EXAMPLE).json["link"]
    assert client.get(link).status_code == 410


def test_a_token_of_another_version_is_not_found_and_breaks_nothing(client) -> None:
    serializer = URLSafeTimedSerializer(
        "a secret of the tests", salt=token.SALT, signer_kwargs={"key_derivation": "hmac"}
    )
    for body in (
        [],
        {},
        {"n": 1, "w": [1], "d": []},
        {"n": 0, "w": [390, 960, 480, 750, 1110], "d": []},
        {"n": 1, "w": [390, 1400, 480, 750, 1110], "d": []},
        {"n": 1, "w": [390, 960, 480, 750, 1110], "d": [["x", 0, [[9999, 1, 0]]]]},
        {"n": 1, "w": [390, 960, 480, 750, 1110], "d": [["x", 0, []]] * 41},
        {"n": 1, "w": [390, 960, 480, 750, 1110], "d": [["x", 0, [[at, 127, 0] for at in range(72)]]]},
    ):
        assert client.get(f"/plan/{serializer.dumps(body)}").status_code == 404


def test_a_request_comes_back_from_its_token_as_it_went_in() -> None:
    holds = content(TODAY)
    drugs = tuple(
        replace(takes(name, *times, days=days), label=name.title(), interval=holds.intervals[name])
        for name, times, days in (
            ("levothyroxine", ("07:00",), ("mon", "wed")),
            ("ciprofloxacin", ("08:00", "20:00"), ("sat",)),
        )
    )
    assumed = replace(
        drugs[1],
        week=tuple(tuple(replace(d, assumed=True, words="twice a day") for d in day) for day in drugs[1].week),
    )
    night = usual_day().for_waking(16 * 60, 8 * 60, {"lunch": 1380})
    asked = ask(drugs[0], replace(assumed, any_day=True), doses=2, schedule=night, with_food=True, unknown=3)
    text = token.sign(asked, "s")
    assert len(text) < 300
    again = token.read(text, "s", 60, holds, TODAY)
    assert again.drugs == asked.drugs
    assert plan_day(again) == plan_day(asked)
    assert json.dumps(sorted(again.schedule.at)) == json.dumps(sorted(asked.schedule.at))


@settings(max_examples=25, deadline=None)
@given(st.lists(MEDICATION, min_size=10, max_size=40), st.integers(1, 6))
def test_whatever_is_answered_has_a_link_that_opens(medications, doses) -> None:
    client = make_app().test_client()
    response = client.post("/plan", json={"medications": medications, "magnesium": {"dosesPerDay": doses}})
    week = sum(len(taken["times"]) * len(taken["days"]) for taken in medications if taken["name"] != "not known")
    assert response.status_code == (200 if week <= 500 else 400)
    if week <= 500:
        for ending in ("", ".svg"):
            assert client.get(response.json["link"] + ending).status_code == 200


def test_an_address_that_would_be_too_long_to_open_is_not_signed() -> None:
    """An order's own offsets become words of a dose, such as "1 h 37 min before breakfast"."""
    text = "".join(Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=6000))
    asked = ask(DrugTimes("iron", "iron", week=((Dose(420, words=text),), *NO_DOSES[1:])))
    with pytest.raises(TooLarge, match="than an address can hold"):
        token.sign(asked, "s")


def test_the_docs_say_the_bounds_that_hold() -> None:
    page = " ".join((Path(__file__).resolve().parents[2] / "docs/planner.md").read_text("utf-8").split())
    for claim in (
        f"at most {MOST_DRUGS} medicines, {MOST_DOSES} doses of them in a week",
        f"at most {LARGEST_BODY // 1024} KiB",
        f"at most {token.MOST_CHARACTERS:,} characters",
    ):
        assert claim in page


def test_a_body_in_chunks_is_bounded_like_any_other(client) -> None:
    """Chunks carry no Content-Length: the server's own reader marks their end."""

    def chunked(body: bytes):
        return client.post(
            "/plan", input_stream=BytesIO(body), content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
        )  # fmt: skip

    assert chunked(json.dumps(EXAMPLE).encode()).status_code == 200
    refused = chunked(b" " * 70_000 + json.dumps(EXAMPLE).encode())
    assert refused.status_code == 413
    assert refused.json["resourceType"] == "OperationOutcome"
