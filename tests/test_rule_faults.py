"""A bug that one patient meets in one rule (F42): that rule says so, the others answer, and operators are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import CapturingLogger

from cds_service.advice.in_words import Display
from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import ActiveRule
from cds_service.content.test_words import TEST_WORDS
from cds_service.hooks import services
from cds_service.rules import evaluate as rules
from cds_service.rules import trying
from cds_service.rules.verdict import Reason
from tests.test_accepting import ask, order, timing
from tests.trust.support import SERVICE, Json, body_for, states

LOW = "low_serum_magnesium"
DEPLETED = "low_magnesium_with_depleting_drug"
LEVOTHYROXINE, CIPROFLOXACIN = "levothyroxine_timing", "ciprofloxacin_timing"
NAME = "Mona Canary"  # a message may hold anything: none of it may leave
WORDS = "an internal fault, reported to the operators as "


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app().test_client()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, expected_faults: list[Any]) -> Iterator[CapturingLogger]:
    """What is logged of rules; the tests here mean their faults to happen."""
    logger = CapturingLogger()
    monkeypatch.setattr(services, "faults_log", logger)
    yield logger
    assert expected_faults


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, told: CapturingLogger) -> Callable[..., None]:
    """Breaks the trying of these rules."""

    def make(*rule_ids: str) -> None:
        before = rules._try

        def try_rule(ready: Any, *asked: Any) -> Any:
            if ready.rule.id in rule_ids:
                raise ZeroDivisionError(f"{NAME} divided")
            return before(ready, *asked)

        monkeypatch.setattr(rules, "_try", try_rule)

    return make


@pytest.fixture
def wordless(monkeypatch: pytest.MonkeyPatch, told: CapturingLogger) -> Callable[..., None]:
    """Breaks the wording of these rules' findings."""

    def make(*rules: str) -> None:
        before = Display._fill_placeholders

        def fill(display: Display, rule: ActiveRule, verdict: Any) -> Any:
            if rule.id in rules:
                raise KeyError(NAME)
            return before(display, rule, verdict)

        monkeypatch.setattr(Display, "_fill_placeholders", fill)

    return make


def view(client: FlaskClient) -> Json:
    """The sample patient with low magnesium, viewed."""
    answer = client.post(SERVICE, json=body_for(client.application))
    assert answer.status_code == 200, answer.text
    assert NAME not in answer.text
    return dict(answer.json or {})


def reason(answer: Json, rule: str) -> str:
    listed = answer["extension"]["org.magnesium-cds"]["outcomes"]
    return str(next(item["reason"] for item in listed if item["rule"] == rule))


def changed(before: Json, after: Json) -> dict[str, str]:
    """Rules whose outcome is another than before."""
    return {rule: kind for rule, kind in states(after).items() if states(before)[rule] != kind}


def test_f42_a_rule_that_raises_is_not_evaluated_and_every_other_rule_answers(
    client: FlaskClient, broken: Callable[..., None], told: CapturingLogger
) -> None:
    before = view(client)
    assert states(before)[LOW] == states(before)[DEPLETED] == "fired"
    broken(LOW)
    after = view(client)
    assert changed(before, after) == {LOW: "not_evaluated"}
    assert WORDS in reason(after, LOW)
    (card,) = after["cards"]
    assert card["extension"]["org.magnesium-cds"]["rule"] == DEPLETED
    assert f"**Not checked:** {WORDS}" in card["detail"]
    (line,) = told.calls
    assert line.kwargs["rules"] == [LOW]
    assert line.kwargs["kind"] == "ZeroDivisionError"
    assert line.kwargs["places"][-1].endswith(" try_rule")
    assert line.kwargs["ref"] in reason(after, LOW), "the card and the log name one fault"
    assert NAME not in str(told.calls)


def test_f42_where_nothing_else_fires_it_is_no_all_clear(client: FlaskClient, broken: Callable[..., None]) -> None:
    broken(LOW, DEPLETED)
    (card,) = view(client)["cards"]
    assert card["summary"].startswith(f"Magnesium check not complete: {WORDS}")
    assert card["indicator"] == "info"


def test_f42_a_client_that_wants_412_gets_it_and_never_500(
    make_app: Callable[..., Flask], broken: Callable[..., None]
) -> None:
    app = make_app(on_incomplete="412")
    broken(LOW, DEPLETED)
    answer = app.test_client().post(SERVICE, json=body_for(app))
    assert answer.status_code == 412
    assert WORDS in answer.text


