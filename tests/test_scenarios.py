"""Every rule tried through HTTP on the patients of its scenario file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.content.site import read_site
from cds_service.sandbox.scenario import KINDS, Builder, Expect, Scenario, read_file, scenario_files
from tests.conftest import NOW, shipped
from tests.variants import variants

EXTENSION = "org.magnesium-cds"
# Everything that any service may ask for; a service reads its own keys.
TEMPLATES = {key: need.template for key, need in all_needs(shipped().library).items()}


FILES = scenario_files()
CASES = [pytest.param(rule, case, id=f"{rule}: {case.name}") for rule, file in FILES.items() for case in file.scenarios]
VARIANTS = [
    pytest.param(rule, case, id=f"{rule}: {case.name}")
    for rule, file in FILES.items()
    for case in variants(rule, file, shipped().library)
]
# FHIR's words for ours, and ours in the card's line of evidence.
STRENGTH_CODES = {"strong": "strong", "conditional": "weak"}
DIRECTION_WORDS = {"for": "for these options", "against": "against giving magnesium"}


def post(client: FlaskClient, content: Content, scenario: Scenario) -> dict[str, Any]:
    """The answer to a scenario's call."""
    body = Builder(content.library, NOW).request(scenario, TEMPLATES)
    response = client.post(
        f"/cds-services/magnesium-{scenario.hook}", data=orjson.dumps(body), content_type="application/json"
    )
    assert response.status_code == 200, response.json
    answer: dict[str, Any] = orjson.loads(response.data)
    return answer


KEPT: dict[str, bytes] = {}


def told(client: FlaskClient, content: Content, rule: str, scenario: Scenario) -> dict[str, Any]:
    """The same, of the service with default settings: as that one remembers nobody, it is asked once for all tests."""
    written = rule + scenario.model_dump_json()
    if written not in KEPT:
        KEPT[written] = orjson.dumps(post(client, content, scenario))
    answer: dict[str, Any] = orjson.loads(KEPT[written])
    return answer


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


@pytest.mark.parametrize(("rule", "case"), CASES)
def test_the_rule_says_what_the_scenario_expects(
    rule: str,
    case: Scenario,
    client: FlaskClient,
    content: Content,
    site_client: Callable[[dict[str, Any]], FlaskClient],
) -> None:
    check(rule, case, post(site_client(case.site), content, case) if case.site else told(client, content, rule, case))


@pytest.mark.parametrize(("rule", "case"), VARIANTS)
def test_the_rule_fires_for_each_concept_of_its_lists_and_for_no_other(
    rule: str, case: Scenario, client: FlaskClient, content: Content
) -> None:
    assert outcome_of(rule, told(client, content, rule, case))["outcome"] == case.expect.outcome


def outcome_of(rule: str, answer: dict[str, Any]) -> dict[str, Any]:
    return next(item for item in answer["extension"][EXTENSION]["outcomes"] if item["rule"] == rule)


def check(rule: str, case: Scenario, answer: dict[str, Any]) -> None:
    """What the scenario says of the answer."""
    expect, found = case.expect, outcome_of(rule, answer)
    assert found["outcome"] == expect.outcome, found
    if expect.reason:
        assert expect.reason in found.get("reason", "")
    for other, kind in expect.others.items():
        assert outcome_of(other, answer)["outcome"] == kind, other
    if expect.cards is not None:
        assert len(answer["cards"]) == expect.cards
    if not expect.offers_magnesium:
        assert list(offers(answer)) == []
    leads = [card for card in answer["cards"] if leader(card) == rule]
    beneath = [card for card in answer["cards"] if rule in rules_of(card)[1:]]
    where = "silent" if expect.outcome != "fired" else expect.shown
    assert [bool(leads), bool(beneath)] == [where == "leads", where == "beneath"], [
        rules_of(c) for c in answer["cards"]
    ]
    if where in ("leads", "beneath"):
        (card,) = leads or beneath
        assert where == "leads" or leader(card) == expect.under
        check_card(card, expect)
    elif expect.outcome == "fired":
        last = answer["cards"][-1]["detail"] if answer["cards"] else ""
        assert (title(rule) in last) == (where == "named")


