"""Plan cards over HTTP. Each plan is worked out by hand from the hours of the cited rules (cards/timing/).

The usual day (cards/tables/schedule.yaml): awake 06:30 to 22:30, meals at 08:00, 12:30 and 18:30, bedtime 22:00,
twice a day 08:00 and 20:00, three times 08:00, 14:00 and 20:00, 4 h between doses of magnesium. Hours after the drug
and before it: levothyroxine 4 and 4, ciprofloxacin 2 and 6, doxycycline 3 and 3, iron 3 and 3, alendronic acid 0.5 and
4, dolutegravir 2 and 6, mycophenolate 2 and 2, gabapentin 2 and 2, moxifloxacin 4 and 8. "(03:00, 11:00)" is forbidden;
its edges are free.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from tests.test_accepting import ask, order, timing

Body = dict[str, Any]
MAGNESIUM = "magnesium_oxide"


def takes(drug: str, *at: str, times: int = 1, **more: Any) -> Body:
    """A drug at clock times, or so many times a day without any."""
    return {"drug": drug, "at": list(at), "times": len(at) or times, **more}


LEVOTHYROXINE = takes("levothyroxine", "07:00")
CIPROFLOXACIN = takes("ciprofloxacin", times=2)


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def call(client: FlaskClient, content: Content) -> Callable[..., tuple[Body, Body]]:
    """The request and its one card on timing, for drugs on file and one draft."""

    def make(*drugs: Any, draft: Any = MAGNESIUM, change: Body | None = None) -> tuple[Body, Body]:
        body = order(content, client, list(drugs), [draft])
        drafted(body)["dosageInstruction"][0].update(change or {})
        (card,) = timing(ask(client, body))
        return body, card

    return make


def drafted(body: Body) -> Body:
    resource: Body = body["context"]["draftOrders"]["entry"][0]["resource"]
    return resource


def update(card: Body, place: int = 0) -> Body:
    (action,) = card["suggestions"][place]["actions"]
    assert action["type"] == "update"
    MedicationRequest.model_validate(action["resource"])
    resource: Body = action["resource"]
    return resource


def repeat(resource: Body) -> Body:
    (dosage,) = resource["dosageInstruction"]
    found: Body = dosage["timing"]["repeat"]
    return found


def written(card: Body, place: int = 0) -> list[str]:
    """The clock times of the update's only instruction; [] where it has none."""
    return [text[:5] for text in repeat(update(card, place)).get("timeOfDay", [])]


def plan_path(card: Body) -> str:
    (address,) = [link["url"] for link in card["links"] if "/plan/" in link["url"]]
    return str(address).split("localhost", 1)[1]


def has_plan_link(card: Body) -> bool:
    return any("/plan/" in link["url"] for link in card["links"])


def silent_with(client: FlaskClient, body: Body, resource: Body) -> bool:
    body["context"]["draftOrders"]["entry"][0]["resource"] = resource
    return timing(ask(client, body)) == []


# The regimens of the planner, worked out by hand.

