"""When the console starts, where it stands, and what the first start prints."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from cds_service.console.access import needs
from cds_service.settings import Settings, SettingsError
from tests.conformance.calls import serving
from tests.console.support import PASSWORD, Visitor, person, visitor
from tests.trust.support import BASE

Maker = Callable[..., Flask]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"public_url": "http://cds.example"}, "https public_url"),
        ({"public_url": None}, "public_url"),
        ({"trusted_proxies": 0}, "trusted_proxies = 1"),
        ({"console_url": "http://console.example"}, "https console_url"),
        ({"public_url": "https://cds.example/magnesium"}, "console_url"),
        ({"oidc_issuer": "http://issuer.example", "oidc_client_id": "x", "oidc_client_secret": "x",
          "oidc_roles": ("a=admin",)}, "https oidc_issuer"),
    ],
)  # fmt: skip
def test_in_production_there_is_no_console_without_tls_in_front(
    worker: Maker, signer_file: Path, wrong: dict[str, Any], told: str
) -> None:
    right = {"profile": "production", "public_url": BASE, "clients": signer_file, "trusted_proxies": 1}
    with pytest.raises(SettingsError, match=told):
        worker(**{**right, **wrong})


@pytest.mark.parametrize(
    "path", ["console", "/", "/console/", "/plan", "/cds-services/x", "/Console", "/a//b", "/../x"]
)
def test_a_path_that_is_taken_or_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="console_path"):
        Settings.model_validate({"console_path": path})


def test_the_console_stands_where_it_is_put(worker: Maker) -> None:
    app = worker(console_path="/pharmacy/desk")
    seen = Visitor(app, "/pharmacy/desk")
    person(seen.store, "anna")
    assert seen.sign_in("anna").headers["Location"] == "/pharmacy/desk"
    assert 'href="/pharmacy/desk/people"' in seen.get().text
    assert seen.http.get("/console").status_code == 404


def test_at_an_address_of_its_own_it_is_at_no_other(worker: Maker) -> None:
    app = worker(console_url="https://console.example", public_url="https://cds.example/magnesium")
    seen = Visitor(app, base="https://console.example")
    person(seen.store, "anna")
    assert seen.sign_in("anna").status_code == 303 and seen.signed_in()
    elsewhere = Visitor(app, base="https://cds.example")
    for path in ("", "/sign-in", "/people"):
        assert elsewhere.get(path).status_code == 404
    assert elsewhere.http.get("/cds-services", base_url="https://cds.example").status_code == 200


def test_without_the_console_its_tables_are_there_and_its_pages_are_not(worker: Maker) -> None:
    app = worker(console=False)
    assert app.extensions["advisor"].store.people() == []
    for path in ("/console", "/console/sign-in", "/console/static/console.css"):
        assert app.test_client().get(path).status_code == 404


def test_the_first_start_prints_a_code_for_the_first_admin_once(tmp_path: Path) -> None:
    """In two real workers: a code that serve printed, and a session that both know."""
    with serving(tmp_path, "--console", "--workers", "2") as running:
        said = running.log()
        code = re.findall(r"with this code: (\S+)", said)
        assert len(code) == 1
        browser = requests.Session()
        page = browser.get(f"{running.base}/console/first-run", timeout=10)
        token = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)[0]
        form = {"csrf_token": token, "name": "anna", "code": code[0], "password": PASSWORD, "again": PASSWORD}
        made = browser.post(
            f"{running.base}/console/first-run", data=form, headers={"Origin": running.base}, timeout=20
        )
        assert made.status_code == 200 and "Today" in made.text
        assert all(browser.get(f"{running.base}/console/people", timeout=10).status_code == 200 for _ in range(12))
    with serving(tmp_path, "--console") as running:
        assert "with this code" not in running.log()


def test_slow_pages_keep_no_hook_waiting_and_a_full_console_says_so(
    worker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four threads, one page is worked on and one more waits."""
    monkeypatch.setattr("cds_service.hooks.app.CONSOLE_GATE_SECONDS", 20.0)
    app = worker(threads=4)
    seen = visitor(app, "anna")
    go, at_work = threading.Event(), threading.Event()

    @needs("viewer")
    def slow() -> str:
        at_work.set()
        go.wait(20)
        return "slow"

    app.view_functions["console.front"] = slow
    cookie = seen.http.get_cookie("magnesium-console")
    found: list[int] = []

    def ask() -> None:
        http = app.test_client()
        http.set_cookie("magnesium-console", cookie.value)
        found.append(http.get("/console").status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert at_work.wait(10)
    time.sleep(0.2)
    full = seen.get("/account")
    assert full.status_code == 503 and "too many calls" in full.text and full.mimetype == "text/html"
    assert app.test_client().get("/cds-services").status_code == 200
    go.set()
    for thread in threads:
        thread.join()
    assert found == [200, 200]
