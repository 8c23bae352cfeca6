"""Build sheets hold what is true of the service: its addresses, queries, scopes that suffice, links and codes."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from cds_service.advice.needs import all_needs
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE
from cds_service.publish.ehr_sheet import Part, as_html, as_markdown, ehr_pages, sheet
from cds_service.sandbox.mock_ehr import Signer
from cds_service.trust.clients import Client
from cds_service.trust.outbound import may_read
from cds_service.trust.profile import PRESETS, preset
from tests.conformance.calls import ROOT, answered, every_sample_call, invoke
from tests.conftest import NOW, shipped
from tests.support.some import some
from tests.trust.support import client_entry, clients_file

BASE = "http://localhost"
HTML_ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)


def parts(name: str) -> dict[str, Part]:
    client = Client.model_validate(client_entry(Signer("https://ehr.example"), profile={"preset": name}))
    return {part.title: part for part in sheet(client, BASE, make_rulebook(shipped().library, NO_SITE, NOW.date()))}


@pytest.mark.parametrize("name", PRESETS)
def test_addresses_and_queries_are_those_of_discovery(name: str, client: FlaskClient) -> None:
    found = {item["id"]: item for item in client.get("/cds-services").json["services"]}
    addresses = parts(name)["Addresses"].rows
    assert [row[1] for row in addresses] == [
        f"{BASE}/cds-services/{key}"
        for key, item in found.items()
        if name != "oracle" or item["hook"] == "patient-view"
    ]
    told = {row[0]: row[1].strip("`") for row in parts(name)["Prefetch"].rows}
    called = [item for item in found.values() if name != "oracle" or item["hook"] == "patient-view"]
    assert told == {key: query for item in called for key, query in item["prefetch"].items()}


@pytest.mark.parametrize("name", PRESETS)
def test_the_scopes_suffice_for_every_read(name: str) -> None:
    """But those whose names at Epic nobody could tell: observations that no laboratory makes."""
    scope = " ".join(
        re.findall(r"`([^`]+)`", " ".join(row[0] for row in parts(name)["Scopes of the access token"].rows))
    )
    for need in some(list(all_needs(shipped().library).values())):
        way = "search" if "?" in need.template else "read"
        elsewhere = name == "epic" and need.resource_type == "Observation" and not need.laboratory
        assert may_read(scope, need.resource_type, way, need.laboratory) is not elsewhere, need.key
    assert may_read(scope, "Medication", "read")


def test_links_reasons_and_topics_of_all_cards_stand_in_the_sheet(client: FlaskClient) -> None:
    told = parts("generic")
    prefixes = [row[0].strip("`") for row in told["Links that cards carry"].rows]
    codes = {row[0].strip("`") for row in told["Reasons to dismiss a card"].rows}
    topics = {row[0].strip("`") for row in told["Topics"].rows}
    seen = 0
    for _, body in every_sample_call(client):
        for card in answered(client, body)["cards"]:
            urls = [card["source"]["url"], *(link["url"] for link in card.get("links", ()))]
            assert all(any(url.startswith(prefix) for prefix in prefixes) for url in urls), urls
            assert {reason["code"] for reason in card.get("overrideReasons", ())} <= codes
            assert card["source"]["topic"]["code"] in topics
            seen += 1
    assert seen > 20


def test_epic_gets_a_topic_of_each_rule_and_oracle_every_link_to_the_letter() -> None:
    library = shipped().library
    assert len(parts("epic")["Topics"].rows) == len(library.rules) + 1
    urls = {row[0] for row in parts("oracle")["Links that cards carry"].rows}
    assert {f"{BASE}/evidence/{rule}" for rule in library.rules} < urls
    assert not any("/plan" in url for url in urls)


@pytest.mark.parametrize("name", PRESETS)
def test_the_page_in_html_holds_what_the_markdown_holds(name: str) -> None:
    listed = list(parts(name).values())
    page = as_html("A <title>", listed)
    assert "<h1>A &lt;title&gt;</h1>" in page
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in HTML_ROW.findall(page) if "<td>" in row]
    plain = [[html.unescape(re.sub(r"</?code>", "`", cell)) for cell in row] for row in rows]
    assert plain == [list(row) for part in listed for row in part.rows]
    assert all(cell.strip("`").replace("|", r"\|") in as_markdown(listed) for row in plain for cell in row)


def test_a_cell_cannot_break_the_page() -> None:
    told = [Part("x", (), ("a",), (("<script>|`x<y`",),))]
    assert "<td>&lt;script&gt;|<code>x&lt;y</code></td>" in as_html("x", told)
    assert r"| <script>\|`x<y` |" in as_markdown(told)


def test_the_command_prints_the_sheet_of_a_client(tmp_path: Path) -> None:
    clients_file(tmp_path, client_entry(Signer("https://ehr.example"), profile={"preset": "epic"}))
    given = ("--data-dir", tmp_path, "--public-url", "https://cds.example")
    text = invoke("clients", "sheet", "ehr", *given).stdout
    assert text.startswith("# Epic: build sheet for ehr\n")
    assert "https://cds.example/cds-services/magnesium-order-sign" in text
    assert "to be told: `orderables` in the site values" in text
    assert invoke("clients", "sheet", "ehr", "--html", *given).stdout.startswith("<!doctype html>")
    assert invoke("clients", "sheet", "nobody", *given).returncode == 1


def test_the_pages_of_the_docs_are_current_and_hold_each_fact() -> None:
    pages = ehr_pages(shipped().library)
    assert pages.keys() == {path.name for path in (ROOT / "docs" / "ehrs").iterdir()}
    for name in PRESETS:
        text = pages[f"{name}.md"]
        assert (ROOT / "docs" / "ehrs" / f"{name}.md").read_text() == text
        assert all(f"| {fact} |" in text for fact in preset(name).facts)
        assert all(f"- {item}" in text for item in preset(name).open)