REGIMENS: dict[str, tuple[list[Any], Any, list[str]]] = {
    # (03:00, 11:00): lunch is the first meal outside.
    "levothyroxine alone": ([LEVOTHYROXINE], MAGNESIUM, ["12:30"]),
    # Once a day is assumed at 08:00: (04:00, 12:00). Lunch again, 30 min clear of the edge.
    "levothyroxine without a time": (["levothyroxine"], MAGNESIUM, ["12:30"]),
    # (03:00, 11:00); 08:00 and 20:00 assumed: (02:00, 10:00), (14:00, 22:00). Free: 11:00 to 14:00, 22:00 to 22:30.
    "levothyroxine and ciprofloxacin twice a day": ([LEVOTHYROXINE, CIPROFLOXACIN], MAGNESIUM, ["12:30"]),
    # Doxycycline (05:00, 11:00), (17:00, 23:00); iron at 08:00 (05:00, 11:00); levothyroxine (03:00, 11:00).
    # Free: 11:00 to 17:00.
    "doxycycline twice a day, iron and levothyroxine": (
        [LEVOTHYROXINE, takes("doxycycline", times=2), takes("ferrous_sulfate")],
        MAGNESIUM,
        ["12:30"],
    ),
    # On waking, 06:30, on Sundays: (02:30, 07:00). Breakfast at 08:00 is free on every day.
    "alendronic acid on Sundays": ([takes("alendronic_acid", days=["sun"], period_unit="wk")], MAGNESIUM, ["08:00"]),
    # (02:00, 10:00), (14:00, 22:00). Free: 10:00 to 14:00, 22:00 to 22:30.
    "dolutegravir twice a day": ([takes("dolutegravir", times=2)], MAGNESIUM, ["12:30"]),
    # (06:00, 10:00), (18:00, 22:00). Free: 10:00 to 18:00, 22:00 to 22:30. Nearest to 08:00 and 20:00 with 30 min to
    # spare at the edge of 18:00: lunch and 17:30.
    "mycophenolate twice and magnesium twice a day": (
        [takes("mycophenolate_mofetil", times=2)],
        takes(MAGNESIUM, times=2),
        ["12:30", "17:30"],
    ),
    # (06:00, 10:00), (12:00, 16:00), (18:00, 22:00). Free: 10:00 to 12:00, 16:00 to 18:00, 22:00 to 22:30; no meal lies
    # there, and bedtime is on the edge. Nearest to 08:00 with 30 min to spare: 10:30.
    "gabapentin three times a day": ([takes("gabapentin", times=3)], MAGNESIUM, ["10:30"]),
    # "Every morning" is assumed at 08:00: (04:00, 12:00).
    "levothyroxine as a written instruction": (
        [{"drug": "levothyroxine", "sig": "Take 1 tablet by mouth every morning"}],
        MAGNESIUM,
        ["12:30"],
    ),
}


@pytest.mark.parametrize("name", REGIMENS)
def test_the_update_writes_the_plan_and_the_next_call_is_silent(
    name: str, client: FlaskClient, call: Callable[..., tuple[Body, Body]]
) -> None:
    drugs, draft, times = REGIMENS[name]
    body, card = call(*drugs, draft=draft)
    assert written(card) == times
    after = update(card)
    assert repeat(after)["frequency"] == len(times)
    assert after["dosageInstruction"][0]["doseAndRate"] == drafted(body)["dosageInstruction"][0]["doseAndRate"]
    told = after["dosageInstruction"][0]["patientInstruction"]
    assert told.startswith(f"Take magnesium at {' and '.join(times)}.")
    assert f"- Magnesium at {' and '.join(times)}" in card["detail"]
    assert silent_with(client, body, after)


@pytest.mark.parametrize("name", REGIMENS)
def test_a_plan_card_is_read_in_ten_seconds(name: str, call: Callable[..., tuple[Body, Body]]) -> None:
    drugs, draft, _ = REGIMENS[name]
    _, card = call(*drugs, draft=draft)
    counted = [block for block in card["detail"].split("\n\n") if not block.startswith(("**Not checked", "*Dev"))]
    assert len(re.findall(r"\S*\w\S*", " ".join(counted))) <= 120
    assert len(card["summary"]) < 140 and "…" not in card["summary"]
    assert len(card["suggestions"]) == 1 and card["selectionBehavior"] == "at-most-one"


def test_one_drug_keeps_the_summary_of_its_rule_and_the_plan_names_its_nearest_dose(call) -> None:
    _, card = call(LEVOTHYROXINE)
    assert card["summary"].startswith("Magnesium with levothyroxine: keep the doses 4 h apart")
    assert "- Magnesium at 12:30: 5 h 30 min after levothyroxine at 07:00\n" in card["detail"]


def test_an_assumed_time_is_marked_on_the_card(call) -> None:
    _, card = call("levothyroxine")
    assert "4 h 30 min after levothyroxine at 08:00 (time assumed)" in card["detail"]
    _, card = call(LEVOTHYROXINE, CIPROFLOXACIN)
    assert "| 07:00 | levothyroxine |" in card["detail"]
    assert "| 20:00 | ciprofloxacin (assumed) |" in card["detail"]