def offers(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What proposes to give magnesium: any action but a laboratory order, and a link to a planned day."""
    for card in answer["cards"]:
        actions = [action for suggestion in card.get("suggestions", []) for action in suggestion["actions"]]
        yield from (item for item in actions if item["resource"]["resourceType"] != "ServiceRequest")
        yield from (link for link in card.get("links", []) if "/plan/" in link["url"])


def check_card(card: dict[str, Any], expect: Expect) -> None:
    """What the scenario says of the card that tells the finding."""
    detail = card["detail"]
    for text in [expect.summary] if isinstance(expect.summary, str) else expect.summary:
        assert text in card["summary"], card["summary"]
    for text in [expect.detail] if isinstance(expect.detail, str) else expect.detail:
        assert text in detail, detail
    for text in [expect.absent] if isinstance(expect.absent, str) else expect.absent:
        assert text not in f"{card['summary']}\n{detail}"
    if expect.indicator:
        assert card["indicator"] == expect.indicator
    if expect.evidence:
        said = expect.evidence
        coded = card["extension"][EXTENSION]["evidence"]
        assert coded["certainty"]["code"] == said.certainty.replace("_", "-")
        assert coded["strength"]["code"] == STRENGTH_CODES[said.strength]
        assert coded["direction"] == said.direction
        certainty = said.certainty.replace("_", " ")
        line = f"{certainty.capitalize()} certainty, {said.strength} recommendation {DIRECTION_WORDS[said.direction]}."
        assert f"**Evidence:** {line}" in detail, detail
        known = shipped().library.rules.get(leader(card))
        graded = not known or not known.rule.tells_a_result
        assert card["summary"].endswith(f"(evidence: {certainty})") is graded or known is None
    if expect.options is not None:
        block = detail.partition("**Consider:**\n")[2].partition("\n\n")[0]
        assert block.splitlines() == [f"- {option}" for option in expect.options]
    if expect.suggestions is not None:
        assert [item["label"] for item in card.get("suggestions", [])] == expect.suggestions
    if expect.reasons is not None:
        assert [item["code"] for item in card.get("overrideReasons", [])] == expect.reasons


def leader(card: dict[str, Any]) -> str:
    """The rule whose card it is."""
    return str(card["extension"][EXTENSION]["rule"])


def rules_of(card: dict[str, Any]) -> list[str]:
    own = card["extension"][EXTENSION]
    return [leader(card), *(item["rule"] for item in own.get("alsoFired", []))]


def title(rule: str) -> str:
    return shipped().library.rules[rule].rule.title


RULES = sorted(name for name, loaded in shipped().library.rules.items() if loaded.rule.status == "active")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_scenario_of_every_kind_or_says_why_not(rule: str) -> None:
    assert rule in FILES, f"tests/scenarios/{rule}.yaml is missing"
    file = FILES[rule]
    have = {case.kind for case in file.scenarios}
    assert have | set(file.not_here) >= set(KINDS), f"missing: {sorted(set(KINDS) - have - set(file.not_here))}"
    assert not have & set(file.not_here), "a kind is both here and not here"


def test_every_scenario_file_belongs_to_a_rule(content: Content) -> None:
    assert set(FILES) <= set(content.library.rules)


WHOLE: dict[str, Any] = {
    "name": "a patient whose card is told whole",
    "kind": "fires",
    "expect": {
        "outcome": "fired",
        "indicator": "info",
        "summary": "keep apart",
        "evidence": {"certainty": "low", "strength": "conditional", "direction": "for"},
        "options": ["Another drug."],
        "suggestions": [],
        "reasons": ["not-taken"],
    },
}
LATER = {
    **WHOLE,
    "name": "a later patient",
    "expect": {"outcome": "fired", "indicator": "info", "summary": "keep apart"},
}


@pytest.mark.parametrize("part", ["indicator", "summary", "evidence", "options", "suggestions", "reasons"])
def test_a_file_whose_first_scenario_leaves_out_what_its_card_says_is_refused(part: str) -> None:
    read_file({"scenarios": [WHOLE]})
    said = {name: value for name, value in WHOLE["expect"].items() if name != part}
    with pytest.raises(ValidationError, match=f"a patient whose card is told whole: expect lacks {part}"):
        read_file({"scenarios": [{**WHOLE, "expect": said}]})


@pytest.mark.parametrize(
    ("expect", "lacking"),
    [
        ({"outcome": "fired"}, "indicator, summary"),
        ({"outcome": "fired", "summary": "keep apart"}, "indicator"),
        ({"outcome": "fired", "shown": "beneath"}, "indicator, under"),
    ],
)
def test_a_scenario_that_fires_and_says_nothing_of_its_card_is_refused(expect: dict[str, Any], lacking: str) -> None:
    read_file({"scenarios": [WHOLE, LATER]})
    with pytest.raises(ValidationError, match=f"a later patient: expect lacks {lacking}"):
        read_file({"scenarios": [WHOLE, {**LATER, "expect": expect}]})


@pytest.mark.parametrize("expect", [{"outcome": "quiet"}, {"outcome": "fired", "shown": "silent"}])
def test_a_file_whose_first_scenario_leads_no_card_is_refused(expect: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="in the first scenario the rule fires and leads its card"):
        read_file({"scenarios": [{**WHOLE, "expect": expect}]})
