"""The index of rules by what they ask for finds the outcomes that trying every rule finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Literal

import pytest
from flask import Flask

from cds_service.advice.needs import all_needs, needs_of
from cds_service.content.current import CurrentRulebook
from cds_service.hooks.services import make_ready
from cds_service.patient import Medication, PatientFacts, Source
from cds_service.population.cases import Side
from cds_service.population.shipped import shipped_cohort
from cds_service.rules.evaluate import evaluate
from cds_service.rules.index import RuleIndex, index_of
from tests.benchmarks.bodies import body, fresh
from tests.benchmarks.rule_count import with_rules
from tests.conftest import NOW, shipped

STEP = 61  # of all patients, each so many; all of them take minutes


@pytest.fixture(scope="module")
def side() -> Side:
    content = shipped()
    keys = frozenset(need.key for need in all_needs(content.library).values())
    return Side(content, CurrentRulebook(content.library, None, keys).on(NOW.date()), NOW)


def test_patients_that_ship_have_the_outcomes_of_trying_every_rule(side: Side) -> None:
    kinds: set[str] = set()
    number = 0
    for case in islice(shipped_cohort(side.content, NOW).cases(), 0, None, STEP):
        facts = case.chart(side).facts
        inputs = list(facts.inputs)
        left_out = inputs[number % len(inputs)] if inputs else ""
        person = replace(facts.person, deceased=True)
        for given in (
            facts,
            with_unknown(facts, "active"),
            with_unknown(facts, "active", "active"),
            with_unknown(facts, "draft"),
            with_unknown(facts, "active", "draft"),
            replace(facts, inputs={key: state for key, state in facts.inputs.items() if key != left_out}),
            replace(facts, inputs={}),
            replace(facts, person=person),
        ):
            for service in side.services.values():
                quick = evaluate(given, side.rulebook, service).outcomes
                assert quick == evaluate(given, side.rulebook, service, every=True).outcomes, (case.name, service)
                kinds |= {outcome.kind for outcome in quick}
                number += 1
    assert kinds == {"fired", "quiet", "not_evaluated", "not_applicable"}
    assert number > 200


def with_unknown(facts: PatientFacts, *statuses: Literal["active", "draft"]) -> PatientFacts:
    """The same patient, with medicines that nobody knows."""
    more = (Medication(Source("MedicationRequest", f"x{n}"), each, f"Xyz {n}") for n, each in enumerate(statuses))
    return replace(facts, medications=(*facts.medications, *more))


def test_only_some_rules_have_the_outcomes_that_they_have_among_all(side: Side) -> None:
    rules, number = frozenset(list(side.rulebook.rules)[::3]), 0
    for case in islice(shipped_cohort(side.content, NOW).cases(), 0, None, 20):
        facts, service = case.chart(side).facts, side.services[case.hook]
        some = evaluate(facts, side.rulebook, service, only=rules).outcomes
        every = evaluate(facts, side.rulebook, service).outcomes
        assert some == tuple(outcome for outcome in every if outcome.rule_id in rules)
        number += 1
    assert number > 100


def test_a_thousand_rules_on_drugs_that_are_not_there_are_not_tried(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patient takes none of the drugs of 900 more rules: as many rules are tried as before."""
    tried = []
    find = RuleIndex.may_fire
    monkeypatch.setattr(
        RuleIndex, "may_fire", lambda self, context: tried.append(found := find(self, context)) or found
    )
    case = next(iter(shipped_cohort(side.content, NOW).cases()))
    facts, service = case.chart(side).facts, side.services[case.hook]
    few, many = with_rules(side.rulebook, 100), with_rules(side.rulebook, 1000)
    before, after = evaluate(facts, few, service).outcomes, evaluate(facts, many, service).outcomes
    assert len(tried[1]) == len(tried[0])
    assert len(after) > 5 * len(before)
    assert after == evaluate(facts, many, service, every=True).outcomes


def test_the_first_call_of_a_service_that_was_made_ready_indexes_no_rules(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    make_ready(app.extensions["advisor"])
    before = [made.cache_info().misses for made in (needs_of, index_of)]
    asked = fresh(body("small", NOW), 1)
    answer = app.test_client().post("/cds-services/magnesium-patient-view", data=asked, content_type="application/json")
    assert answer.status_code == 200
    assert [made.cache_info().misses for made in (needs_of, index_of)] == before
