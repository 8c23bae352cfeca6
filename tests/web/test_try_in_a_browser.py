"""The try page and the planner's form in a real browser: under the policy that is served, with and without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Locator, Page, expect

from tests.console.browser import VIEWS, chromium, served, tab
from tests.console.test_in_a_browser import without_barriers
from tests.web.support import bundle

SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
PLAN = "/try?sample=ciprofloxacin&hook=order-sign&draft=magnesium-oxide"
# What every browser asks for by itself, and what a refused form answers.
UNASKED = "Failed to load resource"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def base(app: Flask) -> Iterator[str]:
    with served(app) as address:
        yield address


def first_card(page: Page) -> Locator:
    return page.locator("article.card h2").first


@SCRIPTS
def test_every_way_in_works_under_the_policy_that_is_served(
    browser: Browser, base: str, tmp_path: Path, scripts: bool
) -> None:
    said: list[str] = []
    page = tab(browser, base, said, java_script_enabled=scripts)
    page.goto("/")
    page.get_by_role("link", name="Ciprofloxacin twice a day").first.click()
    expect(first_card(page)).to_contain_text("12:30")
    page.get_by_label("As seen in").select_option("oracle")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
    expect(first_card(page)).to_contain_text("12:30")
    assert "sample=ciprofloxacin" in page.url and "draft=magnesium-oxide" in page.url

    page.goto("/")
    page.get_by_text("Type a few facts").click()
    page.get_by_label("Age, years").fill("61")
    page.get_by_label("eGFR", exact=True).fill("22")
    page.get_by_role("group", name="Being ordered now").get_by_label("Name", exact=True).fill("magnesium oxide 400 mg")
    page.locator("#form-hook").select_option("order-sign")
    page.get_by_role("button", name="Show the cards").first.click()
    expect(first_card(page)).to_contain_text("eGFR 22")
    page.get_by_label("As seen in").select_option("oracle")  # of what was typed: it is sent again
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
    expect(first_card(page)).to_contain_text("eGFR 22")

    chart = json.dumps(bundle("digoxin"))
    page.goto("/")
    page.get_by_text("Paste or upload JSON").click()
    page.get_by_label("A CDS Hooks request, or a FHIR Bundle").fill(chart)
    if scripts:
        expect(page.locator("#text-size")).to_contain_text("kB of at most")
    page.get_by_role("button", name="Show the cards").last.click()
    expect(first_card(page)).to_contain_text("with digoxin")

    (tmp_path / "patient.json").write_text(chart)
    page.goto("/")
    page.get_by_text("Paste or upload JSON").click()
    page.get_by_label("Or a file of the same").set_input_files(tmp_path / "patient.json")
    page.get_by_role("button", name="Show the cards").last.click()
    expect(first_card(page)).to_contain_text("with digoxin")
    page.get_by_role("button", name="Show", exact=True).click()  # the file is sent again, as text
    expect(first_card(page)).to_contain_text("with digoxin")
    assert [line for line in said if UNASKED not in line] == []


@SCRIPTS
def test_accepting_and_dismissing_is_told(browser: Browser, base: str, scripts: bool) -> None:
    said: list[str] = []
    page = tab(browser, base, said, java_script_enabled=scripts)
    page.goto(PLAN)
    page.get_by_role("button", name="Magnesium at 12:30").click()
    if scripts:
        expect(page.get_by_text("Feedback taken (200)")).to_be_visible()
        expect(first_card(page)).to_be_visible()
    else:
        expect(page.locator("h1")).to_have_text("Feedback taken (200)")
        page.get_by_role("link", name="Back to the patient").click()
    page.get_by_label("Dismiss, because").select_option(index=1)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("Feedback taken (200)")).to_be_visible()
    assert [line for line in said if UNASKED not in line] == []


@SCRIPTS
def test_a_day_is_planned_and_a_row_more_comes_where_a_script_may(browser: Browser, base: str, scripts: bool) -> None:
    said: list[str] = []
    page = tab(browser, base, said, java_script_enabled=scripts)
    page.goto("/plan")
    if scripts:
        page.locator("#drug-5").fill("digoxin")
        page.locator("#drug-when-5").fill("09:00")
        expect(page.locator("#drug-6")).to_be_visible()
    page.get_by_role("button", name="Plan the day").click()
    expect(page.get_by_role("heading", name="Magnesium at")).to_be_visible()
    expect(page.locator("figure svg:visible")).to_have_count(1)
    assert [line for line in said if UNASKED not in line] == []


def test_a_fault_leads_to_its_field(browser: Browser, base: str) -> None:
    page = tab(browser, base)
    page.goto("/")
    page.get_by_text("Type a few facts").click()
    page.get_by_role("button", name="Show the cards").first.click()
    page.get_by_role("link", name="Age: type a whole number").click()
    expect(page.locator("#age")).to_be_focused()
    assert page.evaluate("document.activeElement.id") == "age"


def test_what_is_copied_is_what_is_shown(browser: Browser, base: str) -> None:
    page = tab(browser, base, permissions=["clipboard-read", "clipboard-write"])
    page.goto(PLAN)
    page.get_by_text("Copy as curl").click()
    page.get_by_role("button", name="Copy", exact=True).first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#curl").text_content()


def test_nothing_that_stands_in_a_chart_runs(browser: Browser, base: str) -> None:
    evil = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>[x](javascript:alert(3))"
    said: list[str] = []
    page = tab(browser, base, said)
    page.goto("/")
    page.get_by_text("Type a few facts").click()
    page.get_by_label("Age, years").fill("61")
    page.get_by_role("group", name="Being ordered now").get_by_label("Name", exact=True).fill(f"magnesium oxide {evil}")
    page.locator("#form-hook").select_option("order-sign")
    page.get_by_role("button", name="Show the cards").first.click()
    expect(first_card(page)).to_be_visible()
    page.wait_for_timeout(200)
    assert page.locator("main script, main img").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
    assert [line for line in said if UNASKED not in line] == []


@VIEWS
def test_no_page_has_a_barrier(browser: Browser, base: str, scheme: str, size: dict[str, int]) -> None:
    page = tab(browser, base, viewport=size, color_scheme=scheme)
    faults = []
    for path in ("/", PLAN, "/try?sample=healthy", "/try?sample=kidney&hook=order-select&preset=oracle", "/plan"):
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        faults += without_barriers(page, path)
    page.get_by_label("Doses of magnesium a day").fill("x")
    page.get_by_role("button", name="Plan the day").click()
    expect(page.get_by_role("alert")).to_be_visible()
    faults += without_barriers(page, "/plan with a fault")
    page.get_by_label("Doses of magnesium a day").fill("2")
    page.get_by_role("button", name="Plan the day").click()
    expect(page.get_by_role("heading", name="Magnesium at")).to_be_visible()
    faults += without_barriers(page, "/plan with a day")
    page.goto("/")
    page.get_by_text("Type a few facts").click()
    page.get_by_role("button", name="Show the cards").first.click()
    expect(page.get_by_role("link", name="Age: type a whole number")).to_be_visible()
    faults += without_barriers(page, "/try with faults")
    assert faults == []