def test_several_drugs_are_one_card_with_the_evidence_of_each_interval(call, content: Content) -> None:
    _, card = call(LEVOTHYROXINE, CIPROFLOXACIN)
    # The tightest side of each: 07:00 + 5 h 30 min (4 needed), and 7 h 30 min before 20:00 (6 needed).
    assert card["summary"] == (
        "Magnesium at 12:30 fits: 5 h 30 min after levothyroxine and 7 h 30 min before ciprofloxacin (evidence: high)"
    )
    assert "give magnesium 2 h after or 6 h before (evidence: high; US label of ciprofloxacin)" in card["detail"]
    assert "keep the doses 4 h apart (evidence: low; US label of Synthroid)" in card["detail"]
    assert card["suggestions"][0]["label"] == "Magnesium at 12:30"


def test_ten_drugs_still_make_a_short_card(call) -> None:
    drugs = [
        LEVOTHYROXINE, CIPROFLOXACIN, takes("doxycycline", times=2), takes("ferrous_sulfate"), takes("gabapentin"),
        takes("mycophenolate_mofetil", times=2), takes("dolutegravir"), takes("moxifloxacin"), takes("digoxin"),
        takes("levofloxacin"),
    ]  # fmt: skip
    _, card = call(*drugs)
    counted = [block for block in card["detail"].split("\n\n") if not block.startswith(("**Not checked", "*Dev"))]
    assert len(re.findall(r"\S*\w\S*", " ".join(counted))) <= 120
    assert max(block.count("\n- ") for block in counted) <= 5
    assert "6 more, see the picture of the day" in card["detail"]


# Days that differ.


def test_days_that_differ_become_instructions_of_their_own(client, call) -> None:
    # Moxifloxacin on Sundays at 14:30: (06:30, 18:30). Levothyroxine daily at 06:30: (02:30, 10:30). Doxycycline on
    # Wednesdays at 20:30: (17:30, 23:30). Sunday leaves 18:30 to 22:30, Wednesday 10:30 to 17:30: nothing in common.
    # With room to spare: bedtime on Sunday, lunch on the other days.
    weekly = {"period_unit": "wk"}
    body, card = call(
        takes("moxifloxacin", "14:30", days=["sun"], **weekly),
        takes("levothyroxine", "06:30"),
        takes("doxycycline", "20:30", days=["wed"], **weekly),
    )
    assert "12:30 (Monday to Saturday) and 22:00 (Sunday)" in card["summary"]
    assert "| 14:30 | moxifloxacin (Sunday) |" in card["detail"]
    after = update(card)
    first, second = (item["timing"]["repeat"] for item in after["dosageInstruction"])
    assert (first["timeOfDay"], first["dayOfWeek"]) == (["12:30:00"], ["mon", "tue", "wed", "thu", "fri", "sat"])
    assert (second["timeOfDay"], second["dayOfWeek"]) == (["22:00:00"], ["sun"])
    told = [item["patientInstruction"] for item in after["dosageInstruction"]]
    assert told[0].startswith("On Monday to Saturday, take magnesium at 12:30.")
    assert told[1].startswith("On Sunday, take magnesium at 22:00.")
    assert silent_with(client, body, after)


def test_a_weekly_dose_stands_in_the_table_with_its_day(call) -> None:
    _, card = call(LEVOTHYROXINE, takes("alendronic_acid", days=["sun"], period_unit="wk"))
    assert "| 06:30 | alendronic acid (Sunday, assumed) |" in card["detail"]


# No solution, and what then.


def test_a_day_without_room_is_said_and_no_time_is_written(client, call) -> None:
    # 06:00: (00:00, 08:00); 11:00: (05:00, 13:00); 16:00: (10:00, 18:00); 21:00: (15:00, 23:00). Nothing is free.
    _, card = call(takes("ciprofloxacin", "06:00", "11:00", "16:00", "21:00"), LEVOTHYROXINE)
    assert card["summary"].startswith("No time of day fits magnesium with ciprofloxacin")
    assert "- Leaving magnesium out for now" in card["detail"]
    assert written(card) == []
    assert "No time fits" in client.get(plan_path(card)).text


