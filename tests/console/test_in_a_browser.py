"""The pages in a real browser: without barriers in any colour and width, without scripts, and whatever names hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from cds_service.console.sign_in import first_code
from cds_service.store import NewLine
from tests.conftest import NOW
from tests.console.browser import VIEWS, chromium, served, sign_in, tab, without_barriers
from tests.console.routes import PLACES, SOMEBODY
from tests.console.support import PASSWORD, person

Maker = Callable[..., Flask]
NAME = "<img src=x onerror=alert(1)>\"'"
EVIL = f"{NAME}><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def app(make_app: Maker, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    made = make_app(console=True, managed_by="console", data_dir=tmp_path_factory.mktemp("pages"))
    store = made.extensions["advisor"].store
    person(store, "anna@hospital.example")
    person(store, SOMEBODY, "viewer", "editor")
    store.audit(NewLine(NOW, "anna@hospital.example", "note of a test", "x" * 300, {"list": ["a", "b"], "yes": True}))
    return made


@pytest.fixture(scope="module")
def base(app: Flask) -> Iterator[str]:
    with served(app) as address:
        yield address


def pages(app: Flask) -> dict[str, tuple[str, bool]]:
    """The address of each page to look at, and whether it is for who is not signed in."""
    adapter = app.url_map.bind("localhost")
    found = {}
    for name, place in PLACES.items():
        if place.page:
            found[name] = (adapter.build(f"console.{name}", place.values), not place.role)
    return found


@VIEWS
def test_no_page_has_a_barrier_or_breaks_its_policy(
    app: Flask, base: str, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    said: list[str] = []
    faults: list[str] = []
    page = tab(browser, base, said, viewport=size, color_scheme=scheme)
    for name, (path, before_sign_in) in pages(app).items():
        if before_sign_in:
            page.goto(path)
            faults += without_barriers(page, name)
    page.goto("/console/sign-in")
    page.get_by_role("button", name="Sign in").click()
    faults += without_barriers(page, "sign_in with faults")
    sign_in(page, "anna@hospital.example")
    for name, (path, before_sign_in) in pages(app).items():
        if not before_sign_in:
            page.goto(path)
            faults += without_barriers(page, name)
    page.goto("/console/log?since=2030-01-01&check=1")
    faults += without_barriers(page, "an empty log")
    page.goto("/console/people")
    page.get_by_role("button", name="Add this person").click()
    faults += without_barriers(page, "people with faults")
    assert faults == []
    assert [line for line in said if "status of 40" not in line] == []


def test_a_keyboard_reaches_the_content_in_one_step_and_a_fault_its_field(browser: Browser, base: str) -> None:
    page = tab(browser, base)
    page.goto("/console/sign-in")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Password: Type your password.").click()
    expect(page.locator("#password")).to_be_focused()
    assert page.get_by_label("Password", exact=True).get_attribute("aria-describedby") == "password-error"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_from_the_first_start_to_a_second_person(
    make_app: Maker, browser: Browser, tmp_path: Path, scripts: bool
) -> None:
    made = make_app(console=True, managed_by="console", data_dir=tmp_path / "data")
    code = first_code(made.extensions["advisor"].store, NOW)
    assert code
    with served(made) as base:
        page = tab(browser, base, java_script_enabled=scripts)
        page.goto("/console")
        page.get_by_role("link", name="make the first admin").click()
        _choose(page, code, "anna")
        expect(page.get_by_role("heading", level=1)).to_have_text("Today")
        page.get_by_role("link", name="People").click()
        page.get_by_label("Name", exact=True).fill("bruno")
        page.get_by_label("editor: may change values").check()
        page.get_by_role("button", name="Add this person").click()
        second = page.locator(".code").text_content() or ""
        other = tab(browser, base, java_script_enabled=scripts)
        other.goto("/console/sign-in")
        other.get_by_role("link", name="set a password with it").click()
        _choose(other, second, "bruno")
        other.goto("/console/people")
        expect(other.locator("h1")).to_contain_text("Your role does not allow this")
        other.get_by_role("button", name="Sign out").click()
        other.goto("/console/account")
        assert other.url.startswith(f"{base}/console/sign-in?next=")
        page.get_by_role("link", name="Log").click()
        expect(page.get_by_role("cell", name="first admin made")).to_be_visible()


def _choose(page: Page, code: str, name: str) -> None:
    page.get_by_label("Code").fill(code)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Set the password and sign in").click()
    page.wait_for_url("**/console")


def test_nothing_that_stands_in_a_name_or_a_line_runs(make_app: Maker, browser: Browser, tmp_path: Path) -> None:
    """Names are of plain characters; what came by other ways, as from an issuer, is text all the same."""
    made = make_app(console=True, data_dir=tmp_path / "data")
    store = made.extensions["advisor"].store
    person(store, "anna")
    store.add_person(NAME, ("viewer",), NewLine(NOW, EVIL, EVIL, EVIL, {EVIL: [EVIL]}))
    said: list[str] = []
    with served(made) as base:
        page = tab(browser, base, said)
        sign_in(page, "anna")
        for path in ("/console/people", "/console/log", "/console/log?person=" + "%3Cscript%3Ealert(1)%3C/script%3E"):
            page.goto(path)
            assert page.locator("main script, main img").count() == 0
            page.wait_for_timeout(100)
        page.goto("/console/people")
        page.get_by_role("link", name=NAME).click()
        expect(page.locator("h1")).to_have_text(NAME)
    assert said == []


def test_pages_print_without_what_is_for_the_screen(browser: Browser, base: str) -> None:
    page = tab(browser, base)
    sign_in(page, "anna@hospital.example")
    page.goto("/console/log")
    page.emulate_media(media="print")
    assert not page.get_by_role("navigation").first.is_visible()
    assert not page.get_by_role("button", name="Show").is_visible()
    assert page.get_by_role("table").is_visible()
