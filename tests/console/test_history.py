"""Revisions: for a time, compared, withdrawn, put in force again, and never taken back unseen."""

from __future__ import annotations

import re
from datetime import timedelta

from flask import Flask

from cds_service.content.publishing import Proposal, Publishing
from tests.console.conftest import Clock
from tests.console.editing import changed, in_force, led_to, published, rolled_back, text_of
from tests.console.support import Visitor, visitor
from tests.test_site_values import LIMIT


def test_a_draft_for_a_time_waits_and_is_withdrawn(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    when = {"begins": "2026-12-01T08:00", "ends": "2026-11-01T08:00"}
    sent = anna.post(draft, version="1", title="A lower limit", reason="Own interval", save="x", **when)
    assert sent.status_code == 400 and "The end is not after the beginning." in text_of(sent)
    when["ends"] = ""
    led_to(anna.post(draft, version="1", title="A lower limit", reason="Own interval", save="x", **when))
    there = led_to(published(anna, draft))
    assert "comes into force at 2026-12-01 08:00 UTC" in text_of(anna.get(there)) and in_force(anna.app) == "0.70"
    assert "waiting" in text_of(anna.get("/history"))
    led_to(anna.post("/history/1/withdraw"))
    assert "withdrawn" in text_of(anna.get("/history/1"))
    ben = visitor(anna.app, "ben")
    led_to(ben.post("/history/1/withdraw"))
    assert "revision 1 is withdrawn already, by anna." in text_of(ben.get("/history/1"))


def test_values_with_an_end_are_never_kept_for_ever_unseen(anna: Visitor, publishing: Publishing, clock: Clock) -> None:
    end = clock.now + timedelta(hours=1)
    publishing.publish(Proposal(LIMIT.format(value="0.80"), "Ben", "While the analyser is repaired", ends=end))
    draft = led_to(anna.post("/change/region", draft="new", region="eu", submit="x"))
    led_to(anna.post(draft, version="1", title="Region", reason="European products", save="x"))
    kept = "0.80 mmol/L until 2026-11-21 10:30 UTC, then 0.70 mmol/L (default) 0.80 mmol/L for ever"
    warned = "and longer in force with this draft: Name of this site; Lower limit of serum magnesium"
    for path in (draft, f"{draft}/publish"):
        page = text_of(anna.get(path))
        assert kept in page and warned in page, path
    key = ["rules", "shared", "thresholds", "lower_limit"]
    led_to(anna.post(f"{draft}/undo", version="2", key=key))
    page = text_of(anna.get(draft))
    assert (
        "then 0.70 mmol/L (default) 0.70 mmol/L (default)" in page
        and "longer in force with this draft: Name of this site." in page
    )
    led_to(anna.post(f"{draft}/undo", version="3", key=key))
    led_to(published(anna, draft))
    assert "0.80 mmol/L for ever" in text_of(anna.get("/history/2"))
    clock.on(hours=2)
    assert in_force(anna.app) == "0.80"


def test_any_two_revisions_are_compared_and_one_is_put_in_force_again(anna: Visitor, publishing: Publishing) -> None:
    for value in ("0.66", "0.62"):
        publishing.publish(Proposal(LIMIT.format(value=value), "Ben", f"Limit {value}"))
    page = text_of(anna.get("/history/compare?old=1&new=2"))
    assert "Lower limit of serum magnesium" in page and "0.66 mmol/L" in page and "0.62 mmol/L" in page
    assert "No difference" in text_of(anna.get("/history/compare?old=1&new=1"))
    assert anna.get("/history/compare?old=1&new=7").status_code == 404
    confirm = text_of(anna.get("/history/1/roll-back"))
    assert "gives none: 0.62 mmol/L → 0.66 mmol/L" in confirm and in_force(anna.app) == "0.62"
    assert rolled_back(anna, 1, "").status_code == 400
    assert led_to(rolled_back(anna, 1, "Too few cards")).endswith("/history/3")
    assert in_force(anna.app) == "0.66"
    assert anna.get("/history/1.yaml").text == LIMIT.format(value="0.66")
    assert [row["number"] for row in anna.get("/history.json").json["history"]] == [3, 2, 1]


def test_a_revision_that_came_while_somebody_rolls_back_is_never_overwritten_unseen(
    anna: Visitor, publishing: Publishing
) -> None:
    for value in ("0.66", "0.62"):
        publishing.publish(Proposal(LIMIT.format(value=value), "Ben", f"Limit {value}"))
    assert "0.62 mmol/L → 0.66 mmol/L" in text_of(anna.get("/history/1/roll-back"))
    publishing.publish(Proposal(LIMIT.format(value="0.64"), "Cleo", "Reviewed once more"))
    sent = rolled_back(anna, 1, "Too few cards", based_on="2")
    page = text_of(sent)
    assert sent.status_code == 409 and "revision 3 was published since 2" in page and in_force(anna.app) == "0.64"
    assert "0.64 mmol/L → 0.66 mmol/L" in page and "Too few cards" in page
    again = re.findall(r'name="based_on"[^>]*value="(\d+)"', sent.text)[0]
    assert led_to(rolled_back(anna, 1, "Too few cards", based_on=again)).endswith("/history/4")
    assert in_force(anna.app) == "0.66"


def test_so_it_is_where_it_becomes_a_draft(second: Flask) -> None:
    anna, ben = (visitor(second, name) for name in ("anna", "ben"))
    for number, value in enumerate(("0.66", "0.62"), 1):
        draft = changed(anna, value)
        led_to(ben.post(f"{draft}/approve", version=1))
        assert led_to(published(ben, draft)).endswith(f"/history/{number}")
    sent = rolled_back(anna, 1, "Too few cards", based_on="1")
    assert sent.status_code == 409 and "revision 2 was published since 1" in text_of(sent)
    assert anna.store.drafts() == []


def test_the_revision_in_force_is_taken_back_and_the_first_gives_way_to_what_ships(
    anna: Visitor, publishing: Publishing
) -> None:
    for value in ("0.66", "0.62"):
        publishing.publish(Proposal(LIMIT.format(value=value), "Ben", f"Limit {value}"))
    assert "Take it back, to revision 1" in text_of(anna.get("/history/2"))
    led_to(rolled_back(anna, 1, "Too few cards"))
    assert "Take it back, to revision 2" in text_of(anna.get("/history/3"))
    confirm = text_of(anna.get("/history/0/roll-back"))
    assert "Put the values as they ship in force again?" in confirm and "0.66 mmol/L → 0.70 mmol/L" in confirm
    led_to(rolled_back(anna, 0, "Nothing of our own any more"))
    assert in_force(anna.app) == "0.70"
    assert anna.get("/history/0").status_code == 404 and anna.get("/history/9/roll-back").status_code == 404


def test_the_first_revision_leads_to_the_values_as_they_ship(anna: Visitor, publishing: Publishing) -> None:
    publishing.publish(Proposal(LIMIT.format(value="0.66"), "Ben", "Limit"))
    page = anna.get("/history/1")
    assert "Take it back, to the values as they ship" in text_of(page) and "/history/0/roll-back" in page.text
