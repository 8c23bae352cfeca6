"""Every page tried through HTTP on the patients of its scenario file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.content.site import read_site
from cds_service.hooks.app import Content
from cds_service.hooks.prefetch import all_needs
from tests.conftest import NOW, shipped
from tests.scenario import KINDS, Builder, Scenario, ScenarioFile, read_file

FOLDER = Path(__file__).parent / "scenarios"
EXTENSION = "org.magnesium-cds"
# Everything that any service may ask for; a service reads its own keys.
TEMPLATES = {key: need.template for key, need in all_needs(shipped().library).items()}


def files() -> dict[str, ScenarioFile]:
    """Every scenario file by page id."""
    return {
        path.stem: read_file(yaml.load(path.read_text("utf-8"), yaml.CSafeLoader))
        for path in sorted(FOLDER.glob("*.yaml"))
    }


FILES = files()
CASES = [pytest.param(page, case, id=f"{page}: {case.name}") for page, file in FILES.items() for case in file.scenarios]


def post(client: FlaskClient, content: Content, scenario: Scenario) -> dict[str, Any]:
    """The answer to a scenario's call."""
    body = Builder(content, NOW).request(scenario, TEMPLATES)
    response = client.post(
        f"/cds-services/magnesium-{scenario.hook}", data=orjson.dumps(body), content_type="application/json"
    )
    assert response.status_code == 200, response.json
    return response.json


@pytest.fixture(scope="session")
def site_app(make_app: Callable[..., Flask]) -> Flask:
    """A service of its own for site values, so that they never touch the default one."""
    return make_app()


@pytest.fixture
def site_client(site_app: Flask) -> Callable[[dict[str, Any]], FlaskClient]:
    """The service under a site document, read as the service reads its file."""

    def make(site: dict[str, Any]) -> FlaskClient:
        current = site_app.extensions["advisor"].current
        text = yaml.safe_dump({"site": "Test hospital", **site})
        current.take(read_site(text, "site.yaml", current.library, frozenset(all_needs(current.library))))
        return site_app.test_client()

    return make


@pytest.mark.parametrize(("page", "case"), CASES)
def test_the_page_says_what_the_scenario_expects(
    page: str,
    case: Scenario,
    client: FlaskClient,
    content: Content,
    site_client: Callable[[dict[str, Any]], FlaskClient],
) -> None:
    answer = post(site_client(case.site) if case.site else client, content, case)
    outcomes = {item["page"]: item for item in answer["extension"][EXTENSION]["outcomes"]}
    expect = case.expect
    assert page in outcomes, f"{page} is not a page of {case.hook}"
    assert outcomes[page]["outcome"] == expect.outcome, outcomes[page]
    if expect.reason:
        assert expect.reason in outcomes[page].get("reason", "")
    for other, kind in expect.others.items():
        assert outcomes[other]["outcome"] == kind, outcomes[other]
    if expect.cards is not None:
        assert len(answer["cards"]) == expect.cards
    cards = [card for card in answer["cards"] if page in pages_of(card)]
    if expect.outcome != "fired":
        assert not cards
        return
    if not case.site or case.site.get("pages", {}).get(page, {}).get("show") is None:
        shown_or_named = cards or [c for c in answer["cards"] if title(content, page) in c.get("detail", "")]
        assert shown_or_named, "fired, and neither shown nor named"
    for card in cards:
        check_card(card, expect)


def check_card(card: dict[str, Any], expect: Any) -> None:
    """What the scenario says of the card's words."""
    whole = card["summary"] + "\n" + card["detail"]
    for text in [expect.summary] if isinstance(expect.summary, str) else expect.summary:
        assert text in whole if text not in card["summary"] else True, card["summary"]
    for text in [expect.detail] if isinstance(expect.detail, str) else expect.detail:
        assert text in card["detail"], card["detail"]
    for text in [expect.absent] if isinstance(expect.absent, str) else expect.absent:
        assert text not in whole, whole
    if expect.indicator:
        assert card["indicator"] == expect.indicator
    if expect.suggestions is not None:
        assert [item["label"] for item in card.get("suggestions", [])] == expect.suggestions


def pages_of(card: dict[str, Any]) -> list[str]:
    own = card["extension"][EXTENSION]
    return [own["page"], *(item["page"] for item in own.get("alsoFired", []))]


def title(content: Content, page: str) -> str:
    return content.library.pages[page].page.title


PAGES = sorted(name for name, loaded in shipped().library.pages.items() if loaded.page.status == "active")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_a_scenario_of_every_kind_or_says_why_not(page: str) -> None:
    assert page in FILES, f"tests/scenarios/{page}.yaml is missing"
    file = FILES[page]
    have = {case.kind for case in file.scenarios}
    assert have | set(file.not_here) >= set(KINDS), f"missing: {sorted(set(KINDS) - have - set(file.not_here))}"
    assert not have & set(file.not_here), "a kind is both here and not here"


def test_every_scenario_file_belongs_to_a_page(content: Content) -> None:
    assert set(FILES) <= set(content.library.pages)
