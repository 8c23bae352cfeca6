"""Values in force, and the way of a change: a form, a draft, an approval, a card; two editors; taken back."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cds_service.content.publishing import Proposal, Publishing
from cds_service.content.site_editing import pieces_of
from tests.console.conftest import Clock
from tests.console.support import Visitor, visitor
from tests.test_site_exceptions import is_low, low_magnesium
from tests.test_site_values import LIMIT, site_of, write

LOWER = "/change/rules.shared.thresholds.lower_limit"


@pytest.fixture
def publishing(console: Flask) -> Publishing:
    advisor = console.extensions["advisor"]
    return Publishing(advisor.store, advisor.current.library, advisor.current.input_keys, now=advisor.now)


@pytest.fixture
def second(make_app: Callable[..., Flask]) -> Flask:
    """A console where nobody publishes alone."""
    return make_app(console=True, managed_by="console", second_person=True)


def text_of(page: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))


def led_to(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def changed(who: Visitor, value: str, unit: str = "mmol/L", draft: str = "new", reason: str = "Own interval") -> str:
    """The address of the draft into which the lower limit was put."""
    sent = who.post(LOWER, number=value, unit=unit, draft=draft, reason=reason, submit="Put into the draft")
    return led_to(sent)


def version_in(page: str) -> str:
    return re.findall(r'name="version"[^>]*value="(\d+)"', page)[0]


def published(who: Visitor, draft: str) -> Any:
    version = version_in(who.get(draft).text)
    return who.post(f"{draft}/publish", version=version)


def rolled_back(who: Visitor, number: int, reason: str, based_on: str = "") -> Any:
    """Put back from the page as it is now, or as it was at the revision `based_on`."""
    page = who.get(f"/history/{number}/roll-back").text
    based_on = based_on or re.findall(r'name="based_on"[^>]*value="(\d+)"', page)[0]
    return who.post(f"/history/{number}/roll-back", reason=reason, based_on=based_on, submit="x")


def in_force(app: Flask) -> str:
    advisor = app.extensions["advisor"]
    advisor.current._looked = 0  # as a second later
    return str(advisor.current.on(advisor.now().date()).limit("lower_limit"))


# Looking.


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


# A change.


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


def test_a_change_in_a_draft_is_undone(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    led_to(anna.post("/change/region", draft="1:1", region="eu", submit="x"))
    page = anna.get(draft)
    fields = {"version": "2", "key": ["rules", "shared", "thresholds", "lower_limit"]}
    led_to(anna.post(f"{draft}/undo", **fields))
    assert "region: eu" in anna.store.drafts()[0].document and "lower_limit" not in anna.store.drafts()[0].document
    assert page.text.count("Undo") == 2


def test_the_whole_document_as_text_has_the_same_checks(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    page = anna.get(f"{draft}/text")
    assert "value: 0.66" in html.unescape(page.text)
    bad = LIMIT.format(value="0.20") + "  none_such:\n    show: silent\n"
    sent = anna.post(f"{draft}/text", version="1", document=bad, submit="x")
    told = text_of(sent)
    assert sent.status_code == 400 and "2 things to put right" in told
    assert "Line 6" in told and "0.60 to 0.85" in told and "no rule none_such" in told
    assert "none_such" in html.unescape(sent.text.partition("<textarea")[2]), "what was typed is still there"
    good = f"# ours\n{LIMIT.format(value='0.64')}"
    led_to(anna.post(f"{draft}/text", version="1", document=good, submit="x"))
    assert anna.store.drafts()[0].document == good


@pytest.mark.parametrize("end", ["published", "discarded"])
def test_what_was_typed_into_a_draft_that_was_closed_meanwhile_is_not_lost(end: str, console: Flask) -> None:
    anna, ben = visitor(console, "anna"), visitor(console, "ben")
    draft = changed(anna, "0.66")
    typed = f"# three hours of work\n{LIMIT.format(value='0.64')}"
    if end == "published":
        led_to(published(ben, draft))
    else:
        led_to(ben.post(f"{draft}/discard", version="1"))
    words = {"published": "published as revision 1", "discarded": "discarded by ben"}[end]
    for path, fields in (
        ("text", {"document": typed, "submit": "x"}),
        ("together", {"met": "draft", "from": "1", "yours": typed}),
    ):
        sent = anna.post(f"{draft}/{path}", version="1", **fields)
        assert sent.status_code == 409 and words in text_of(sent), path
        assert typed in html.unescape(sent.text), path
    assert anna.get(f"{draft}/text").status_code == 404 and led_to(anna.get(f"{draft}/together")).endswith(draft)


def test_text_that_is_no_yaml_is_given_back_where_two_editors_met(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    changed(anna, "0.64", draft="1:1")
    fields = {"met": "draft", "version": "2", "from": "1", "yours": "site: [mine"}
    sent = anna.post(f"{draft}/together", **fields)
    assert sent.status_code == 409 and "site: [mine" in sent.text and "Line 2: not YAML" in text_of(sent)


# Two persons.


def test_where_a_second_person_is_asked_for_somebody_else_approves(second: Flask) -> None:
    anna, ben, cleo = (visitor(second, name, ("editor", "approver")) for name in ("anna", "ben", "cleo"))
    draft = changed(anna, "0.66")
    led_to(anna.post(f"{draft}/approve", version="1"))
    assert "does not approve it" in text_of(anna.get(draft))
    assert "has to approve this draft" in text_of(anna.get(led_to(published(anna, draft))))
    led_to(ben.post(f"{draft}/approve", version="1"))
    assert "approved by ben" in text_of(anna.get(draft))
    changed(anna, "0.64", draft="1:1")
    assert "approved by ben" not in text_of(anna.get(draft)), "an edit ends it"
    assert led_to(published(cleo, draft)).endswith(draft) and in_force(second) == "0.70"
    led_to(cleo.post(f"{draft}/approve", version="2"))
    assert led_to(published(cleo, draft)).endswith("/history/1")
    assert in_force(second) == "0.64"
    page = text_of(anna.get("/history/1"))
    assert "Approved by cleo" in page
    rolled = led_to(rolled_back(anna, 1, "As it was"))
    assert "/drafts/" in rolled and "Somebody else has to approve it" in text_of(anna.get(rolled))


@pytest.mark.parametrize(
    ("roles", "second_person", "may"),
    [
        (("viewer",), False, ()),
        (("editor",), False, ("change", "publish")),
        (("editor",), True, ("change",)),
        (("approver",), False, ("approve", "publish")),
        (("approver",), True, ("approve", "publish")),
    ],
)
def test_each_role_does_its_part(
    roles: tuple[str, ...], second_person: bool, may: tuple[str, ...], make_app: Callable[..., Flask]
) -> None:
    app = make_app(console=True, managed_by="console", second_person=second_person)
    draft = changed(visitor(app, "anna"), "0.66")
    ben = visitor(app, "ben", roles)
    for path in ("/values", "/values/shared/lower_limit", "/drafts", draft, "/history"):
        assert ben.get(path).status_code == 200, path
    for path in (LOWER, f"{draft}/text"):
        assert ben.get(path).status_code == (200 if "change" in may else 403), path
    tries = {
        "change": [(f"{draft}/undo", {"version": "1", "key": ["site"]}), (f"{draft}/discard", {"version": "9"}),
                   (LOWER, {}), ("/drafts/begin", {"title": "Another draft"}), (draft, {"version": "9"})],
        "approve": [(f"{draft}/approve", {"version": "9"})],
        "publish": [(f"{draft}/publish", {"version": "9"}), ("/history/1/withdraw", {})],
    }  # fmt: skip
    for right, asked in tries.items():
        for path, fields in asked:
            refused = ben.post(path, **fields).status_code == 403
            assert refused is (right not in may), (path, roles)


def test_two_editors_are_shown_all_three_and_lose_nothing(console: Flask) -> None:
    anna, ben = visitor(console, "anna"), visitor(console, "ben")
    draft = changed(anna, "0.66")
    changed(ben, "0.64", draft="1:1", reason="Too many cards")
    met = anna.post(LOWER, number="0.62", unit="mmol/L", draft="1:1", reason="Mine", submit="x")
    told = text_of(met)
    assert met.status_code == 409 and "Two changes met" in told and "ben saved this draft" in told
    for value in ("0.66 mmol/L", "0.64 mmol/L", "0.62 mmol/L"):
        assert value in told
    yours = html.unescape(met.text.partition('<textarea name="yours" hidden>\n')[2].partition("</textarea>")[0])
    fields = {"met": "draft", "version": "2", "from": "1", "yours": yours}
    again = anna.post(f"{draft}/together", **fields)
    assert again.status_code == 409 and "Choose one side" in text_of(again)
    led_to(anna.post(f"{draft}/together", **fields, **{"take rules.shared.thresholds.lower_limit": "yours"}))
    (kept,) = anna.store.drafts()
    assert "0.62" in kept.document and kept.authors == ("anna", "ben") and kept.version == 3


def test_a_draft_that_began_before_another_revision_is_brought_together(console: Flask, publishing: Publishing) -> None:
    anna = visitor(console, "anna")
    draft = changed(anna, "0.66")
    led_to(anna.post("/change/region", draft="1:1", region="eu", submit="x"))
    publishing.publish(Proposal(LIMIT.format(value="0.64"), "Ben", "Too many cards"))
    assert "was published since this draft began" in text_of(anna.get(draft))
    met = published(anna, draft)
    assert met.status_code == 409 and "0.64 mmol/L" in text_of(met) and "0.66 mmol/L" in text_of(met)
    take = {"take rules.shared.thresholds.lower_limit": "theirs"}
    led_to(anna.post(f"{draft}/together", met="revision", version="2", newest="1", **take))
    assert led_to(published(anna, draft)).endswith("/history/2")
    assert in_force(console) == "0.64" and console.extensions["advisor"].current.site.region == "eu"


# Times, history, back.


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


def test_a_draft_is_discarded(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    led_to(anna.post(f"{draft}/discard", version="1"))
    assert anna.store.drafts() == [] and "discarded" in text_of(anna.get(draft))
    assert anna.post(f"{draft}/publish", version="1").status_code == 303 and in_force(anna.app) == "0.70"


def test_what_no_database_takes_is_no_database_that_is_away(either: Callable[..., Flask]) -> None:
    anna = visitor(either(), "anna")
    draft = changed(anna, "0.66")
    for path in ("/drafts/99999999999999999999", "/history/99999999999999999999", "/people/an%00na"):
        assert anna.get(path).status_code == 404, path
    for path in ("/log?person=an%00na", "/rules?q=%00"):
        assert anna.get(path).status_code == 400, path
    sent = anna.post(draft, version="1", title="A lower limit", reason="Own\0interval", save="x")
    assert sent.status_code == 400 and "NUL" in text_of(sent)
    sent = anna.post(f"{draft}/approve", version="99999999999999999999")
    assert sent.status_code in (303, 400), "SQLite knows no limit, and no such version"


def test_a_reason_that_nobody_sees_is_none(anna: Visitor) -> None:
    sent = anna.post(LOWER, number="0.66", unit="mmol/L", draft="new", reason="\u200b\u200b\u200b", submit="x")
    assert sent.status_code == 400 and "Say why." in text_of(sent) and anna.store.drafts() == []


def test_who_may_publish_alone_is_not_told_to_ask_somebody(anna: Visitor, second: Flask) -> None:
    words = "somebody else has to approve it"
    assert words not in text_of(anna.get(changed(anna, "0.66")))
    ben = visitor(second, "ben")
    assert words in text_of(ben.get(changed(ben, "0.66")))


def test_a_beginning_that_is_over_is_at_once(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    for version, begins, words in (("1", "2020-01-01T08:00", "in force on every server within five seconds"),
                                   ("2", "2026-12-01T08:00", "comes into force at 2026-12-01 08:00")):  # fmt: skip
        led_to(anna.post(draft, version=version, title="A limit", reason="Own interval", save="x", begins=begins))
        assert words in text_of(anna.get(f"{draft}/publish"))


def test_words_of_a_person_are_shown_as_words(anna: Visitor) -> None:
    evil = "<script>alert(1)</script>"
    draft = changed(anna, "0.66", reason=evil)
    led_to(anna.post(draft, version="1", title=evil, reason=evil, save="x"))
    led_to(published(anna, draft))
    for path in (draft, "/drafts", "/history", "/history/1", "/values/shared/lower_limit", ""):
        assert evil not in anna.get(path).text, path


def test_what_a_preview_found_stands_on_the_draft_and_goes_into_the_revision(anna: Visitor) -> None:
    draft = changed(anna, "0.62")
    ask = anna.get("/preview?draft=1")
    assert re.search(r'<option selected value="draft:1">', ask.text) and "/preview?draft=1" in anna.get(draft).text
    sent = anna.post("/preview", what="draft:1", against="in force", cohort="samples", show="x")
    assert sent.status_code == 200, text_of(sent)
    assert draft in sent.text, "the way back"
    assert "interruptive" in text_of(anna.get(draft)) and "10 patients" in text_of(anna.get(draft))
    led_to(published(anna, draft))
    (revision,) = anna.store.revisions()
    assert revision.effect is not None and revision.effect["charts"] == 10
    assert "10 patients" in text_of(anna.get("/history/1"))
