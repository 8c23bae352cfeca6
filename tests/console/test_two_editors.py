"""Two editors met: what both typed stands side by side, and nothing of it is lost."""

from __future__ import annotations

import html
import re

from flask import Flask

from cds_service.content.publishing import Proposal, Publishing
from tests.console.editing import LOWER, changed, in_force, led_to, published, text_of
from tests.console.support import Visitor, visitor
from tests.test_site_values import LIMIT


def test_text_that_is_no_yaml_is_given_back_where_two_editors_met(anna: Visitor) -> None:
    draft = changed(anna, "0.66")
    changed(anna, "0.64", draft="1:1")
    fields = {"met": "draft", "version": "2", "from": "1", "yours": "site: [mine"}
    sent = anna.post(f"{draft}/together", **fields)
    assert sent.status_code == 409 and "site: [mine" in sent.text and "Line 2: not YAML" in text_of(sent)


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


def test_a_reason_that_met_another_edit_is_saved_once_more_from_the_page_that_says_so(console: Flask) -> None:
    anna, ben = visitor(console, "anna"), visitor(console, "ben")
    draft = changed(anna, "0.66")
    changed(ben, "0.64", draft="1:1")
    fields = {"title": "A lower limit", "reason": "Typed by Anna", "save": "x"}
    met = anna.post(draft, version="1", **fields)
    assert met.status_code == 400 and "save once more" in text_of(met)
    version = re.findall(r'id="version" name="version"[^>]*value="(\d+)"', met.text)[0]  # of this form alone
    led_to(anna.post(draft, version=version, **fields))
    assert anna.store.drafts()[0].reason == "Typed by Anna"
