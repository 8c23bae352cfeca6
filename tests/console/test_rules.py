"""The pages on what rules do: numbers as they were counted, in plain words, every table as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask

from cds_service.sandbox.scenario import scenario_file
from cds_service.store import NewRevision
from tests.console.browser import DESKTOP, FAULTS_ALONE, PHONE, chromium, served, sign_in, tab
from tests.console.support import Visitor, person, visitor
from tests.console.watch_support import BUSY, SELDOM, STOPPED, lived_in

PAGES = (
    "", "/rules", "/rules?state=review&sort=overridden", f"/rules/{STOPPED}", f"/rules/{BUSY}", f"/rules/{SELDOM}",
    "/alarms", "/alarms/1", "/canaries", "/data-quality", "/data-quality?days=28&client=north-ehr", "/comments",
    "/report", "/report/2026-11", "/report/2026-10",
)  # fmt: skip


@pytest.fixture(scope="module")
def hospital(make_app: Callable[..., Flask]) -> Flask:
    """A service with three months behind it."""
    return lived_in(make_app(console=True, managed_by="console"))


@pytest.fixture(scope="module")
def ida(hospital: Flask) -> Visitor:
    """An editor."""
    return visitor(hospital, "ida", ("editor",))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_for_who_may_see_it(ida: Visitor, hospital: Flask, path: str) -> None:
    answer = ida.get(path)
    assert answer.status_code == 200, answer.text
    assert visitor(hospital).get(path).status_code == 303, "nobody else"


def test_the_page_of_a_rule_names_its_patients_and_what_was_changed_of_it_and_of_the_limits_that_it_shares(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(console=True, managed_by="console")
    document = "site: A\nrules:\n  shared:\n    thresholds: {lower_limit: {value: 0.75, reason: our laboratory}}\n"
    now = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    change = {"key": "shared.lower_limit", "old": "0.70 mmol/L", "new": "0.75 mmol/L"}
    made = NewRevision(document, "d", "otto", "asked by the ward", now, now, 0, changes=(change,))
    assert not isinstance(app.extensions["advisor"].store.publish(made), str)
    reader = visitor(app, "vera", ("viewer",))
    text = reader.get("/rules/low_serum_magnesium").text
    assert "asked by the ward" in text and "shared.lower_limit: 0.70 mmol/L to 0.75 mmol/L" in text
    first = scenario_file("low_serum_magnesium").scenarios[0]
    assert first.name in text and "says what it could not check" in text
    assert "asked by the ward" not in reader.get("/rules/levothyroxine_timing").text


def test_the_list_of_rules_shows_those_that_did_something_and_names_the_others_beneath(ida: Visitor) -> None:
    text = ida.get("/rules").text
    table, _, beneath = text.partition("<details")
    assert f"/rules/{STOPPED}" in table and "/rules/low_serum_magnesium" not in table
    assert "/rules/low_serum_magnesium" in beneath and "did not fire in these days" in beneath
    asked = ida.get("/rules?q=low serum magnesium").text
    assert "/rules/low_serum_magnesium" in asked and "<details" not in asked


def test_every_page_of_a_service_on_which_nothing_happened_says_what_would_be_there(anna: Visitor) -> None:
    for path in (
        "",
        "/rules",
        f"/rules/{BUSY}",
        "/alarms",
        "/canaries",
        "/data-quality",
        "/comments",
        "/report/2026-11",
    ):
        answer = anna.get(path)
        assert answer.status_code == 200, path
    assert "No call was counted" in anna.get("/rules").text
    assert "Nothing is to be done" in anna.get("/alarms").text
    assert "too few to say" not in anna.get(f"/rules/{BUSY}").text


def test_the_list_says_in_words_what_is_quiet_and_since_when(ida: Visitor) -> None:
    page = ida.get("/rules").text
    assert "quiet for 30 hours (usual 15" in page or "quiet for 30 hours (usual 16" in page
    assert "2.00 per 100" not in page
    assert "more than nine in ten are overridden" in page


def test_lists_are_sorted_and_filtered_by_their_address(ida: Visitor) -> None:
    def rules(query: str) -> list[str]:
        return [row["rule"] for row in json.loads(ida.get(f"/rules.json?{query}").data)["rules"]]

    assert rules("")[:2] == [BUSY, STOPPED]
    assert rules("state=review") == [BUSY]
    assert rules("q=levothyrox") == [BUSY]
    assert rules("sort=overridden")[0] == BUSY
    assert rules("sort=last")[0] == SELDOM, "of those that ever fired, the one that is silent for longest"


def test_numbers_of_a_client_are_its_own(ida: Visitor) -> None:
    def fired(query: str) -> int:
        rows = json.loads(ida.get(f"/rules.json?days=7&{query}").data)["rules"]
        return next(int(row["fired"]) for row in rows if row["rule"] == BUSY)

    assert fired("") == fired("client=north-ehr") + fired("client=south-ehr")
    assert fired("client=nobody") == 0


def test_tables_are_files_too_and_no_spreadsheet_computes_a_comment(ida: Visitor) -> None:
    for path in ("/rules.csv", "/alarms.csv", "/canaries.csv", "/data-quality/inputs.csv", "/report/2026-11/rules.csv"):
        rows = list(csv.DictReader(io.StringIO(ida.get(path).data.decode("utf-8-sig"))))
        assert rows, path
    table = list(csv.DictReader(io.StringIO(ida.get("/comments.csv").data.decode("utf-8-sig"))))
    assert "'=The patient takes it at night" in [row["Written"] for row in table]
    assert ida.get("/data-quality/nonsense.csv").status_code == 404
    assert ida.get("/report/2026-13").status_code == 404


def test_a_rules_page_says_where_its_numbers_come_from(ida: Visitor) -> None:
    page = ida.get("/rules/low_serum_magnesium").text
    for words in (
        "Why this number",
        "0.60 to 0.85",
        "mmol/L",
        "Magnesium far below every limit",
        "/evidence/low_serum_magnesium",
    ):
        assert words in page, words
    missing = ida.get("/rules/no_such_rule")
    assert missing.status_code == 404 and "Answer 404." in missing.text


def test_the_sparkline_is_a_picture_without_script(ida: Visitor) -> None:
    answer = ida.get(f"/rules/{BUSY}/firings.svg")
    assert answer.content_type.startswith("image/svg+xml")
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_an_alarm_is_seen_to_once_with_what_came_of_it_and_written_down(hospital: Flask, ida: Visitor) -> None:
    number = next(alarm.id for alarm in ida.store.open_alarms() if alarm.subject == STOPPED)
    assert "stopped firing" in ida.get("").text
    viewer = visitor(hospital, "vera", ("viewer",))
    assert viewer.post(f"/alarms/{number}", reason="I may not").status_code == 403
    assert ida.post(f"/alarms/{number}", reason="").status_code == 400
    assert ida.post(f"/alarms/{number}", reason="The ward was closed").status_code == 303
    assert "The ward was closed" in ida.get(f"/alarms/{number}").text
    assert ida.post(f"/alarms/{number}", reason="The ward was closed").status_code == 303, "sent twice"
    assert "It is written down already" in ida.get(f"/alarms/{number}").text
    assert ida.post(f"/alarms/{number}", reason="Something else").status_code == 409
    again = visitor(hospital, "egon", ("editor",))
    late = again.post(f"/alarms/{number}", reason="Mine")
    assert late.status_code == 409 and "Somebody else saw to this alarm before you" in late.text
    assert ">\nMine</textarea>" in late.text, "what was typed comes back"
    assert "The ward was closed" in again.get(f"/alarms/{number}").text
    assert "Mine" not in again.get(f"/alarms/{number}").text
    assert ida.post("/alarms/4711", reason="Which?").status_code == 404


def test_comments_are_for_editors_and_a_setting_closes_them(hospital: Flask, make_app: Callable[..., Flask]) -> None:
    viewer = visitor(hospital, "vito", ("viewer",))
    assert viewer.get("/comments").status_code == 403
    assert "takes it at night" not in viewer.get(f"/rules/{SELDOM}").text
    editor = visitor(hospital, "edda", ("editor",))
    page = editor.get("/comments").text
    assert "takes it at night" in page
    assert "<script>alert" not in page, "A52"
    closed = make_app(console=True, managed_by="console", comments_in_console=False)
    told = visitor(closed, "anna").get("/comments").text
    assert "Closed by a setting" in told


def test_the_report_of_a_month_tells_what_its_tables_tell(ida: Visitor) -> None:
    page = ida.get("/report/2026-11").text
    for words in ("Magnesium advice in November 2026", "The month is not over", "Why cards were overridden", "Alarms"):
        assert words in page, words
    rows = json.loads(ida.get("/report/2026-10/calls.json").data)["2026-10-calls"]
    assert {row["client"]: row["calls"] for row in rows} == {"north-ehr": 31 * 24 * 40, "south-ehr": 31 * 24 * 40}


def _of_the_frame(fault: dict[str, Any]) -> bool:
    """Whether it is about the banner of the development profile, which stands around every page."""
    return all(".banner" in node["target"] for node in fault["nodes"])


@pytest.fixture(scope="module")
def base(hospital: Flask) -> Iterator[str]:
    with served(hospital) as address:
        yield address


@pytest.mark.parametrize(("scheme", "name"), [("light", "desktop"), ("dark", "phone")])
def test_pages_are_readable_by_everybody_on_a_desk_and_on_a_phone(
    hospital: Flask, base: str, scheme: str, name: str, tmp_path: Path
) -> None:
    if visitor(hospital).store.person("bea") is None:
        person(visitor(hospital).store, "bea", "viewer", "editor")
    with chromium() as browser:
        said: list[str] = []
        size = {"desktop": DESKTOP, "phone": PHONE}[name]
        page = tab(browser, base, said, viewport=size, color_scheme=scheme)
        sign_in(page, "bea")
        for path in PAGES:
            page.goto(f"/console{path}")
            picture = f"{scheme}-{name}{path.replace('/', '-').replace('?', '-')}.png"
            page.screenshot(path=str(tmp_path / picture), full_page=True)
            found = Axe().run(page, options=FAULTS_ALONE)
            faults = [each for each in found.response["violations"] if not _of_the_frame(each)]
            assert not faults, f"{path} {name}: {found.generate_report()}"
            wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            assert not wide, f"{path} {name} scrolls sideways"
        assert said == []
