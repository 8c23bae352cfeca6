"""From order-select to order-sign: information is said once to a user, and nothing is ever missing from the screen.

Sessions are generated: users select, change their drafts, select again, retry, hand over, and sign. A client shows the
last answer of each service. A second service without memory says what there is to say.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW
from tests.support.some import some
from tests.test_scenarios import TEMPLATES

Json = dict[str, Any]
SESSIONS = 60
# What a session may have drafted: information, a warning, both, nothing to say, and other doses of the same.
DRAFTS: list[list[Any]] = [
    ["magnesium_oxide"],
    [{"drug": "magnesium_oxide", "times": 2}],
    ["magnesium_hydroxide"],
    ["magnesium_oxide", "ciprofloxacin"],
    ["omeprazole"],
    ["magnesium_citrate", "alendronic_acid"],
]
STEPS = ("select", "select", "select", "change", "change", "retry", "hand over", "wait", "sign", "sign")


class Service:
    """One service, asked as an EHR asks it."""

    def __init__(self, app: Flask, content: Content) -> None:
        self.app, self.builder = app, Builder(content.library, NOW)
        self.kept: dict[tuple[str, int], Json] = {}

    def body(self, hook: str, drafts: int) -> Json:
        if (hook, drafts) not in self.kept:
            case = Scenario.model_validate({
                "name": "a patient in a session", "kind": "fires", "hook": hook, "drugs": ["levothyroxine"],
                "drafts": DRAFTS[drafts], "expect": {"outcome": "fired"},
                "labs": [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}],
            })  # fmt: skip
            self.kept[hook, drafts] = self.builder.request(case, TEMPLATES)
        body: Json = orjson.loads(orjson.dumps(self.kept[hook, drafts]))
        return body

    def ask(self, hook: str, drafts: int, user: str, patient: str) -> list[Json]:
        body = orjson.dumps(self.body(hook, drafts)).replace(b"scenario-patient", patient.encode())
        call = orjson.loads(body)
        call["context"]["userId"] = f"Practitioner/{user}"
        answer = self.app.test_client().post(f"/cds-services/magnesium-{hook}", json=call)
        assert answer.status_code == 200
        cards: list[Json] = answer.json["cards"]
        return cards


def words(card: Json) -> tuple[str, str, str]:
    """What a card says, without the address of a plan, which is dated."""
    return card["indicator"], card["summary"], card["detail"]


class Session:
    """What stands on the screens of two users. `repeated` and `missing`: what should be empty at the end."""

    def __init__(self, service: Service, plain: Service, number: int, clock: list[datetime]) -> None:
        self.service, self.plain, self.clock = service, plain, clock
        self.chance = random.Random(number)
        self.patient, self.user, self.drafts = f"patient-{number}", "one", self.chance.randrange(len(DRAFTS))
        self.screens: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        self.seen: dict[str, datetime] = {}  # when each user last saw the answer to order-select
        self.repeated: list[Any] = []
        self.missing: list[Any] = []
        self.last = "order-select"
        self.signed = 0

    def go(self) -> None:
        for step in [*(self.chance.choice(STEPS) for _ in range(self.chance.randrange(2, 8))), "sign"]:
            self.clock[0] += timedelta(seconds=self.chance.randrange(1, 90))
            match step:
                case "change":
                    self.drafts = self.chance.randrange(len(DRAFTS))
                case "hand over":
                    self.user = "two" if self.user == "one" else "one"
                case "wait":
                    self.clock[0] += timedelta(minutes=self.chance.choice([2, 20]))
                case "retry":
                    self.call(self.last)
                case _:
                    self.call(f"order-{step}")

    def call(self, hook: str) -> None:
        """One call: what it says is shown, and everything that there is to say must then stand on some screen."""
        self.last = hook
        said = [words(card) for card in self.service.ask(hook, self.drafts, self.user, self.patient)]
        whole = [words(card) for card in self.plain.ask(hook, self.drafts, self.user, self.patient)]
        self.screens[self.user, hook] = said
        selected = self.screens.get((self.user, "order-select"), [])
        if hook == "order-select":
            assert said == whole, "never within one service"
            self.seen[self.user] = self.clock[0]
            return
        self.signed += 1
        fresh = self.clock[0] - self.seen.get(self.user, NOW - timedelta(1)) <= timedelta(minutes=15)
        self.repeated += [card for card in said if card in selected and card[0] == "info" and fresh]
        self.missing += [card for card in whole if card not in said and card not in selected]


@pytest.fixture(scope="module")
def clock() -> list[datetime]:
    return [NOW]


@pytest.fixture(scope="module")
def services(
    make_app: Callable[..., Flask], content: Content, clock: list[datetime], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Service, Service]:
    site = tmp_path_factory.mktemp("plain") / "site.yaml"
    site.write_text(yaml.safe_dump({"site": "Test", "repetition": {"not_again_at_signing": [], "reason": "A test"}}))
    app, plain = make_app(now=lambda: clock[0]), make_app(now=lambda: clock[0], site=site)
    return Service(app, content), Service(plain, content)


def test_nothing_is_said_twice_and_nothing_is_missing(services: tuple[Service, Service], clock: list[datetime]) -> None:
    signed = 0
    for number in range(SESSIONS):
        session = Session(*services, number, clock)
        session.go()
        assert session.repeated == [], number
        assert session.missing == [], number
        signed += session.signed
    assert signed > SESSIONS


def said(services: tuple[Service, Service], patient: str, hook: str, drafts: int = 0, user: str = "one") -> set[str]:
    """The summaries of the cards that tell a finding."""
    cards = services[0].ask(hook, drafts, user, patient)
    return {card["summary"] for card in cards if card["source"]["topic"]["code"] != "not_evaluated"}


def test_information_seen_is_not_said_to_the_same_user_again(services: tuple[Service, Service]) -> None:
    seen = said(services, "a", "order-select")
    assert seen
    assert said(services, "a", "order-sign") == set()
    assert said(services, "a", "order-sign", user="another") == seen
    assert said(services, "b", "order-sign") == seen, "another patient"


def test_a_changed_order_is_spoken_of_again(services: tuple[Service, Service]) -> None:
    assert said(services, "c", "order-select", 0)
    assert said(services, "c", "order-sign", 1), "twice a day is another order"


def test_only_what_stood_there_last_counts(services: tuple[Service, Service]) -> None:
    """A client drops a service's earlier cards when it answers again: what is silenced then would stand nowhere."""
    seen = said(services, "d", "order-select", 0)
    assert said(services, "d", "order-select", 4) == set()
    assert said(services, "d", "order-sign", 0) == seen != set()


def test_no_hash_tells_a_patient_or_a_user(services: tuple[Service, Service], clock: list[datetime]) -> None:
    said(services, "patient-with-a-name", "order-select", user="user-with-a-name")
    folder = Path(services[0].app.extensions["advisor"].settings.data_dir)
    for path in some(folder.iterdir()):
        assert b"with-a-name" not in path.read_bytes(), path
