"""The page behind a card's plan: what it shows, how long its address holds, and how it looks in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from time import time
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner
from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from cds_service.advice.loaded_content import Content
from tests.support.requires import require
from tests.test_accepting import ask, order, timing
from tests.test_plan_cards import CIPROFLOXACIN, LEVOTHYROXINE, MAGNESIUM, plan_path, takes


@pytest.fixture
def address(client: FlaskClient, content: Content) -> Callable[..., str]:
    """Where the plan stands that the card of magnesium and these drugs links to."""

    def make(*drugs: Any) -> str:
        (card,) = timing(ask(client, order(content, client, list(drugs), [MAGNESIUM])))
        return plan_path(card)

    return make


def test_the_link_opens_the_day_with_the_drugs_the_reasons_and_the_sources(client, address) -> None:
    path = address(LEVOTHYROXINE, CIPROFLOXACIN)
    html = client.get(path).text
    for text in ("12:30", "levothyroxine", "ciprofloxacin", "time assumed: twice a day",
                 "US label of ciprofloxacin, 2025", "Magnesium binds ciprofloxacin in the gut",
                 "/evidence/ciprofloxacin_timing"):  # fmt: skip
        assert text in html
    assert "scenario-patient" not in html


def test_the_evidence_behind_the_page_opens_too(client, address) -> None:
    path = address(LEVOTHYROXINE)
    links = set(re.findall(r'href="(/evidence/[^"]+)"', client.get(path).text))
    assert links and all(client.get(link).status_code == 200 for link in links)


def test_a_changed_address_is_not_found(client, address) -> None:
    path = address(LEVOTHYROXINE)
    other = path[:-5] + ("A" if path[-5] != "A" else "B") + path[-4:]
    for ending in ("", ".svg"):
        assert client.get(path + ending).status_code == 200
        assert client.get(other + ending).status_code == 404


def test_an_address_a_week_old_has_expired(client, address, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr(TimestampSigner, "get_timestamp", lambda _: int(time()) - 8 * 24 * 3600)
        path = address(LEVOTHYROXINE)
    assert client.get(path).status_code == 410


def test_a_night_shift_is_planned_over_the_api(client) -> None:
    # Awake 16:00 to 08:00, meals moved by 9 h 30 min: 17:30, 22:00, 04:00. Levothyroxine at 16:30: (12:30, 20:30).
    # Usual for one dose: 17:30; the nearest meal outside: 22:00.
    body = {"medications": [{"name": "levothyroxine", "times": ["16:30"]}], "waking": ["16:00", "08:00"]}
    answer = client.post("/plan", json=body).json
    assert answer["times"] == ["22:00"]
    assert client.get(answer["link"]).status_code == 200


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_page_of_a_card_has_no_barrier_and_prints_on_one_sheet(
    app: Flask, address, scheme: str, width: int
) -> None:
    chromium = require("chromium", "opens the page of a plan", "chromium")
    path = address(LEVOTHYROXINE, CIPROFLOXACIN, takes("alendronic_acid", days=["sun"], period_unit="wk"))
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(chromium), args=options)
            page = browser.new_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
            page.goto(f"http://127.0.0.1:{server.server_port}{path}")
            assert said == []
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert not [text for text in page.locator("svg text").all_text_contents() if text.endswith("…")]
            assert len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) == 1
            browser.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
