"""Fewer cards: what was told is not told again where a site says so; new data and critical findings break it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.store import statements
from tests.conftest import NOW

SYSTEM = "urn:magnesium-cds:override-reason"


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site_client(make_app: Callable[..., Flask], tmp_path: Path, clock: Clock) -> Callable[..., FlaskClient]:
    def make(**repetition: Any) -> FlaskClient:
        values: dict[str, Any] = {"site": "Test hospital"}
        if repetition:
            values["repetition"] = {**repetition, "reason": "Agreed with the wards"}
        file = tmp_path / "site.yaml"
        file.write_text(yaml.safe_dump(values), "utf-8")
        app = make_app(now=clock, site=file)
        return app.test_client()

    return make


def ask(client: FlaskClient, content: Content, hook: str, value: float = 0.58, **more: Any) -> list[dict[str, Any]]:
    """The deficiency and timing cards of a patient with a low magnesium, taken a day before the test begins."""
    case = Scenario.model_validate(
        {"name": "a patient who is seen again", "kind": "fires", "hook": hook, "expect": {"outcome": "fired"},
         "labs": [{"lab": "serum_magnesium", "value": value, "unit": "mmol/L"},
                  {"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}], **more}
    )  # fmt: skip
    services = {item["hook"]: item for item in client.get("/cds-services").json["services"]}
    body = Builder(content.library, NOW).request(case, services[hook]["prefetch"])
    body["context"]["userId"] = "Practitioner/one"
    address = f"/cds-services/{services[hook]['id']}"
    response = client.post(address, data=orjson.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.json
    return [card for card in response.json["cards"] if card["source"]["topic"]["code"] != "not_evaluated"]


def override(client: FlaskClient, card: dict[str, Any], clock: Clock, code: str = "will-monitor") -> None:
    moment = clock.now.isoformat().replace("+00:00", "Z")
    reason = {"reason": {"code": code, "system": SYSTEM}}
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": moment, "overrideReason": reason}
    response = client.post("/cds-services/magnesium-patient-view/feedback", json={"feedback": [item]})
    assert response.status_code == 200


def test_by_default_an_override_silences_nothing(
    site_client: Callable[..., FlaskClient], content: Content, clock: Clock
) -> None:
    client = site_client()
    (card,) = ask(client, content, "patient-view")
    override(client, card, clock)
    clock.now += timedelta(hours=1)
    assert ask(client, content, "patient-view")


def test_will_monitor_silences_for_the_days_that_the_site_set_and_no_longer(
    site_client: Callable[..., FlaskClient], content: Content, clock: Clock
) -> None:
    client = site_client(after_override_days=7)
    (card,) = ask(client, content, "patient-view")
    override(client, card, clock)
    clock.now += timedelta(days=6)
    assert ask(client, content, "patient-view") == []
    clock.now += timedelta(days=2)
    assert ask(client, content, "patient-view")


def test_another_reason_does_not_silence(
    site_client: Callable[..., FlaskClient], content: Content, clock: Clock
) -> None:
    client = site_client(after_override_days=7)
    (card,) = ask(client, content, "patient-view")
    override(client, card, clock, code="result-not-reliable")
    clock.now += timedelta(days=1)
    assert ask(client, content, "patient-view")


def test_new_or_worse_data_break_the_silence_at_once(
    site_client: Callable[..., FlaskClient], content: Content, clock: Clock
) -> None:
    client = site_client(after_override_days=7)
    (card,) = ask(client, content, "patient-view")
    override(client, card, clock)
    assert ask(client, content, "patient-view") == []
    assert ask(client, content, "patient-view", value=0.52)


def test_a_critical_finding_comes_back_after_a_day(
    site_client: Callable[..., FlaskClient], content: Content, clock: Clock
) -> None:
    client = site_client(after_override_days=30)
    (card,) = ask(client, content, "patient-view", value=0.35)
    assert card["indicator"] == "critical"
    override(client, card, clock)
    clock.now += timedelta(hours=23)
    assert ask(client, content, "patient-view", value=0.35) == []
    clock.now += timedelta(hours=2)
    assert ask(client, content, "patient-view", value=0.35)


ORDERS = {"drugs": ["levothyroxine"], "drafts": ["magnesium_oxide"], "value": 0.85}
WARNED = {"drugs": ["ciprofloxacin"], "drafts": ["magnesium_oxide"], "value": 0.85}


def test_order_sign_does_not_repeat_information_that_order_select_gave_minutes_before(
    site_client: Callable[..., FlaskClient], content: Content, clock: Clock
) -> None:
    client = site_client()
    assert ask(client, content, "order-select", **ORDERS)
    clock.now += timedelta(minutes=5)
    assert ask(client, content, "order-sign", **ORDERS) == []
    assert ask(client, content, "order-sign", **ORDERS) == [], "nor on a retry: it stands on the screen of order-select"
    clock.now += timedelta(minutes=30)
    assert ask(client, content, "order-sign", **ORDERS)


def test_a_warning_is_given_once_more_unless_a_site_says_otherwise(
    site_client: Callable[..., FlaskClient], content: Content
) -> None:
    for repetition, again in (({}, True), ({"not_again_at_signing": ["info", "warning"]}, False)):
        client = site_client(**repetition)
        first = ask(client, content, "order-select", **WARNED)
        assert [card["indicator"] for card in first] == ["warning"]
        assert bool(ask(client, content, "order-sign", **WARNED)) is again


def test_a_site_may_have_everything_repeated(site_client: Callable[..., FlaskClient], content: Content) -> None:
    client = site_client(not_again_at_signing=[])
    assert ask(client, content, "order-select", **ORDERS)
    assert ask(client, content, "order-sign", **ORDERS)


TIMED = {"value": 0.85, "drugs": ["levothyroxine", "magnesium_oxide"]}


@pytest.mark.parametrize(
    ("repetition", "patient", "asked"),
    [({}, {"value": 0.35}, []), ({"after_override_days": 7}, {"value": 0.35}, ["critical"]), ({}, TIMED, ["info"])],
    ids=["nothing silences a critical card", "this site's days do", "information may have been accepted"],
)
def test_the_store_is_asked_only_of_what_may_be_silenced(
    site_client: Callable[..., FlaskClient], content: Content, monkeypatch: pytest.MonkeyPatch,
    repetition: dict[str, Any], patient: dict[str, Any], asked: list[str],
) -> None:  # fmt: skip
    read, found = statements.read_past, []

    def counted(connection: Any, wanted: Any, since: datetime) -> Any:
        found.extend(wanted)
        return read(connection, wanted, since)

    monkeypatch.setattr(statements, "read_past", counted)
    (card,) = ask(site_client(**repetition), content, "patient-view", **patient)
    assert len(found) == len(asked)
    assert not asked or asked == [card["indicator"]]
