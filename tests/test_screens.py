"""Cards on screens that show little: no tables, no Markdown, no links; fewer cards; 412 for what was not checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.trust.clients import Profile
from cds_service.trust.gatekeeper import Caller, Gatekeeper
from tests.conftest import NOW

DRUGS = [
    {"drug": "levothyroxine", "at": ["07:00"]},
    {"drug": "ciprofloxacin", "at": ["08:00", "20:00"], "times": 2},
]


@pytest.fixture
def ask(make_app: Callable[..., Flask], content: Content, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Ask as a client with this profile, past the token check, which has tests of its own."""

    def call(profile: Profile, nulls: tuple[str, ...] = (), **more: Any) -> Any:
        monkeypatch.setattr(Gatekeeper, "admit", lambda *_: Caller("clinic", (), profile))
        case = Scenario.model_validate({
            "name": "an order on a small screen", "kind": "fires", "hook": "order-select", "drugs": DRUGS,
            "drafts": ["magnesium_oxide"], "expect": {"outcome": "fired"},
            "labs": [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}], **more,
        })  # fmt: skip
        client = make_app().test_client()
        templates = client.get("/cds-services").json["services"][1]["prefetch"]
        request = Builder(content.library, NOW).request(case, templates)
        request["prefetch"] |= dict.fromkeys(nulls)
        body = orjson.dumps(request)
        return client.post("/cds-services/magnesium-order-select", data=body, content_type="application/json")

    return call


def test_a_screen_without_tables_gets_lines(ask: Callable[..., Any]) -> None:
    detail = ask(Profile(markdown="basic")).json["cards"][0]["detail"]
    assert "| 12:30 |" not in detail
    assert "- 12:30: **magnesium**" in detail


def test_a_screen_without_markdown_gets_plain_text(ask: Callable[..., Any]) -> None:
    detail = ask(Profile(markdown="none")).json["cards"][0]["detail"]
    assert "*" not in detail
    assert "|" not in detail
    assert "12:30: magnesium" in detail


def test_a_screen_without_links_gets_none(ask: Callable[..., Any]) -> None:
    assert all("links" not in card for card in ask(Profile(links="none")).json["cards"])
    assert any("links" in card for card in ask(Profile()).json["cards"])


def test_one_card_at_most_names_the_rest(ask: Callable[..., Any]) -> None:
    more = {"drafts": ["magnesium_oxide", "magnesium_hydroxide"], "drugs": ["levothyroxine"]}
    assert len(ask(Profile(), **more).json["cards"]) > 1
    (card,) = ask(Profile(max_cards=1), **more).json["cards"]
    assert "Further findings" in card["detail"]


def test_a_client_may_want_412_for_what_was_not_checked(ask: Callable[..., Any]) -> None:
    more = {"without": ["medication_statements"], "drugs": []}
    assert ask(Profile(), **more).status_code == 200
    assert ask(Profile(on_incomplete="412"), **more).status_code == 412


def test_null_in_the_prefetch_says_none_or_failed_as_the_client_has_it(ask: Callable[..., Any]) -> None:
    nulls = ("medication_statements",)
    said = [str(ask(Profile(null_prefetch=way), nulls).json["cards"]) for way in ("none", "failed")]
    assert ["could not be read: the EHR sent null" in each for each in said] == [False, True]
