"""Every public page in a real browser under the policy that is served: no barrier, no complaint, every form works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page
from werkzeug.exceptions import HTTPException

from tests.console.browser import DESKTOP, VIEWS, chromium, served, tab, without_barriers
from tests.web.pages import addresses, plan_address, public_pages

# Pages of the same kind that the walk looks at.
EACH = 2


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def base(hospital: Flask) -> Iterator[str]:
    with served(hospital) as address:
        yield address


def complaints(said: list[str]) -> list[str]:
    """What the browser said, but for the answers 4xx of pages that are about just that."""
    return [line for line in said if "the server responded with a status of 4" not in line]


@VIEWS
def test_no_public_page_has_a_barrier_or_breaks_its_policy(
    hospital: Flask, base: str, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    said: list[str] = []
    faults: list[str] = []
    page = tab(browser, base, said, viewport=size, color_scheme=scheme)
    for path in public_pages(hospital):
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        faults += without_barriers(page, path)
        if not page.locator("a[href='/']").count():
            faults.append(f"{path}: no way home")
    assert faults == []
    assert complaints(said) == []


def test_from_the_first_page_every_link_opens_and_every_form_is_taken(
    hospital: Flask, base: str, browser: Browser
) -> None:
    """A form that the page's own policy blocks leaves the browser where it was, and a line in its console."""
    said: list[str] = []
    page = tab(browser, base, said, viewport=DESKTOP)
    adapter = hospital.url_map.bind("localhost")
    seen: Counter[str] = Counter()
    waiting, looked, forms, faults = ["/", plan_address(hospital)], set(), 0, []
    while waiting:
        path = waiting.pop(0)
        bare = path.partition("?")[0].partition("#")[0]
        if path in looked or not bare.startswith("/"):
            continue
        looked.add(path)
        try:
            endpoint = str(adapter.match(bare)[0])
        except HTTPException:
            faults.append(f"a link leads to {path}, where nothing is")
            continue
        seen[endpoint] += 1
        if seen[endpoint] > EACH:
            continue
        answer = page.request.get(path, headers={"Accept": "text/html"})
        if not answer.ok:
            faults.append(f"a link leads to {path}: {answer.status}")
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        page.goto(path)
        waiting += page.evaluate("[...document.querySelectorAll('a[href^=\"/\"]')].map(a => a.getAttribute('href'))")
        for place in range(page.locator("form").count()):
            page.goto(path)
            faults += submitted(page, place, path)
            forms += 1
    assert faults == []
    assert complaints(said) == []
    assert forms >= 2
    assert {f"content.{name}" for name in ("rules", "claims", "changes", "rule", "claim")} <= {*seen}


def submitted(page: Page, place: int, path: str, patience: float = 20_000) -> list[str]:
    """Fill a form of the page, send it as a person does, and see that its answer comes."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    form = page.locator("form").nth(place)
    for field in form.locator("input[type=search], input[type=text], input:not([type])").all():
        if field.is_visible() and not field.input_value():
            field.fill("magnesium")
    button = form.locator("button:not([type=button]):not([type=reset]), input[type=submit]").first
    # A script may send it and stay on the page.
    leads = form.evaluate("each => new URL(each.getAttribute('action') || '', location).pathname")
    try:
        with page.expect_response(lambda came: urlsplit(came.url).path == leads, timeout=patience) as went:
            button.click(timeout=patience)
    except Exception:  # noqa: BLE001 - a browser's own fault, of several kinds
        return [f"{path}: form {place} was not sent"]
    answer = went.value
    return [] if answer and answer.status < 500 else [f"{path}: form {place} was answered {answer and answer.status}"]


def test_the_walk_finds_a_form_that_the_policy_blocks(
    hospital: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault that once made the search box dead, planted again."""
    from cds_service.hooks import html

    blocked = html.CSP.replace("form-action 'self'", "form-action 'none'")
    monkeypatch.setattr(html, "CSP", blocked)
    said: list[str] = []
    with served(hospital) as base:
        page = tab(browser, base, said)
        page.goto("/claims")
        assert submitted(page, 0, "/claims", 2000) == ["/claims: form 0 was not sent"]
    assert complaints(said), "the browser says nothing of a blocked form, so the walk proves nothing"


def test_pages_work_without_scripts_and_a_keyboard_reaches_the_content_in_one_step(browser: Browser, base: str) -> None:
    page = tab(browser, base, java_script_enabled=False)
    page.goto("/evidence")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("/evidence#main")
    page.locator("#q").fill("synthroid")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Levothyroxine and oral magnesium: keep doses apart").click()
    page.wait_for_url("**/evidence/levothyroxine_timing")
    page.get_by_role("link", name="Magnesium CDS").click()
    page.wait_for_url(f"{base}/")


def test_pages_print_without_what_is_for_the_screen_and_with_what_is_folded(browser: Browser, base: str) -> None:
    page = tab(browser, base)
    page.goto("/evidence")
    folded = "!document.querySelector('.group:not([open]) li').checkVisibility()"
    assert page.evaluate(folded)
    page.emulate_media(media="print")
    assert not page.get_by_role("navigation").first.is_visible()
    assert not page.get_by_role("button", name="Search").is_visible()
    assert not page.evaluate(folded)


def test_every_address_that_answers_get_is_asked(hospital: Flask) -> None:
    paths = [path for _, path in addresses(hospital)]
    assert "/evidence" in paths and len(paths) > 15
    assert len(public_pages(hospital)) > 15
