"""Every rule tried through HTTP on the patients of its scenario file."""

from __future__ import annotations

from collections.abc import Callable
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
from cds_service.sandbox.expected import differences, outcome_of
from cds_service.sandbox.scenario import KINDS, Builder, Scenario, read_file, scenario_files
from tests.conftest import NOW, shipped
from tests.variants import variants

# Everything that any service may ask for; a service reads its own keys.
TEMPLATES = {key: need.template for key, need in all_needs(shipped().library).items()}


FILES = scenario_files()
CASES = [pytest.param(rule, case, id=f"{rule}: {case.name}") for rule, file in FILES.items() for case in file.scenarios]
VARIANTS = [
    pytest.param(rule, case, id=f"{rule}: {case.name}")
    for rule, file in FILES.items()
    for case in variants(rule, file, shipped().library)
]


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


def check(rule: str, case: Scenario, answer: dict[str, Any]) -> None:
    """What the scenario says of the answer."""
    assert differences(rule, case.expect, answer, shipped().library) == []


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
