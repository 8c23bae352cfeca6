"""A real browser on our pages: served over HTTP, in any width and colour, with or without JavaScript."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.console.support import PASSWORD
from tests.support.requires import require

OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# What passes is not listed: the list of a long page takes longer than the looking.
FAULTS_ALONE = {"resultTypes": ["violations"]}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], **FAULTS_ALONE}
PATIENCE = 120_000  # ms: a busy machine is slow, and is no fault of a page
expect.set_options(timeout=PATIENCE)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Each size and each colour scheme once: all four ways for every page take minutes.
VIEWS = pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone, dark"]
)


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_request(self, *_: object) -> None:
        """Nothing."""


def served(app: Flask) -> AbstractContextManager[str]:
    """The app at an address of this machine."""
    return served_at(app, 0)


@contextmanager
def served_at(app: Flask, port: int) -> Iterator[str]:
    """The app at this port of this machine; 0: any that is free."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Browser]:
    path = require("chromium", "opens the console", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


def tab(browser: Browser, base: str, said: list[str] | None = None, **options: Any) -> Page:
    """A page of a browser of its own; `said` gathers what its console says, as breaches of the policy."""
    page = browser.new_context(base_url=base, **options).new_page()
    page.set_default_timeout(PATIENCE)
    if said is not None:
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    return page


def without_barriers(page: Page, name: str) -> list[str]:
    """What a person with a screen reader, a keyboard, or a small screen would stumble over."""
    found = [f"{name}: {violation['id']} at {violation['nodes'][0]['target']}"
             for violation in Axe().run(page, options=RULES).response["violations"]]  # fmt: skip
    if not page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"):
        found.append(f"{name}: wider than the screen")
    small = page.evaluate(
        """[...document.querySelectorAll(
             'button, .button, nav a, input, select, summary, .choice label, .found a, .forms a')]
           .filter(e => e.offsetParent && e.type !== 'hidden' && e.getBoundingClientRect().height < 24)
           .map(e => e.outerHTML.slice(0, 60))"""
    )
    return found + [f"{name}: too small to hit: {one}" for one in small]


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/console/sign-in")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
