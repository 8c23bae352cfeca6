"""The way of a change: a draft, an approval, a card; and what becomes of what was typed."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import NOW
from tests.console.editing import LOWER, changed, in_force, led_to, published, rolled_back, text_of
from tests.console.support import Visitor, visitor
from tests.test_site_values import LIMIT


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


def test_a_draft_is_discarded(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    led_to(anna.post(f"{draft}/discard", version="1"))
    assert anna.store.drafts() == [] and "discarded" in text_of(anna.get(draft))
    assert anna.post(f"{draft}/publish", version="1").status_code == 303 and in_force(anna.app) == "0.70"


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


TYPED = {"title": "\u2067حد أدنى\u2069 of the ward 🧪", "reason": "Three lines\r\nof <b>reasons</b>\r\n, typed",
         "begins": "2026-12-01T08:00", "ends": "soon"}  # fmt: skip


@pytest.mark.parametrize("end", ["published", "discarded"])
def test_a_title_and_a_reason_typed_on_a_draft_that_was_closed_meanwhile_come_back(end: str, console: Flask) -> None:
    anna, ben = visitor(console, "anna"), visitor(console, "ben")
    draft = changed(anna, "0.66")
    if end == "published":
        led_to(published(ben, draft))
    else:
        led_to(ben.post(f"{draft}/discard", version="1"))
    sent = anna.post(draft, version="1", save="x", **TYPED)
    told = {"published": "published as revision 1", "discarded": "discarded by ben"}[end]
    assert sent.status_code == 409 and told in text_of(sent)
    labels = ("What is it about?", "Reason", "In force from", "In force until")
    for label, text in zip(labels, TYPED.values(), strict=True):
        assert text_of(sent).count(label) == 1
        assert f">\n{html.escape(text)}</textarea>" in sent.text
    assert draft in sent.text, "the way back"


def test_a_draft_that_is_closed_while_it_is_saved_gives_back_what_was_typed(anna: Visitor) -> None:
    """Between the look at the draft and the writing."""
    draft = changed(anna, "0.66")
    store, save = anna.store, anna.store.save_draft

    def late(*words: Any, **more: Any) -> Any:
        store.discard_draft(1, 1, "ben", NOW)
        return save(*words, **more)

    store.save_draft = late  # type: ignore[method-assign]
    sent = anna.post(draft, version="1", title="A lower limit", reason="Typed with care", save="x")
    assert sent.status_code == 409 and "discarded by ben" in text_of(sent) and "Typed with care" in text_of(sent)
