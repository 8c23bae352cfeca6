"""The way of a change in a real browser, with and without JavaScript; every page of it looked over by axe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import DESKTOP, FAULTS_ALONE, VIEWS, chromium, served, sign_in, tab
from tests.console.editing import LOWER, changed, in_force, led_to, published
from tests.console.support import visitor
from tests.population.test_uploads import ndjson
from tests.test_site_exceptions import is_low, low_magnesium

# What no page is to have; the rest of axe's list is advice.
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def second(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(console=True, managed_by="console", second_person=True)
    visitor(app, "anna", ("editor",))
    visitor(app, "ben", ("approver",))
    return app


def looked_over(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}, **FAULTS_ALONE}).response["violations"]
    assert not found, [(one["id"], [node["html"][:150] for node in one["nodes"][:3]]) for one in found]
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), f"{page.url} is too wide"


def put_into_a_draft(page: Page, value: str, unit: str) -> str:
    """The editor's part; where the draft stands."""
    page.get_by_role("link", name="Values in force").first.click()
    page.get_by_role("link", name="Lower limit of serum magnesium, where the laboratory gives none").click()
    page.get_by_role("link", name="Change this value").click()
    page.get_by_label("Value", exact=True).fill(value)
    page.get_by_label("Unit").select_option(unit)
    page.get_by_label("Reason").fill("Our laboratory's own interval")
    page.get_by_role("button", name="Put into the draft").click()
    expect(page.get_by_text(f"{value} {unit}").first).to_be_visible()
    assert not page.get_by_role("link", name="Publish", exact=True).count()
    return page.url


def approve_and_publish(page: Page, draft: str, number: int) -> None:
    """The other person's part."""
    page.goto(draft)
    page.get_by_role("button", name="Approve as it stands").click()
    expect(page.get_by_text("approved").first).to_be_visible()
    page.get_by_role("link", name="Publish", exact=True).click()
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_text("in force on every server")).to_be_visible()
    assert page.url.endswith(f"/history/{number}")


def within_five_seconds(seen: Callable[[], bool]) -> bool:
    end = monotonic() + 5
    while not seen() and monotonic() < end:
        sleep(0.2)
    return seen()


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without"])
def test_a_limit_is_changed_tried_approved_published_and_taken_back(
    javascript: bool, second: Flask, make_app: Callable[..., Flask], browser: Browser
) -> None:
    """One person drafts and tries it on uploaded patients, another approves and publishes; another worker's next card
    follows; the history is compared, and the values before are put in force again."""
    folder = second.extensions["advisor"].settings.data_dir
    worker = make_app(console=True, managed_by="console", second_person=True, data_dir=folder).test_client()
    assert not is_low(low_magnesium(worker, 0.75))
    said: list[str] = []
    patients = [{"name": name, "mimeType": "application/ndjson", "buffer": text} for name, text in ndjson().items()]
    with served(second) as base:
        anna, ben = (tab(browser, base, said, viewport=DESKTOP, java_script_enabled=javascript) for _ in range(2))
        sign_in(anna, "anna")
        sign_in(ben, "ben")
        draft = put_into_a_draft(anna, "1.9", "mg/dL")
        anna.get_by_role("link", name="See what it would do to patients").click()
        anna.get_by_label("My own patients, from files").check()
        anna.get_by_label("Files of patients").set_input_files(patients)
        anna.get_by_role("button", name="Show what would change").click()
        expect(anna.get_by_text("interruptive").first).to_be_visible()
        expect(anna.get_by_text("Nothing of the uploaded files was kept")).to_be_visible()
        approve_and_publish(ben, draft, 1)
        assert within_five_seconds(lambda: is_low(low_magnesium(worker, 0.75)))
        anna.goto(f"{base}/console/values")
        expect(anna.get_by_text("set as 1.9 mg/dL")).to_be_visible()

        approve_and_publish(ben, put_into_a_draft(anna, "0.68", "mmol/L"), 2)
        assert within_five_seconds(lambda: not is_low(low_magnesium(worker, 0.75)))
        ben.get_by_role("link", name="History").first.click()
        ben.get_by_role("button", name="Compare").click()
        expect(ben.get_by_text("0.68 mmol/L").first).to_be_visible()
        expect(ben.get_by_text("0.78 mmol/L").first).to_be_visible()
        anna.goto(f"{base}/console/history/1")
        anna.get_by_role("link", name="Put these values in force again").click()
        anna.get_by_label("Reason").fill("The analyser was changed back")
        anna.get_by_role("button", name="Make a draft of these values").click()
        approve_and_publish(ben, anna.url, 3)
        assert within_five_seconds(lambda: is_low(low_magnesium(worker, 0.75)))
    assert not [line for line in said if "Content Security Policy" in line or "dialog" in line]


