"""Where it interrupts and where it informs: two parts of each service, and the moments of an EHR that get one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.settings import Settings
from cds_service.trust.gatekeeper import Caller, Gatekeeper
from cds_service.trust.profile import Profile
from tests.clients.shapes import epic
from tests.conformance.calls import Body, every_sample_call, sample_call
from tests.conftest import NOW
from tests.support.some import some

PARTS = {"urgent": ("warning", "critical"), "information": ("info",)}


@pytest.fixture(scope="module")
def split_app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(split_services=True)


@pytest.fixture
def split(split_app: Flask) -> Iterator[FlaskClient]:
    yield split_app.test_client()


def ask(client: FlaskClient, body: Body, part: str = "") -> list[Body]:
    response = client.post(f"/cds-services/magnesium-{body['hook']}{part}", json=body)
    assert response.status_code == 200, response.json
    cards: list[Body] = response.json["cards"]
    return cards


def findings(cards: list[Body]) -> set[str]:
    return {card["summary"] for card in cards if card["source"]["topic"]["code"] != "not_evaluated"}


def test_off_unless_a_setting_says_so(client: FlaskClient) -> None:
    assert not Settings().split_services
    assert len(client.get("/cds-services").json["services"]) == 3
    body = sample_call(client, "low-magnesium")
    assert client.post("/cds-services/magnesium-patient-view-urgent", json=body).status_code == 404


def test_discovery_lists_both_parts_of_each_service(split: FlaskClient) -> None:
    listed = {item["id"]: item for item in split.get("/cds-services").json["services"]}
    assert len(listed) == 9
    for name in ("magnesium-patient-view", "magnesium-order-select", "magnesium-order-sign"):
        for part in PARTS:
            assert listed[f"{name}-{part}"]["prefetch"] == listed[name]["prefetch"]
            assert listed[f"{name}-{part}"]["hook"] == listed[name]["hook"]
    assert len({item["title"] for item in listed.values()}) == 9


def test_each_part_has_its_cards_and_together_they_have_all(split: FlaskClient, client: FlaskClient) -> None:
    """More than three findings may be shown by two parts than by one service, never fewer."""
    told = {"urgent": 0, "information": 0}
    for name, body in some(list(every_sample_call(client))):
        whole = ask(split, body)
        both: set[str] = set()
        for part, indicators in PARTS.items():
            cards = ask(split, body, f"-{part}")
            tell = [card for card in cards if card["source"]["topic"]["code"] != "not_evaluated"]
            assert all(card["indicator"] in indicators for card in tell), name
            assert tell or len(cards) <= 1, name
            both |= findings(cards)
            told[part] += len(tell)
        assert findings(whole) <= both, name
    assert min(told.values()) > 3


@pytest.mark.parametrize("part", PARTS)
def test_no_part_is_an_all_clear_about_what_was_not_looked_at(split: FlaskClient, part: str) -> None:
    body = sample_call(split, "healthy")
    assert ask(split, body, f"-{part}") == []
    del body["prefetch"]["medications"]
    (card,) = ask(split, body, f"-{part}")
    assert card["source"]["topic"]["code"] == "not_evaluated"


def test_feedback_goes_to_the_part_whose_card_it_is(split: FlaskClient) -> None:
    card = ask(split, sample_call(split, "low-magnesium"), "-urgent")[0]
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": NOW.isoformat()}
    path = "/cds-services/magnesium-patient-view-urgent/feedback"
    assert split.post(path, json={"feedback": [item]}).status_code == 200
    rows = split.get("/feedback").text
    assert card["uuid"] in rows
    assert '"card_match":"matched"' in rows


def test_information_seen_in_its_part_is_not_said_again_at_signing(split: FlaskClient) -> None:
    select = sample_call(split, "levothyroxine", "order-select")
    sign = sample_call(split, "levothyroxine", "order-sign")
    sign["context"]["userId"] = select["context"]["userId"]
    sign["context"]["draftOrders"] = select["context"]["draftOrders"]
    seen = findings(ask(split, select, "-information"))
    assert seen
    assert findings(ask(split, sign)) & seen == set()
    sign["context"]["userId"] = "Practitioner/another"
    assert seen <= findings(ask(split, sign))


@pytest.mark.parametrize(
    ("trigger", "indicators"),
    [("60", {"info"}), ("23", {"warning", "critical"}), ("18", {"info", "warning", "critical"})],
)
def test_a_moment_of_the_ehr_gets_the_cards_that_its_client_says(
    split_app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, trigger: str, indicators: set[str]
) -> None:
    triggers = {"60": "information", "23": "urgent"}
    profile = Profile.model_validate({"preset": "epic", "triggers": triggers})
    bodies: list[Any] = list(every_sample_call(client))
    monkeypatch.setattr(Gatekeeper, "admit", lambda *_: Caller("clinic", (), profile))
    seen = set()
    for _, body in bodies:
        cards = ask(split_app.test_client(), epic(body, trigger))
        seen |= {card["indicator"] for card in cards if card["source"]["topic"]["code"] != "notevaluated"}
    assert seen == indicators