def test_fewer_doses_are_a_second_suggestion_whose_label_says_so(client, call) -> None:
    # Free: 11:00 to 14:00 and 22:00 to 22:30, so two doses 4 h apart and never three.
    body, card = call(LEVOTHYROXINE, CIPROFLOXACIN, draft=takes(MAGNESIUM, times=3))
    assert card["summary"].startswith("3 doses of magnesium a day do not fit beside levothyroxine and ciprofloxacin")
    assert "Fewer doses of magnesium a day: 2, at 12:30 and 22:30" in card["detail"]
    labels = [item["label"] for item in card["suggestions"]]
    assert labels == ["Keep the doses apart", "2 magnesium doses a day"]
    assert card["selectionBehavior"] == "at-most-one"
    assert written(card, 0) == [] and repeat(update(card, 0))["frequency"] == 3
    assert written(card, 1) == ["12:30", "22:30"] and repeat(update(card, 1))["frequency"] == 2
    assert "2 times a day instead of 3" in card["suggestions"][1]["actions"][0]["description"]
    assert silent_with(client, body, update(card, 1))


def test_a_course_that_ends_is_one_to_wait_out(call) -> None:
    course = takes("ciprofloxacin", "06:00", "11:00", "16:00", "21:00", ends="2026-11-25")
    _, card = call(course, LEVOTHYROXINE)
    # Its last dose, at 21:00 on the 25th, reaches to 23:00: the next day is free.
    assert "Waiting until the course of ciprofloxacin is over: magnesium from 2026-11-26" in card["detail"]


# What is not planned around, or not planned at all.


def test_an_unreadable_order_is_named_and_no_time_is_written(call) -> None:
    _, card = call({"drug": "levothyroxine", "sig": "as directed by the clinic"}, CIPROFLOXACIN)
    assert card["summary"].startswith("Magnesium at 12:30 fits ciprofloxacin; the times of levothyroxine are not known")
    assert "the order does not say when levothyroxine is taken" in card["detail"]
    assert written(card) == []


@pytest.mark.parametrize(
    ("drugs", "draft", "why"),
    [
        ([takes("ciprofloxacin", times=2, as_needed=True)], MAGNESIUM, "sets no times for the other drug"),
        ([LEVOTHYROXINE], {"drug": MAGNESIUM, "as_needed": True}, "no fixed number of doses a day"),
        ([LEVOTHYROXINE], takes(MAGNESIUM, period=2), "no fixed number of doses a day"),
        ([LEVOTHYROXINE, "magnesium_citrate"], MAGNESIUM, "two magnesium products"),
    ],
    ids=["drug as needed", "magnesium as needed", "magnesium every other day", "two products"],
)
def test_where_no_day_can_be_planned_the_card_says_why_and_names_no_time(drugs, draft, why, call) -> None:
    _, card = call(*drugs, draft=draft)
    assert f"no day was planned, as {'there are ' if 'products' in why else ''}" in card["detail"]
    assert why in card["detail"]
    assert not has_plan_link(card)
    assert written(card) == []
    assert not re.search(r"\d\d:\d\d", card["detail"])


def test_nothing_is_scheduled_around_a_drug_to_avoid(call) -> None:
    _, card = call(takes("raltegravir", times=2), LEVOTHYROXINE)
    assert card["summary"].startswith("Magnesium with raltegravir: antacids are not recommended")
    assert "Magnesium with levothyroxine: keep the doses 4 h apart (evidence: low" in card["detail"]
    assert not re.search(r"\d\d:\d\d", card["detail"])
    assert "suggestions" not in card and not has_plan_link(card)


def test_where_magnesium_itself_is_in_question_no_time_is_proposed(content: Content, client: FlaskClient) -> None:
    body = order(content, client, [LEVOTHYROXINE], [MAGNESIUM])
    (kidney,) = (e["resource"] for e in body["prefetch"]["kidney"]["entry"])
    kidney["valueQuantity"]["value"] = 18
    (card,) = timing(ask(client, body))
    assert "suggestions" not in card and not has_plan_link(card)
    assert not re.search(r"\d\d:\d\d", card["detail"])


# What is written into an order.


def test_the_drug_being_ordered_gets_the_instruction_and_keeps_its_own_timing(client, call) -> None:
    body, card = call(takes(MAGNESIUM, "08:00"), draft=takes("levothyroxine"))
    after = update(card)
    assert after["id"] == "draft-0" and after["medicationCodeableConcept"]["text"].startswith("Levothyroxine")
    assert repeat(after) == repeat(drafted(body))
    assert "at least 4 h apart" in after["dosageInstruction"][0]["patientInstruction"]
    assert silent_with(client, body, after)


