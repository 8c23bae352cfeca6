"""The docs as a site: no warning, no dead link, nothing from elsewhere; and as profile dev serves it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from cds_service.publish import docs_site
from tests.conformance.calls import run_cli
from tests.console.browser import served
from tests.doc_blocks import ROOT
from tests.support.own_disk import on_own_disk, own_disk
from tests.support.requires import require
from tests.support.some import some

DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command, where `serve` would look for it."""
    folder = tmp_path_factory.mktemp("site") / "docs"
    done = run_cli("docs", "build", "--out", folder)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


@pytest.fixture
def built(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site, as one that was built without --out."""
    monkeypatch.setattr(docs_site, "site_folder", lambda: site)
    return site


@pytest.fixture
def nothing_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_site, "site_folder", lambda: tmp_path / "none")


class Addresses(HTMLParser):
    """Of a page what it loads, where it links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.anchors.add(held.get("id", ""))
        if tag == "a" and "href" in held:
            self.links.add(held["href"])
        elif tag == "link" and "stylesheet" in held.get("rel", ""):
            self.loads.add(held["href"])
        elif "src" in held:
            self.loads.add(held["src"])


def dead_links(texts: dict[str, str], files: set[str]) -> list[str]:
    """Links of pages (address -> HTML) that lead to no file, or to an anchor that is not there."""
    read = {name: Addresses(text) for name, text in texts.items()}
    dead = []
    for name, page in read.items():
        for link in page.links | page.loads:
            target = urlsplit(urljoin(f"http://here/{name}", link))
            path = unquote(target.path).lstrip("/")
            if target.netloc != "here":
                continue
            anchor_gone = target.fragment and path in read and unquote(target.fragment) not in read[path].anchors
            if path not in files or anchor_gone:
                dead.append(f"{name}: {link}")
    return sorted(dead)


def html_of(site: Path) -> dict[str, str]:
    return {file.relative_to(site).as_posix(): file.read_text("utf-8") for file in site.rglob("*.html")}


def test_no_link_of_the_site_is_dead(site: Path) -> None:
    files = {file.relative_to(site).as_posix() for file in site.rglob("*") if file.is_file()}
    assert dead_links(html_of(site), files) == []
    assert dead_links({"a.html": '<a href="b.html">'}, {"a.html"}) == ["a.html: b.html"]
    assert dead_links({"a.html": '<a href="#b"><b id="c">'}, {"a.html"}) == ["a.html: #b"]


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    for name, text in some(html_of(site).items()):
        assert [load for load in Addresses(text).loads if urlsplit(load).netloc] == [], name
    for file in some(site.rglob("*.css")):
        assert re.findall(r"@import|url\(['\"]?(?:https?:)?//", file.read_text("utf-8")) == [], file.name


def test_every_page_is_in_the_site(site: Path) -> None:
    for file in some(DOCS.rglob("*.md")):
        assert (site / file.relative_to(DOCS).with_suffix(".html")).is_file(), file


@pytest.mark.parametrize(
    "fault",
    [
        "\n[gone](gone.md)\n",
        "\n[gone](set.md#gone)\n",
        "\n[gone](../docker/gone.conf)\n",
        "\n```{no-such-directive}\n```\n",
        "\n#### Too deep\n",
    ],
)
def test_a_fault_in_a_page_keeps_the_site_from_being_built(fault: str, tmp_path: Path) -> None:
    """In a project of the three pages that the fault needs, so that it takes a second."""
    pages = tmp_path / "docs"
    pages.mkdir()
    shutil.copy(DOCS / "conf.py", pages)
    (tmp_path / "pyproject.toml").touch()
    (pages / "set.md").write_text("# Set\n")
    (pages / "index.md").write_text("# Docs\n\n## Set\n\n- [Set](set.md)\n")
    assert docs_site.build(pages, tmp_path / "good") == 3  # and the page of the search
    (pages / "set.md").write_text(f"# Set\n{fault}")
    with pytest.raises(docs_site.DocsError, match=r"set\.md"):
        docs_site.build(pages, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_page_that_no_other_names_is_a_fault(tmp_path: Path) -> None:
    pages = tmp_path / "docs"
    pages.mkdir()
    shutil.copy(DOCS / "conf.py", pages)
    (pages / "index.md").write_text("# Docs\n")
    (pages / "lost.md").write_text("# Lost\n")
    with pytest.raises(docs_site.DocsError, match=r"lost\.md"):
        docs_site.build(pages, tmp_path / "site")


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = run_cli("docs", "build", "--out", tmp_path)
    assert (done.returncode, "something else" in done.stderr) == (1, True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


# Served.


@own_disk
def test_a_full_disk_is_said_of_the_folder_of_the_site_and_the_older_site_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"
    words = [sys.executable, "-m", "cds_service", "docs", "build", "--out", small / "site"]
    older = f"mkdir site; echo the older site > site/index.html; echo {{}} > site/{docs_site.MARK}"
    code, said = on_own_disk("1m", small, words, before=older, after="ls -A . site; cat site/index.html")
    assert code == 73
    assert said == (
        f"{small}/site cannot be made: No space left on device. Name another folder with --out.\n"
        f".:\nsite\n\nsite:\nindex.html\n{docs_site.MARK}\nthe older site\n"
    )


def test_a_service_in_profile_dev_serves_the_site_that_was_built(client: FlaskClient, built: Path) -> None:
    answer = client.get("/docs/set.html")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "furo" in answer.text
    assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
    assert client.get("/docs").headers["Location"] == "/docs/"
    assert client.get("/docs/").status_code == client.get("/docs/_static/styles/furo.css").status_code == 200
    for path in ("gone.html", "made-from.json", "../pyproject.toml", "%2e%2e/pyproject.toml"):
        assert client.get(f"/docs/{path}").status_code == 404, path


def test_a_site_of_older_pages_is_not_served(client: FlaskClient, built: Path, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    changed = tmp_path / "docs"
    shutil.copytree(DOCS, changed)
    (changed / "set.md").write_text("# Set anew\n")
    for place in ("cds_service.publish.docs_site", "cds_service.web.docs_pages"):
        monkeypatch.setattr(f"{place}.pages_folder", lambda: changed)
    assert "Set anew" in client.get("/docs/set.html").text


def test_without_a_site_the_same_pages_are_served_plainly(client: FlaskClient, nothing_built: None) -> None:
    names = [file.relative_to(DOCS).with_suffix(".html").as_posix() for file in DOCS.rglob("*.md")]
    texts = {name: client.get(f"/docs/{name}").text for name in names}
    assert all("magnesium-cds docs build" in text for text in texts.values())
    body = {name: text.split("<main")[1].split("</main>")[0].replace('"/docs/"', '"/index.html"')
            for name, text in texts.items()}  # fmt: skip
    files = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*") if file.suffix in (".json", ".png")}
    assert dead_links(body, {*names, *files}) == []
    for file in some(files):
        assert client.get(f"/docs/{file}").status_code == 200
    assert "<!--" not in "".join(body.values()) and "&lt;!--" not in "".join(body.values())
    assert "<h1" in client.get("/docs/").text.split("<main")[1]
    for path in ("gone.html", "set.md", "conf.py", "../README.html"):
        assert client.get(f"/docs/{path}").status_code == 404, path


def test_a_service_in_production_serves_no_docs(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "clients.toml").write_text(
        '[[clients]]\nname = "our-ehr"\nissuer = "https://ehr.example"\njku = ["https://ehr.example/jwks.json"]\n'
    )
    app = make_app(profile="production", public_url="https://cds.example", clients=tmp_path / "clients.toml")
    assert app.test_client().get("/docs/").status_code == 404


# In a browser.


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = require("chromium", "looks at the docs in a browser", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, make_app: Callable[..., Flask], built: Path) -> Iterator[Page]:
    """A page of the service; whatever it complains of, or asks of another host, fails the test."""
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    with served(make_app()) as base:
        opened = chromium.new_page(base_url=base)
        opened.on("console", said)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(base) else None)
        yield opened
        opened.close()
    assert complaints == []


def test_the_search_finds_a_word_under_the_served_policy(page: Page) -> None:
    page.goto("/docs/")
    page.fill("input[name=q]", "trusted_proxies")
    page.press("input[name=q]", "Enter")
    page.wait_for_selector("#search-results li p.context")  # the words around what was found, read from the page itself
    assert any("Settings" in text for text in page.locator("#search-results li a").all_inner_texts())


def test_the_dark_look_is_chosen_and_kept(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/docs/set.html")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):
        page.locator(".theme-toggle:visible").first.click()
        if page.evaluate("document.body.dataset.theme") == "dark":
            break
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_each_page_is_shown_without_a_complaint(page: Page, built: Path) -> None:
    for name in some(sorted(html_of(built).keys() - {"search.html"})):
        page.goto(f"/docs/{name}")
        assert page.locator("article").is_visible()


def test_a_script_that_was_not_there_at_the_build_does_not_run(built: Path, chromium: Browser,
                                                               make_app: Callable[..., Flask]) -> None:  # fmt: skip
    """Planted in a page of a copy, under the policy of the build."""
    page = (built / "set.html").read_text("utf-8")
    (built / "planted.html").write_text(page.replace("</body>", "<script>window.ran = true</script></body>"), "utf-8")
    try:
        with served(make_app()) as base:
            opened = chromium.new_page(base_url=base)
            opened.goto("/docs/planted.html")
            assert opened.locator("article").is_visible()
            assert opened.evaluate("window.ran") is None
            opened.close()
    finally:
        (built / "planted.html").unlink()