def test_f42_faults_are_counted_by_rule_for_the_operators(client: FlaskClient, broken: Callable[..., None]) -> None:
    assert client.get("/readyz").json["rule_faults"] == {}
    broken(LOW)
    view(client)
    view(client)
    assert client.get("/readyz").json["rule_faults"] == {LOW: 2}


def test_f42_the_same_place_has_the_same_reference_for_every_rule_and_patient(
    client: FlaskClient, broken: Callable[..., None], told: CapturingLogger
) -> None:
    broken(LOW, DEPLETED)
    view(client)
    view(client)
    assert [sorted(line.kwargs["rules"]) for line in told.calls] == [sorted([LOW, DEPLETED])] * 2, "a line for a fault"
    assert len({line.kwargs["ref"] for line in told.calls}) == 1


def test_f42_a_finding_that_cannot_be_worded_is_withdrawn_and_the_others_of_its_card_stay(
    client: FlaskClient, wordless: Callable[..., None], told: CapturingLogger
) -> None:
    before = view(client)
    wordless(LOW)
    after = view(client)
    assert changed(before, after) == {LOW: "not_evaluated"}
    (card,) = after["cards"]
    assert card["extension"]["org.magnesium-cds"]["rule"] == DEPLETED
    assert WORDS in card["detail"]
    assert [line.kwargs["rules"] for line in told.calls] == [[LOW]]


def test_f42_a_reason_without_words_is_a_fault_of_its_rule_only(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, told: CapturingLogger
) -> None:
    before = view(client)
    real = rules._try

    def try_rule(ready: Any, *asked: Any) -> Any:
        if ready.rule.id == LOW:
            return rules.Outcome(ready.rule, "not_evaluated", (Reason("unheard_of"),))
        return real(ready, *asked)

    monkeypatch.setattr(rules, "_try", try_rule)
    after = view(client)
    assert changed(before, after) == {LOW: "not_evaluated"}
    assert WORDS in reason(after, LOW)
    assert [line.kwargs["rules"] for line in told.calls] == [[LOW]]


def test_f42_of_the_doses_that_meet_only_the_one_without_words_is_left_out(
    client: FlaskClient, content: Content, wordless: Callable[..., None]
) -> None:
    body = order(content, client, [{"drug": "levothyroxine", "at": ["07:00"]}, "ciprofloxacin"], ["magnesium_oxide"])
    wordless(CIPROFLOXACIN)
    (card,) = timing(ask(client, body))
    assert card["extension"]["org.magnesium-cds"]["rule"] == LEVOTHYROXINE
    assert WORDS in card["detail"]


def test_f42_without_a_planner_the_distance_is_still_told(
    client: FlaskClient, content: Content, monkeypatch: pytest.MonkeyPatch, expected_faults: list[Any]
) -> None:
    def plan_for(*_: Any) -> None:
        raise RecursionError(NAME)

    monkeypatch.setattr("cds_service.advice.advise.plan_for", plan_for)
    body = order(content, client, ["levothyroxine"], ["magnesium_oxide"])
    (card,) = timing(ask(client, body))
    assert "4 h" in card["summary"]
    assert "no day was planned, for an internal fault" in card["detail"]
    assert [fault.kind for fault in expected_faults] == ["RecursionError"]


def test_f42_what_speaks_against_magnesium_still_does_when_it_cannot_be_told(
    client: FlaskClient, content: Content, wordless: Callable[..., None]
) -> None:
    body = order(content, client, ["levothyroxine"], ["magnesium_oxide"])
    body["prefetch"]["kidney"]["entry"][0]["resource"]["valueQuantity"]["value"] = 12
    names = {written for written, rule in content.library.rules.items() if rule.rule.card.contraindicates_magnesium}
    assert all("suggestions" not in card for card in timing(ask(client, body)))
    wordless(*names)
    answer = client.post(
        "/cds-services/magnesium-order-select", data=orjson.dumps(body), content_type="application/json"
    )
    kept = {rule for rule, kind in states(answer.json).items() if kind == "not_evaluated"}
    assert kept & names
    assert all("suggestions" not in card for card in timing(answer.json["cards"]))


def test_every_test_word_is_tried_by_a_function() -> None:
    """A word without one would be a fault in every rule that has it."""
    assert set(trying._TRIED) == set(TEST_WORDS.values())
