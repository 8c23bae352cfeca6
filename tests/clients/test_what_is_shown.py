"""Every card is shown and every button works, by the strict model of each client; the rest stands in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.content.site_checks import orderable_suggestions
from cds_service.hooks.profile import Dialect
from cds_service.sandbox.scenario import Builder
from cds_service.trust.gatekeeper import Caller, Gatekeeper
from cds_service.trust.profile import PRESETS, Profile, topic_code
from tests.clients.models import EPIC_TYPE, PREFERENCE, faults, rules
from tests.clients.shapes import epic, sandbox
from tests.conformance.calls import Body, answered, every_sample_call
from tests.conftest import NOW, shipped
from tests.store.helpers import rows
from tests.support.some import some
from tests.test_scenarios import FILES, TEMPLATES

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = [path for path in sorted(GOLDEN.glob("*.json")) if (GOLDEN / f"{path.stem}.expected.json").exists()]
# Of fifty rules, spread over the alphabet, the first scenario: it fires.
SCENARIOS = [(rule, file.scenarios[0]) for rule, file in list(FILES.items())[:: len(FILES) // 50]][:50]
SHAPES: dict[str, Callable[[Body], Body]] = {"epic": epic, "sandbox": sandbox}


@pytest.fixture(scope="module")
def service(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture(scope="module")
def calls(service: Flask, content: Content) -> list[tuple[str, Body]]:
    """Samples, recorded requests and scenarios, each with a name."""
    found = list(every_sample_call(service.test_client()))
    for path in RECORDED:
        body = json.loads(path.read_text())
        if "hook" in body and ("draftOrders" in body["context"]) == (body["hook"] != "patient-view"):
            found.append((path.stem, body))
    for rule, case in SCENARIOS:
        found.append((f"{rule}: {case.name}", Builder(content.library, NOW).request(case, TEMPLATES)))
    assert len(SCENARIOS) == 50
    return found


@pytest.fixture
def ask(service: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FlaskClient]]:
    """A client with a profile, past the token check; with `orders` the site values know its codes."""
    current = service.extensions["advisor"].current

    def ask(orders: bool = False, **profile: Any) -> FlaskClient:
        chosen = Profile.model_validate(profile)
        monkeypatch.setattr(Gatekeeper, "admit", lambda *_: Caller("clinic/north", (), chosen))
        current.take(orderables(current.library) if orders else NO_SITE)
        return service.test_client()

    yield ask
    current.take(NO_SITE)


def orderables(library: Any) -> Any:
    code = {"system": PREFERENCE, "code": "4711", "display": "Test of our own"}
    known = {name: {"clinic": code} for name in orderable_suggestions(library)}
    text = yaml.safe_dump({"site": "Test hospital", "orderables": known})
    return read_site(text, "site.yaml", library, frozenset(all_needs(library)))


def suggestions(answer: Body) -> list[Body]:
    return [item for card in answer["cards"] for item in card.get("suggestions", ())]


def in_words(suggestion: Body, card: Body) -> bool:
    action = suggestion["actions"][0]
    said = action["description"] if action["type"] == "update" else suggestion["label"]
    return f"\n- {said}" in card["detail"] or f"\n- {said}." in card["detail"]


@pytest.mark.parametrize(("preset", "orders"), [*((name, False) for name in PRESETS), ("epic", True)])
def test_every_card_is_shown_and_every_suggestion_works_or_stands_in_words(
    preset: str, orders: bool, calls: list[tuple[str, Body]], ask: Callable[..., FlaskClient]
) -> None:
    broken: list[str] = []
    cards = kept = told = 0
    for name, body in some(calls):
        shaped = SHAPES.get(preset, copy.deepcopy)(body)
        plain = answered(ask(orders=orders), shaped)
        answer = answered(ask(orders=orders, preset=preset), shaped)
        broken += [f"{name}: {fault}" for fault in faults(preset, answer, body["hook"])]
        assert [card["summary"] for card in answer["cards"]] == [card["summary"] for card in plain["cards"]], name
        for card, before in zip(answer["cards"], plain["cards"], strict=True):
            labels = [item["label"] for item in card.get("suggestions", ())]
            for item in before.get("suggestions", ()):
                assert (item["label"] in labels) != in_words(item, card), f"{name}: {item['label']}"
                kept += item["label"] in labels
                told += item["label"] not in labels
        cards += len(answer["cards"])
    assert broken == []
    print(f"{preset}, orders {orders}: cards {cards} of {cards}, buttons {kept}, in words {told}")
    assert cards > 80
    assert kept + told > 30
    assert (kept > 0) == (preset in ("generic", "crd", "sandbox") or (preset == "epic" and orders))
    assert (told == 0) == (preset in ("generic", "crd"))


# A planted fault for each rule: a card, a suggestion or an answer of the client is damaged, and the rule finds it.
GOOD_ACTION = {
    "type": "create", "description": "Create a draft order for a test.",
    "resource": {"resourceType": "ServiceRequest", "status": "draft", "intent": "proposal",
                 "code": {"coding": [{"system": PREFERENCE, "code": "4711", "display": "x"}]},
                 "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/medicationrequest-category",
                                           "code": "outpatient"}]}]},
}  # fmt: skip
DRUG = {"resourceType": "MedicationRequest", "id": "x",
        "medicationCodeableConcept": {"text": "x", "coding": [{"code": "y"}]}}  # fmt: skip
REASON = {"code": "x", "system": "urn:x", "display": "x"}
PLANTED: dict[str, tuple[dict[str, Any], ...]] = {
    "a summary of fewer than 140 characters": ({"summary": "x" * 140}, {"summary": ""}),
    "an indicator of three": ({"indicator": "hard-stop"},),
    "a source with a label": ({"source": {"topic": {"code": "x", "system": "y"}}},),
    "selectionBehavior beside suggestions, and only there": ({"suggestions": []},),
    "links with label, url and type": ({"links": [{"label": "x", "url": "https://x/evidence"}]},),
    "a label": ({"label": ""},),
    "actions with type and description": ({"actions": []}, {"actions": [GOOD_ACTION | {"description": ""}]}),
    "any is the only selectionBehavior": ({"selectionBehavior": "at-most-one"},),
    "a topic of letters and digits": (
        {"source": {"label": "x"}}, {"source": {"label": "x", "topic": {"code": "not_evaluated"}}},
        {"source": {"label": "x", "topic": {"code": "x" * 101}}},
    ),
    "a detail of a type that is known": ({"extension": {EPIC_TYPE: "text/markdown"}},),
    "a uuid for feedback": ({"uuid": ""},),
    "reasons with code, system and display": ({"overrideReasons": [REASON | {"system": ""}]},),
    "links that need no registered app": ({"links": [{"label": "x", "type": "smart", "url": "https://x"}]},),
    "one action": ({"actions": [GOOD_ACTION, GOOD_ACTION]},),
    "a description in plain words that stands alone": (
        {"actions": [GOOD_ACTION | {"description": "**Order** a test now"}]},
        {"actions": [GOOD_ACTION | {"description": "Order"}]},
    ),
    "codes of the hospital's own": (
        {"actions": [GOOD_ACTION | {"resource": GOOD_ACTION["resource"] | {  # type: ignore[operator]
            "code": {"coding": [{"system": "http://loinc.org", "code": "19123-9"}]}}}]},
    ),
    "an action that exists": ({"actions": [{"type": "update", "description": "x y z", "resource": DRUG}]},),
    "a draft, a proposal, with a category": (
        {"actions": [GOOD_ACTION | {"resource": {"resourceType": "ServiceRequest", "status": "draft",
                                                 "intent": "proposal"}}]},
        {"actions": [GOOD_ACTION | {"resource": GOOD_ACTION["resource"] | {"intent": "order"}}]},  # type: ignore[operator]
    ),
    "no system action": ({"systemActions": [{}]}, {"extension": {"systemActions": [{}]}}),
    "links of a list that can be registered": (
        {"links": [{"label": "x", "type": "absolute", "url": "https://cds.example/plan/eyJuIjox"}]},
    ),
    "nothing but what version 1.0 knows": ({"overrideReasons": [REASON]}, {"source": {"label": "x", "topic": {}}}),
    "one suggestion at most": ({"selectionBehavior": "any"},),
    "none: nobody knows that it is carried out": ({},),
    "no systemActions": ({"systemActions": []},),
    "a topic with code and system": ({"source": {"label": "x", "topic": {"code": "x"}}},),
    "one or any of the suggestions": ({"selectionBehavior": "sentiment"},),
    "systemActions, a list": ({"systemActions": None},),
    "an update of a draft, no delete alone": (
        {"actions": [{"type": "delete", "resource": DRUG}]},
        {"actions": [{"type": "update", "resource": {"resourceType": "MedicationRequest"}}]},
    ),
    "a uuid": ({"uuid": ""},),
    "no HTML in the detail": ({"detail": "a <b>bold</b> word"}, {"detail": "x <!-- y"}),
    "none in Patient View": ({},),
    "an action that changes the drug": (
        {"actions": [GOOD_ACTION]},
        {"actions": [{"type": "update", "resource": {"resourceType": "MedicationRequest",
                                                     "medicationCodeableConcept": {"text": "x"}}}]},
    ),
}  # fmt: skip
GOOD: dict[str, Body] = {
    "card": {"uuid": "u", "summary": "x", "indicator": "info", "detail": "x", "selectionBehavior": "any",
             "source": {"label": "x", "topic": {"code": "x", "system": "urn:x"}}, "suggestions": [{}],
             "links": [{"label": "x", "type": "absolute", "url": "https://cds.example/evidence/some_rule"}],
             "overrideReasons": [REASON]},
    "suggestion": {"uuid": "u", "label": "x", "actions": [GOOD_ACTION]},
    "answer": {"cards": [], "systemActions": []},
}  # fmt: skip
EVERY = [(preset, rule) for preset in PRESETS for of in ("card", "suggestion", "answer") for rule in rules(preset, of)]


@pytest.mark.parametrize(("preset", "rule"), EVERY, ids=[f"{p}: {r.fact} {r.name}" for p, r in EVERY])
def test_each_rule_of_a_model_finds_a_planted_fault(preset: str, rule: Any) -> None:
    found = [rule.broken(GOOD[rule.of] | damage, "patient-view") for damage in PLANTED[rule.name]]
    assert any(found), rule.name


def test_no_planted_fault_is_left_over() -> None:
    assert set(PLANTED) == {rule.name for _, rule in EVERY}


def test_codes_of_topics_are_of_letters_and_digits_and_each_of_one_rule() -> None:
    codes = [topic_code(rule) for rule in [*shipped().library.rules, "not_evaluated"]]
    assert len(set(codes)) == len(codes)
    assert all(code.isalnum() and code.isascii() and len(code) <= 100 for code in codes)


# What a hospital may set, key by key.


def card_of(client: FlaskClient, calls: list[tuple[str, Body]], name: str = "low-magnesium on patient-view") -> Body:
    first: Body = answered(client, dict(calls)[name])["cards"][0]
    return first


def test_what_a_client_says_itself_wins_over_its_preset(calls: list[tuple[str, Body]], ask: Callable[..., Any]) -> None:
    card = card_of(ask(preset="epic", topics="group", markdown="none"), calls)
    assert card["source"]["topic"]["code"] == "deficiency"
    assert card["extension"][EPIC_TYPE] == "text/plain"
    assert "*" not in card["detail"]
    card = card_of(ask(preset="epic", markdown="basic"), calls)
    assert card["extension"][EPIC_TYPE] == "text/markdown; variant=CommonMark"
    assert EPIC_TYPE not in card_of(ask(preset="epic"), calls)["extension"]


def test_an_indicator_is_sent_as_the_client_wants_it(calls: list[tuple[str, Body]], ask: Callable[..., Any]) -> None:
    assert card_of(ask(), calls)["indicator"] == "warning"
    assert card_of(ask(indicators={"warning": "info"}), calls)["indicator"] == "info"


def test_a_drug_order_of_the_hospital_is_created_by_its_own_code(
    calls: list[tuple[str, Body]], ask: Callable[..., Any]
) -> None:
    made = {
        action["resource"]["code"]["coding"][0]["code"]
        for client in (ask(orders=True, preset="epic"),)
        for item in card_of(client, calls)["suggestions"]
        for action in item["actions"]
    }
    assert made == {"4711"}
    loinc = card_of(ask(), calls)["suggestions"][0]["actions"][0]["resource"]["code"]["coding"][0]
    assert loinc["system"] == "http://loinc.org"


def test_a_stay_in_hospital_gives_an_order_the_category_of_inpatients(
    calls: list[tuple[str, Body]], ask: Callable[..., Any]
) -> None:
    client = ask(orders=True, preset="epic")
    found = {
        name: {
            action["resource"]["category"][0]["coding"][0]["code"]
            for item in suggestions(answered(client, dict(calls)[f"{name} on patient-view"]))
            for action in item["actions"]
        }
        for name in ("a hospital stay", "a young woman")
    }
    assert found == {"a hospital stay": {"inpatient"}, "a young woman": {"outpatient"}}


def test_an_ehr_for_one_action_gets_a_suggestion_of_more_in_words() -> None:
    two = {"label": "Two orders", "uuid": "u", "actions": [GOOD_ACTION, GOOD_ACTION]}
    one = two | {"actions": [GOOD_ACTION]}
    book = make_rulebook(shipped().library, NO_SITE, NOW.date())
    kept = Dialect(Profile(actions_per_suggestion=1), "clinic", "order-sign", book)
    assert kept._suggestion(two, "order_serum_magnesium", False) is None
    assert kept._suggestion(one, "order_serum_magnesium", False) == one


def test_a_reason_in_the_ehrs_own_code_comes_back_as_ours(
    calls: list[tuple[str, Body]], ask: Callable[..., Any], service: Flask
) -> None:
    own = {"system": "urn:ehr", "code": "77", "display": "Done already"}
    client = ask(override_codes={"already_addressed": own})
    card = card_of(client, calls)
    assert own in card["overrideReasons"]
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": NOW.isoformat(),
            "overrideReason": {"reason": {"code": "77", "system": "urn:ehr"}}}  # fmt: skip
    path = "/cds-services/magnesium-patient-view/feedback"
    assert client.post(path, json={"feedback": [item]}).status_code == 200
    query = f"SELECT reason_code, reason_display FROM feedback WHERE card = '{card['uuid']}'"
    (row,) = rows(service.extensions["advisor"].settings.data_dir, query)
    assert row == {"reason_code": "already-addressed", "reason_display": "Already taken care of"}


def test_crd_declares_its_version_and_what_may_be_configured(
    calls: list[tuple[str, Body]], ask: Callable[..., Any]
) -> None:
    client = ask(preset="crd")
    (extension, *_) = [item["extension"] for item in client.get("/cds-services").json["services"]]
    assert extension["davinci-crd.version"] == ["2.2"]
    options = {item["code"]: item for item in extension["davinci-crd.configuration-options"]}
    assert options["max-cards"]["default"] == 3
    assert options["deficiency"]["type"] == "boolean"
    assert not {"safety", "not_evaluated"} & options.keys()
    assert "davinci-crd.version" not in ask().get("/cds-services").json["services"][0]["extension"]


def test_a_crd_client_gets_as_many_cards_and_as_few_topics_as_it_asks_for(
    calls: list[tuple[str, Body]], ask: Callable[..., Any]
) -> None:
    # The first call with two cards or more, one of them on timing: which one that is, the rules decide.
    kinds = {name: [c["source"]["topic"]["code"] for c in answered(ask(), body)["cards"]] for name, body in calls}
    body = dict(calls)[next(name for name, found in kinds.items() if len(found) > 1 and "timing" in found)]

    def topics(client: FlaskClient, **asked: Any) -> list[str]:
        call = body | {"extension": {"davinci-crd.configuration": asked}}
        return [card["source"]["topic"]["code"] for card in answered(client, call)["cards"]]

    client = ask(preset="crd")
    every = topics(client)
    assert len(every) > 1
    assert topics(client, **{"max-cards": 1}) == every[:1]
    assert "timing" in every
    assert "timing" not in topics(client, timing=False)
    assert topics(client, safety=False, unknown=3, **{"max-cards": "many"}) == every
    assert topics(ask(), timing=False) == every, "only a client of CRD is asked"


def test_without_a_declared_client_a_setting_says_what_kind_of_ehr_calls(make_app: Callable[..., Flask]) -> None:
    """`magnesium-cds sandbox` sets it: seven of thirteen buttons did nothing there."""
    client = make_app(dev_preset="sandbox").test_client()
    seen = 0
    for name, body in some(list(every_sample_call(client))):
        answer = answered(client, sandbox(body))
        assert faults("sandbox", answer, body["hook"]) == [], name
        seen += len(suggestions(answer))
    assert seen > 0