def test_meal_times_in_the_order_count_the_doses(call) -> None:
    # "With meals", three times a day: three doses, not one. Free beside levothyroxine: 11:00 to 22:30, 4 h apart;
    # lunch, dinner and 22:30 (4 h after dinner), which is no meal; three meals do not fit.
    _, card = call(LEVOTHYROXINE, draft={"drug": MAGNESIUM, "times": 3, "when": ["C"]})
    assert written(card) == ["12:30", "18:30", "22:30"]


def test_a_written_instruction_that_the_times_replace_is_taken_out(call) -> None:
    _, card = call(LEVOTHYROXINE, change={"text": "1 tablet at bedtime", "patientInstruction": "at bedtime"})
    after = update(card)
    assert written(card) == ["12:30"]
    assert "text" not in after["dosageInstruction"][0]
    assert "bedtime" not in after["dosageInstruction"][0]["patientInstruction"]


@pytest.mark.parametrize(
    "change",
    [
        {"text": "1 tablet when the pain is worst"},
        {"patientInstruction": "Before you drive"},
        {"timing": {"repeat": {"frequency": 1, "frequencyMax": 2, "period": 1, "periodUnit": "d"}}},
        {"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "count": 20}}},
        {"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}, "code": {"text": "after the bath"}}},
    ],
    ids=["text", "patient instruction", "range", "count", "code"],
)
def test_an_order_that_says_more_than_we_can_carry_over_keeps_its_own_times(change, client, call) -> None:
    body, card = call(LEVOTHYROXINE, change=change)
    after = update(card)
    assert written(card) == []
    for name, value in change.items():
        kept = after["dosageInstruction"][0][name]
        assert kept == value or (name == "patientInstruction" and kept.startswith(value))
    assert silent_with(client, body, after)


def test_the_bounds_of_an_order_are_kept(call) -> None:
    bounds = {"start": "2026-11-21", "end": "2026-12-05"}
    timing_ = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "boundsPeriod": bounds}}
    _, card = call(LEVOTHYROXINE, change={"timing": timing_})
    assert repeat(update(card))["boundsPeriod"] == bounds and written(card) == ["12:30"]


def test_the_times_stand_in_the_drugs_text_and_the_next_call_reads_the_drug_all_the_same(client, call) -> None:
    body, card = call(takes("mycophenolate_mofetil", times=2), LEVOTHYROXINE, draft=takes(MAGNESIUM, times=2))
    text = update(card)["medicationCodeableConcept"]["text"]
    ending = ", kept apart from levothyroxine, kept apart from mycophenolate mofetil"
    assert re.fullmatch(rf"Magnesium oxide, at \d\d:\d\d and \d\d:\d\d{ending}", text)
    # A client that keeps nothing of an update but the text, and sends no code.
    drafted(body)["medicationCodeableConcept"] = {"text": text}
    answer = client.post("/cds-services/magnesium-order-select", json=body).json
    outcomes = {item["rule"]: item for item in answer["extension"]["org.magnesium-cds"]["outcomes"]}
    assert outcomes["levothyroxine_timing"]["outcome"] == "quiet"
    assert timing(answer["cards"]) == []
    # Without our closing phrase it is magnesium oxide still, and the card is back.
    drafted(body)["medicationCodeableConcept"] = {"text": text.partition(",")[0]}
    assert timing(ask(client, body))


HOURLY = takes("ciprofloxacin", *(f"{hour:02d}:00" for hour in range(24)))


@pytest.mark.parametrize(
    "drugs", [[LEVOTHYROXINE, *[takes("amlodipine")] * 40], [HOURLY] * 3], ids=["41 medicines", "504 doses a week"]
)
def test_more_than_one_plan_can_hold_is_said_and_not_planned(call, drugs: list[Any]) -> None:
    _, card = call(*drugs)
    assert "no day was planned, as there are more medicines or dose times than one plan can hold" in card["detail"]
    assert not has_plan_link(card) and written(card) == []
    assert update(card)["dosageInstruction"][0]["additionalInstruction"], "the drugs are kept apart all the same"


def test_as_much_as_one_plan_can_hold_is_planned(call) -> None:
    _, card = call(LEVOTHYROXINE, *[takes("amlodipine")] * 39)
    assert written(card) == ["12:30"] and has_plan_link(card)
