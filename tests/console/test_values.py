"""Values in force, and the forms that change one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cds_service.content.publishing import Proposal, Publishing
from cds_service.content.site_editing import pieces_of
from tests.console.editing import LOWER, changed, in_force, led_to, published, text_of
from tests.console.support import Visitor, visitor
from tests.test_site_exceptions import is_low, low_magnesium
from tests.test_site_values import LIMIT, site_of, write


def test_every_value_stands_with_its_unit_default_range_and_source(anna: Visitor) -> None:
    page = anna.get("/values?q=lower limit of serum")
    assert "Lower limit of serum magnesium" in text_of(page)
    assert "0.70 mmol/L" in text_of(page) and "0.60 to 0.85 mmol/L" in text_of(page)
    rows = anna.get("/values.json?show=all").json["values"]
    assert len(rows) > 100
    assert anna.get("/values.csv").status_code == 200
    found = anna.get("/values.json?q=lower limit of serum").json["values"]
    assert len(found) == 1 and found[0]["source"] and found[0]["by"] == ""


def test_a_value_that_was_set_says_by_whom_since_when_and_why(anna: Visitor, publishing: Publishing) -> None:
    document = LIMIT.format(value="1.6").replace("value: 1.6", "value: 1.6\n        unit: mg/dL")
    publishing.publish(Proposal(document, "Ben", "Our own interval"))
    assert in_force(anna.app) == "0.66"
    (row,) = anna.get("/values.json?show=own").json["values"]
    assert (row["shown"], row["by"]) == ("0.66 mmol/L (set as 1.6 mg/dL)", "Ben")
    assert row["since"].startswith("2026-11-21") and row["why"] == "Our laboratory's own interval"
    page = text_of(anna.get("/values/shared/lower_limit"))
    assert "Revision 1" in page and "0.70 mmol/L to 0.66 mmol/L" in page and "1.458 to 2.066 mg/dL" in page
    assert anna.get("/values/shared/none_such").status_code == 404


def test_urgent_rules_that_are_not_shown_stand_on_top(anna: Visitor, publishing: Publishing) -> None:
    rules = {"magnesium_with_dialysis": {"show": "silent", "reason": "The kidney unit has its own pathway"}}
    publishing.publish(Proposal(site_of(rules=rules), "Ben", "Own pathway"))
    in_force(anna.app)
    for path in ("/values", ""):
        assert "The kidney unit has its own pathway" in text_of(anna.get(path))


def test_where_a_file_rules_the_console_reads_and_says_where_to_edit(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    app = make_app(console=True, site=write(tmp_path / "ours.yaml", LIMIT.format(value="0.66")))
    anna = visitor(app, "anna")
    page = text_of(anna.get("/values"))
    assert "ours.yaml" in page and "0.66 mmol/L" in page and "the site file" in page
    for path in (LOWER, "/drafts/1", "/history/1", "/history/1/roll-back"):
        refused = anna.get(path)
        assert refused.status_code == 403 and "ours.yaml" in text_of(refused)
    assert anna.post("/drafts/begin", title="A draft").status_code == 403
    for path in ("/drafts", "/history"):
        assert "ours.yaml" in text_of(anna.get(path))


def test_a_change_goes_into_a_draft_and_from_there_onto_cards(anna: Visitor) -> None:
    draft = changed(anna, "1.9", "mg/dL")
    page = text_of(anna.get(draft))
    assert "1.9 mg/dL" in page and "0.70 mmol/L (default)" in page and "Own interval" in page
    assert in_force(anna.app) == "0.70" and not is_low(low_magnesium(anna.app.test_client(), 0.75))
    there = led_to(published(anna, draft))
    assert there.endswith("/history/1") and "is in force" in text_of(anna.get(there))
    assert in_force(anna.app) == "0.78" and is_low(low_magnesium(anna.app.test_client(), 0.75))
    assert "published" in text_of(anna.get(draft))
    actions = [(line.person, line.action) for line in reversed(anna.store.audit_lines())]
    assert actions[-2:] == [("anna", "draft begun"), ("anna", "revision published")]


@pytest.mark.parametrize(
    ("number", "unit", "words"),
    [
        ("0.2", "mmol/L", "outside the allowed range 0.60 to 0.85 mmol/L"),
        ("2.2", "mg/dL", "2.2 mg/dL is 0.91 mmol/L, which is outside the allowed range"),
        ("", "mmol/L", "Type a number."),
        ("low", "mmol/L", "Type a number, such as 0.66."),
        ("NaN", "mmol/L", "Type a number, such as 0.66."),
        ("0.66", "h", "Not a valid choice."),
    ],
)
def test_what_cannot_stand_in_a_field_is_said_at_the_field(number: str, unit: str, words: str, anna: Visitor) -> None:
    sent = anna.post(LOWER, number=number, unit=unit, draft="new", reason="Own interval", submit="x")
    assert sent.status_code == 400
    assert words in text_of(sent) and "There is something to put right" in text_of(sent)
    assert re.search(r'id="(number|unit)-error"', sent.text) and anna.store.drafts() == []


def test_a_change_without_a_reason_is_refused(anna: Visitor) -> None:
    sent = anna.post(LOWER, number="0.66", unit="mmol/L", draft="new", reason=" ", submit="x")
    assert sent.status_code == 400 and "Say why." in text_of(sent)


CHANGES = {
    "region": ({"region": "eu"}, ("region",), "eu"),
    "units.serum_magnesium": (
        {"unit": "mg/dL", "reason": "As printed"}, ("units", "serum_magnesium"),
        {"unit": "mg/dL", "reason": "As printed"},
    ),
    "schedule.breakfast": (
        {"told": "07:15", "reason": "Ours"}, ("schedule", "breakfast"), {"value": "07:15", "reason": "Ours"}
    ),
    "schedule.magnesium_spacing": (
        {"told": "300", "reason": "Ours"}, ("schedule", "magnesium_spacing"), {"value": 300, "reason": "Ours"}
    ),
    "repetition": (
        {"quiet": ["info", "warning"], "days": "7", "reason": "Too many"}, ("repetition",),
        {"not_again_at_signing": ["info", "warning"], "after_override_days": 7, "reason": "Too many"},
    ),
    "rules.rosuvastatin_timing.show": (
        {"show": "hidden", "reason": "Pharmacy"}, ("rules", "rosuvastatin_timing", "show"),
        {"show": "hidden", "reason": "Pharmacy"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_each_kind_of_value_has_its_form(key: str, anna: Visitor) -> None:
    fields, piece, wanted = CHANGES[key]
    assert anna.get(f"/change/{key}").status_code == 200
    led_to(anna.post(f"/change/{key}", draft="new", submit="x", **fields))
    (draft,) = anna.store.drafts()
    assert pieces_of(draft.document)[piece] == wanted
    again = anna.get(f"/change/{key}?draft={draft.id}").text
    assert "Back to the default" in again
    chosen = f"{draft.id}:{draft.version}"
    led_to(anna.post(f"/change/{key}", draft=chosen, default="x", **fields))
    assert piece not in pieces_of(anna.store.drafts()[0].document)


@pytest.mark.parametrize(
    ("key", "fields", "words"),
    [
        ("schedule.breakfast", {"told": "23:00", "reason": "Ours"}, "outside the allowed range"),
        ("schedule.breakfast", {"told": "soon", "reason": "Ours"}, "a time is written as"),
        ("rules.magnesium_with_dialysis.show", {"show": "hidden", "reason": "Ours"}, "Not a valid choice"),
        ("repetition", {"days": "100", "reason": "Ours"}, "0 to 90 days."),
        ("units.serum_magnesium", {"unit": "mg/L", "reason": "Ours"}, "Not a valid choice"),
    ],
)
def test_each_form_says_what_may_stand_in_it(key: str, fields: Any, words: str, anna: Visitor) -> None:
    sent = anna.post(f"/change/{key}", draft="new", submit="x", **fields)
    assert sent.status_code == 400 and words in text_of(sent)
    assert anna.store.drafts() == []


def test_what_has_no_form_is_not_there(anna: Visitor) -> None:
    for key in ("inputs.encounter", "rules.none_such.show", "rules.shared.show", "units.none", "codes.x", "site",
                "rules.shared.thresholds.adult_age"):  # fmt: skip
        assert anna.get(f"/change/{key}").status_code == 404, key


def test_a_reason_that_nobody_sees_is_none(anna: Visitor) -> None:
    sent = anna.post(LOWER, number="0.66", unit="mmol/L", draft="new", reason="\u200b\u200b\u200b", submit="x")
    assert sent.status_code == 400 and "Say why." in text_of(sent) and anna.store.drafts() == []