@VIEWS
def test_every_page_of_values_is_clean(size: dict[str, int], scheme: str, console: Flask, browser: Browser) -> None:
    anna, ben = visitor(console, "anna"), visitor(console, "ben")
    first = changed(anna, "0.66")
    led_to(published(anna, first))
    silent = {"show": "silent", "reason": "The kidney unit has its own pathway"}
    led_to(anna.post("/change/rules.magnesium_with_dialysis.show", draft="new", submit="x", **silent))
    led_to(published(anna, "/drafts/2"))
    in_force(console)
    draft = changed(anna, "1.7", "mg/dL")
    changed(ben, "0.64", draft="3:1")
    old = changed(anna, "0.7", draft="new").removeprefix("/console")
    led_to(published(anna, draft))
    pages = ["/values", "/values?show=all", "/values?q=nothing+fits", "/values/shared/lower_limit", LOWER,
             "/change/repetition", "/change/rules.magnesium_with_dialysis.show", "/drafts", old, f"{old}/text",
             f"{old}/publish", f"{old}/together", draft.removeprefix("/console"), "/history", "/history/1",
             "/history/compare?old=0&new=2", "/history/1/roll-back", "", "/drafts/99"]  # fmt: skip
    with served(console) as base:
        page = tab(browser, base, viewport=size, color_scheme=scheme)
        sign_in(page, "anna")
        for path in pages:
            page.goto(f"/console{path}")
            looked_over(page)
        page.goto(f"/console{LOWER}")
        page.get_by_label("Value", exact=True).fill("0.2")
        page.get_by_role("button", name="Put into the draft").click()
        looked_over(page)
        page.get_by_role("alert").get_by_role("link").click()
        expect(page.locator("#number")).to_be_focused()  # the summary leads to the field
        page.goto(f"/console{old}/text")
        page.get_by_label("Site document (YAML)").fill("site: [")
        page.get_by_role("button", name="Check and save").click()
        looked_over(page)


def test_a_decimal_comma_arrives_as_it_was_typed(console: Flask, browser: Browser) -> None:
    """Typed key by key, as people do: a browser drops a comma from a field for numbers."""
    visitor(console, "anna")
    with served(console) as base:
        page = tab(browser, base, viewport=DESKTOP)
        sign_in(page, "anna")
        page.goto(f"/console{LOWER}")
        page.get_by_label("Value", exact=True).clear()
        page.get_by_label("Value", exact=True).press_sequentially("0,66")
        page.get_by_label("Reason").fill("Our laboratory's own interval")
        page.get_by_role("button", name="Put into the draft").click()
        expect(page.get_by_text("0.66 mmol/L").first).to_be_visible()
        page.goto("/console/change/repetition")
        days = page.get_by_label("Days after an override that says it is taken care of")
        days.clear()
        days.press_sequentially("1,5")
        page.get_by_label("Reason").fill("Too many cards")
        page.get_by_role("button", name="Put into the draft").click()
        expect(page.get_by_text("Not a valid integer value.").first).to_be_visible()
        assert days.input_value() == "1,5", "and is there to be mended"


def test_a_text_is_still_there_where_the_session_ended_while_it_was_typed(console: Flask, browser: Browser) -> None:
    draft = changed(visitor(console, "anna"), "0.66").removeprefix("/console")
    with served(console) as base:
        page = tab(browser, base, viewport=DESKTOP)
        sign_in(page, "anna")
        page.goto(f"/console{draft}/text")
        page.get_by_label("Site document (YAML)").fill("site: Three hours of work")
        page.context.clear_cookies()
        page.get_by_role("button", name="Check and save").click()
        expect(page.get_by_text("what you typed is still in the form")).to_be_visible()
        sign_in(page.context.new_page(), "anna")
        page.go_back()
        expect(page.get_by_label("Site document (YAML)")).to_have_value("site: Three hours of work")
        page.get_by_role("button", name="Check and save").click()
        expect(page.get_by_text("The draft is saved.")).to_be_visible()


def test_a_long_web_address_as_a_reason_makes_no_page_wider_than_a_phone(console: Flask, browser: Browser) -> None:
    anna = visitor(console, "anna")
    long = f"https://intranet.hospital.example/{'protocol' * 18}"
    draft = changed(anna, "0.66", reason=long)
    led_to(anna.post(draft, version="1", title=long, reason=long, save="x"))
    led_to(published(anna, draft))
    in_force(console)
    led_to(anna.post("/drafts/begin", title=long))
    other = changed(anna, "0.64", draft="2:1", reason=long).removeprefix("/console")
    led_to(anna.post(other, version="2", title=long, reason=long, save="x"))
    changed(anna, "0.62", draft="new", reason=long)
    pages = ["", "/values", "/values/shared/lower_limit", LOWER, f"{LOWER}?draft=2", "/drafts", other, f"{other}/text",
             f"{other}/publish", draft.removeprefix("/console"), "/history", "/history/1", "/history/0/roll-back",
             "/history/compare?old=0&new=1", "/preview?draft=2", "/rules/low_magnesium", "/log"]  # fmt: skip
    with served(console) as base:
        page = tab(browser, base, viewport={"width": 320, "height": 700})
        sign_in(page, "anna")
        wide = []
        for path in pages:
            page.goto(f"/console{path}")
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                wide.append(path)
        assert wide == []
