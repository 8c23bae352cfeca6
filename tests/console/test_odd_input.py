"""What is no number, no choice and no text: refused in plain words, on each kind of database."""

from __future__ import annotations

import html
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from cds_service.store.engine import FILE_NAME
from tests.console.editing import LOWER, changed, text_of
from tests.console.support import Visitor, visitor


def test_what_no_database_takes_is_no_database_that_is_away(either: Callable[..., Flask]) -> None:
    anna = visitor(either(), "anna")
    draft = changed(anna, "0.66")
    for path in (
        "/drafts/99999999999999999999",
        "/history/99999999999999999999",
        "/people/an%00na",
        "/history/-1",
        "/history/%D9%A1",
        "/alarms/2147483648",
        "/history/1e1",
        "/drafts/" + "9" * 5000,
    ):
        assert anna.get(path).status_code == 404, path
    for path in ("/log?person=an%00na", "/rules?q=%00"):
        assert anna.get(path).status_code == 400, path
    sent = anna.post(draft, version="1", title="A lower limit", reason="Own\0interval", save="x")
    assert sent.status_code == 400 and "NUL" in text_of(sent)
    sent = anna.post(f"{draft}/approve", version="99999999999999999999")
    assert sent.status_code in (303, 400), "SQLite knows no limit, and no such version"


BIG = "99999999999999999999"
ADDRESSES = [
    *(f"/rules{kind}?{asked}" for kind in ("", ".csv")
      for asked in (f"days={BIG}", "days=-7", "sort=no", "state=no")),
    "/rules?days=%D9%A7", "/rules/low_serum_magnesium?days=12", "/data-quality?days=1e1",
    f"/data-quality/inputs.csv?days={BIG}",
    "/comments?rule=none_such", "/comments.json?rule=none_such", "/values?client=nobody", "/values.csv?encounter=no",
    "/values?show=no", f"/history/compare?old={BIG}&new=0", "/history/compare?old=-1&new=0", "/history/compare?old=x",
    f"/log?below={BIG}", "/log?below=-1", "/log.csv?below=²", "/log?since=10%5E20", f"/log?until={BIG}",
    "/log.csv?since=2026-13-01", "/log.json?until=tomorrow",
]  # fmt: skip


def test_an_address_that_asks_for_what_cannot_be_is_refused_and_shows_nothing_else(
    either: Callable[..., Flask],
) -> None:
    anna = visitor(either(), "anna")
    for address in ADDRESSES:
        answer = anna.get(address)
        assert (answer.status_code, answer.content_type) == (400, "text/html; charset=utf-8"), address
    told = text_of(anna.get("/rules?days=12"))
    assert "This address names a days that is not there: it is 7, 28, 90, 365." in told
    assert anna.get("/rules?days=&state=&sort=").status_code == 200, "a filter left empty is none"


@pytest.mark.parametrize("number", [BIG, "-1", "9" * 5000, "²", "٣", "1.0", "", "1:1"])
def test_an_odd_number_in_a_form_changes_nothing_and_loses_nothing(number: str, either: Callable[..., Flask]) -> None:
    app = either()
    anna = visitor(app, "anna")
    draft = changed(anna, "0.66")
    typed = "Typed with care"
    sent = [
        anna.post(draft, version=number, title="A lower limit", reason=typed, save="x"),
        anna.post(LOWER, number="0.64", unit="mmol/L", draft=f"{number}:1", reason=typed, submit="x"),
        anna.post(LOWER, number="0.64", unit="mmol/L", draft=f"1:{number}", reason=typed, submit="x"),
        anna.post(f"{draft}/text", version=number, document=f"# {typed}\nsite: here\n", submit="x"),
        anna.post(f"{draft}/together", **{"met": "draft", "version": "1", "from": number, "yours": f"# {typed}"}),
        anna.post("/history/0/roll-back", based_on=number, reason=typed, submit="x"),
    ]
    for one in sent:
        assert one.status_code in (400, 409) and typed in html.unescape(one.text), (one.status_code, text_of(one))
    for what in ("approve", "discard", "publish", "undo"):
        assert anna.post(f"{draft}/{what}", version=number).status_code == 303
    (kept,) = anna.store.drafts()
    assert (kept.version, kept.approved, anna.store.revisions()) == (1, False, [])


def test_what_the_database_refuses_although_it_was_checked_is_our_fault(anna: Visitor, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as database:
        database.execute("CREATE TRIGGER t BEFORE INSERT ON drafts BEGIN SELECT RAISE(ABORT, 'no drafts'); END")
    sent = anna.post("/drafts/begin", title="A lower limit", submit="x")
    assert sent.status_code == 500 and "Something went wrong on our side" in text_of(sent)
    assert "no drafts" not in sent.text
