"""Makes the pictures of the README from the running service: `python -m tests.pictures [--sandbox FOLDER]`.

FOLDER is a built copy of the CDS Hooks Sandbox (docs/sandbox.md says how), for the picture of a card; without it that
picture stays as it is. Beside the pictures stands shown.json: a hash of the words that each shows, and one of the
picture. tests/test_pictures.py fails where the service would show other words now. Needs Chromium.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, FloatRect, Page

from cds_service import create_app
from cds_service.logs import configure
from cds_service.sandbox import patients
from cds_service.sandbox.asking import hook_request
from cds_service.sandbox.stub import StubServer
from cds_service.settings import Settings
from tests.conftest import NOW, shipped
from tests.console.browser import chromium, served

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
SHOWN = FOLDER / "shown.json"
MOST_BYTES = 200_000
WIDTH = 900
# The sample patients for whom magnesium is drafted, and the rule behind the first card.
CARD_PATIENT, PLAN_PATIENT, RULE = "levothyroxine", "ciprofloxacin", "levothyroxine_timing"
# How one asks the Sandbox for it: what is typed, and what is picked of what it offers.
TYPED, PICKED = "magnesium oxide", re.compile(r"magnesium oxide 400 MG Oral Capsule", re.IGNORECASE)


class Words(HTMLParser):
    """The words of a page between <main> and </main>."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.hidden = 0
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside += tag == "main"
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag == "main"
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if self.inside and not self.hidden:
            self.said += data.split()


def words_of(html: str) -> str:
    """The words, without what differs from call to call: addresses of this machine and uuids."""
    parser = Words()
    parser.feed(html)
    text = " ".join(parser.said)
    text = re.sub(r"https?://(localhost|127\.0\.0\.1)(:\d+)?", "", text)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", text)


def app_for(folder: Path, **settings: object) -> Flask:
    """The service with demo data, at the tests' fixed time."""
    return create_app(Settings.model_validate({"data_dir": folder, **settings}), now=lambda: NOW, content=shipped())


def card_of(client: FlaskClient, patient: str = CARD_PATIENT) -> dict[str, Any]:
    """The card on timing of a patient for whom the first of its drafts is ordered."""
    service = "magnesium-order-select"
    listed = client.get("/cds-services").json
    assert listed is not None
    templates = next(item["prefetch"] for item in listed["services"] if item["id"] == service)
    sample = patients.load()[patient]
    first = sample.model_copy(update={"drafts": dict([next(iter(sample.drafts.items()))])})
    asked = hook_request(first, "order-select", templates, NOW)
    answer = client.post(f"/cds-services/{service}", json=asked).json
    assert answer is not None
    (card,) = (card for card in answer["cards"] if any("/plan/" in link["url"] for link in card["links"]))
    assert isinstance(card, dict)
    return card


def card_words(client: FlaskClient) -> str:
    card = card_of(client)
    said = [card["summary"], card["detail"], *(each["label"] for each in card["suggestions"])]
    said += [each["label"] for each in card["links"]]
    return " ".join(" ".join(said).split())


def plan_path(client: FlaskClient) -> str:
    links = [link["url"] for link in card_of(client, PLAN_PATIENT)["links"] if "/plan/" in link["url"]]
    return "/plan/" + links[0].partition("/plan/")[2]


def page_words(path: str, client: FlaskClient) -> str:
    return words_of(client.get(path).text)


# Picture -> the words that it shows, as the service would say them now.
WORDS: dict[str, Callable[[FlaskClient], str]] = {
    "card": card_words,
    "plan": lambda client: page_words(plan_path(client), client),
    "evidence": partial(page_words, f"/evidence/{RULE}"),
    "try": partial(page_words, "/"),
}


def hash_of(what: str | bytes) -> str:
    return hashlib.sha256(what.encode() if isinstance(what, str) else what).hexdigest()


def page_picture(browser: Browser, address: str, height: int) -> bytes:
    """The upper part of a page of ours."""
    page = browser.new_context(viewport={"width": WIDTH, "height": height}).new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page.screenshot()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and writes no line for each."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """A folder at an address of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def draft(page: Page) -> None:
    """Orders magnesium in the Sandbox's Rx View."""
    page.get_by_text("Rx View").first.click()
    box = page.locator("input[type=text]:not([id^=react-select])").first
    box.fill(TYPED)
    page.get_by_text(PICKED).first.click()


def sandbox_query(fhir: str, base: str) -> dict[str, str]:
    return {"fhirServiceUrl": fhir, "serviceDiscoveryURL": f"{base}/cds-services", "patientId": CARD_PATIENT}


def sandbox_picture(browser: Browser, build: Path, folder: Path) -> bytes:
    """The card as the CDS Hooks Sandbox shows it."""
    with StubServer(clock=lambda: NOW) as stub, files_of(build) as sandbox:
        app = app_for(folder, fhir_servers=[stub.fhir], dev_preset="sandbox")
        with served(app) as base:
            page = browser.new_context(viewport={"width": 1400, "height": 1400}).new_page()
            page.clock.install(time=NOW)
            asked = {
                "fhirServiceUrl": stub.fhir,
                "serviceDiscoveryURL": f"{base}/cds-services",
                "patientId": CARD_PATIENT,
            }
            page.goto(f"{sandbox}/?{urlencode(asked)}")
            page.get_by_text("Sample Levothyroxine").first.wait_for()
            page.wait_for_load_state("networkidle")
            draft(page)
            page.get_by_text(card_of(app.test_client())["summary"], exact=True).wait_for()
            page.wait_for_load_state("networkidle")
            left = page.get_by_text("Medication", exact=False).first.bounding_box()
            last = page.get_by_role("button", name="Dismiss").last.bounding_box()
            assert left and last
            area = {"x": 0, "y": left["y"] - 20, "width": 680, "height": last["y"] + last["height"] - left["y"] + 70}
            return page.screenshot(clip=FloatRect(**area))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.pictures", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sandbox", type=Path, help="a built copy of the CDS Hooks Sandbox")
    build = parser.parse_args().sandbox
    configure("WARNING")
    FOLDER.mkdir(exist_ok=True)
    shown = json.loads(SHOWN.read_text("utf-8")) if SHOWN.exists() else {}
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        app = app_for(folder / "pages")
        client = app.test_client()
        with served(app) as base:
            made = {
                "plan": page_picture(browser, base + plan_path(client), 760),
                "evidence": page_picture(browser, f"{base}/evidence/{RULE}", 760),
                "try": page_picture(browser, f"{base}/", 950),
            }
        if build is not None:
            made["card"] = sandbox_picture(browser, build, folder / "sandbox")
        for name, picture in made.items():
            if len(picture) > MOST_BYTES:
                print(f"{name}.png has {len(picture)} bytes, more than {MOST_BYTES}", file=sys.stderr)
                return 1
            (FOLDER / f"{name}.png").write_bytes(picture)
            shown[name] = {"words": hash_of(WORDS[name](client)), "picture": hash_of(picture)}
            print(f"docs/pictures/{name}.png: {len(picture)} bytes")
    SHOWN.write_text(json.dumps(shown, indent=1, sort_keys=True) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
