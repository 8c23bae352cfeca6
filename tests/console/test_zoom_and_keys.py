"""The console by keyboard alone, on a narrow desktop, and at 200 % and 400 % of a page made larger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import chromium, served, sign_in, tab
from tests.console.conftest import Clock
from tests.console.editing import LOWER, changed, led_to, published
from tests.console.support import Visitor, visitor
from tests.console.test_in_a_browser import pages

LONG = "Ein sehr langer Grund 🧪 \u2067سبب\u2069 " * 20 + "x" * 200
NARROW_DESKTOP, ZOOMED_TWICE, ZOOMED_FOUR_TIMES = (
    {"width": 1024, "height": 768},
    {"width": 640, "height": 450},
    {"width": 320, "height": 256},
)
# What stands beside the page, or has its words cut off; a table may be moved sideways in its frame.
CUT = """() => {
  const width = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > width) found.push('the page is wider');
  for (const one of document.querySelectorAll('header *, main *, footer *')) {
    const box = one.getBoundingClientRect();
    if (!one.checkVisibility() || box.width < 2) continue;
    const aside = box.right > width + 1 || box.left < -1;
    if (aside && !one.closest('.table-frame, pre, textarea')) found.push('aside: ' + one.outerHTML.slice(0, 80));
    if (one.matches('button, .button, input[type=submit], select') && one.scrollWidth > one.clientWidth + 1)
      found.push('cut: ' + one.outerHTML.slice(0, 80));
  }
  return found;
}"""
ONE_LINE = (
    "new Set([...document.querySelectorAll('.top nav a')].map(one => one.getBoundingClientRect().top)).size === 1"
)
REACHABLE = """() => [...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
  .filter(one => one.checkVisibility() && !one.disabled)
  .filter(one => one.type !== 'radio' || one.checked || !document.querySelector(`[name="${one.name}"]:checked`))
  .map((one, number) => one.setAttribute('data-key', number)).length"""
FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return {number: one.getAttribute('data-key'), what: one.outerHTML.slice(0, 80),
          seen: inside && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2};
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def with_long_texts(app: Flask) -> list[str]:
    """A revision and a draft with texts as long as may be; the addresses of all pages for who is signed in."""
    anna = visitor(app, "anna@hospital.example")
    visitor(app, "bruno@hospital.example", ("viewer",))
    led_to(published(anna, changed(anna, "0.66", reason=LONG)))
    draft = changed(anna, "0.64", reason=LONG)
    led_to(anna.post(draft, version="1", title=f"{LONG[:90]}{'W' * 90}", reason=LONG, save="x"))
    of_all = [path for path, before_sign_in in pages(app).values() if not before_sign_in]
    more = ("/publish", "/text", "")
    return [*of_all, *(draft + each for each in more), "/console/history/1", "/console/history/1/roll-back"]


@pytest.mark.parametrize("size", [NARROW_DESKTOP, ZOOMED_TWICE, ZOOMED_FOUR_TIMES], ids=lambda one: str(one["width"]))
def test_nothing_is_cut_off_where_the_page_is_larger(size: dict[str, int], console: Flask, browser: Browser) -> None:
    addresses, faults = with_long_texts(console), list[str]()
    with served(console) as base:
        page = tab(browser, base, viewport=size, color_scheme="dark")
        sign_in(page, "anna@hospital.example")
        for address in addresses:
            page.goto(address)
            faults += [f"{address}: {fault}" for fault in page.evaluate(CUT)]
            if size == NARROW_DESKTOP and not page.evaluate(ONE_LINE):
                faults.append(f"{address}: the pages stand in more than one line")
    assert faults == []


def test_every_page_is_used_by_keyboard_alone(console: Flask, browser: Browser) -> None:
    addresses, faults = with_long_texts(console), list[str]()
    with served(console) as base:
        page = tab(browser, base)
        sign_in(page, "anna@hospital.example")
        for address in addresses:
            page.goto(address)
            faults += [f"{address}: {fault}" for fault in tabbed_through(page)]
    assert faults == []


def tabbed_through(page: Page, most: int = 60) -> list[str]:
    """What is passed over by the Tab key, is not seen to have the focus, or keeps it."""
    count, met, faults = page.evaluate(REACHABLE), list[int](), list[str]()
    for _ in range(most):
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUSED)
        if now["number"] is None or int(now["number"]) in met[:1]:
            break
        if not now["seen"]:
            faults.append(f"not seen to have the focus: {now['what']}")
        if int(now["number"]) in met[-1:]:  # a date has several parts
            continue
        met.append(int(now["number"]))
    if met != sorted(met) or len(set(met)) != len(met):
        faults.append(f"not in the order of the page: {met}")
    missed = set(range(min(count, met[-1] + 1 if len(met) >= most - 10 else count))) - set(met)
    return faults + [f"not reached: number {number} of {count}" for number in sorted(missed)]


def test_what_was_typed_outlives_a_session_that_ended_in_the_middle(
    console: Flask, anna: Visitor, clock: Clock, browser: Browser
) -> None:
    draft = changed(anna, "0.66")
    with served(console) as base:
        page = tab(browser, base)
        sign_in(page, "anna")
        page.goto(draft)
        page.get_by_label("Reason").fill("Typed with care")
        clock.on(minutes=31)
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator("h1")).to_contain_text("You are signed out")
        again_signed_in(page)
        page.go_back()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("The draft is saved.")).to_be_visible()
        assert anna.store.drafts()[0].reason == "Typed with care"
        page.goto(f"/console{LOWER}")
        page.get_by_label("Value", exact=True).fill("0,63")
        page.get_by_label("Reason").fill("A decimal comma")
        again_signed_in(page)
        page.get_by_role("button", name="Put into the draft").click()
        expect(page.locator("h1")).to_contain_text("This form is out of date")
        page.go_back()
        page.get_by_role("button", name="Put into the draft").click()
        expect(page.get_by_text("0.63 mmol/L")).to_be_visible()


def again_signed_in(page: Page) -> None:
    """In another tab of the same browser."""
    other = page.context.new_page()
    other.goto("/console")
    if other.get_by_role("button", name="Sign out").count():
        other.get_by_role("button", name="Sign out").click()
    sign_in(other, "anna")
    other.close()


def test_a_form_that_is_sent_twice_begins_one_draft_and_publishes_one_revision(anna: Visitor) -> None:
    first = changed(anna, "0.66")
    assert changed(anna, "0.66") == first and len(anna.store.drafts()) == 1
    assert changed(anna, "0.64") != first, "another value is another draft"
    for _ in range(2):
        anna.post(f"{first}/publish", version="1")
    assert [one.number for one in anna.store.revisions()] == [1]


def test_a_browser_that_keeps_no_cookie_is_told_so(console: Flask) -> None:
    somebody = Visitor(console)
    token = somebody.token()
    somebody.http = console.test_client(use_cookies=False)
    sent = somebody.sign_in("anna", token=token)
    assert sent.status_code == 403 and "Your browser sent no cookie" in sent.text
    assert "Your browser sent no cookie" in somebody.post("/welcome", token=token, code="1").text
