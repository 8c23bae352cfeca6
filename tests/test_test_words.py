"""The test words as somebody who writes a rule meets them: what a test reads, and what its card may say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from cds_service.advice.needs import inputs_read
from cds_service.content.base import Names, Strict
from cds_service.content.rule import AppliesTo, Avoid, Rule, Separate
from cds_service.content.test_words import TEST_WORDS
from cds_service.content.yamlfile import parse
from tests.conftest import shipped
from tests.test_add_a_rule import RULE, TEST

PREGNANCY = {"conditions", "pregnancy"}
DRUGS = {"medications", "medication_statements"}
INJECTED = {"injected", "injected.limit", "injected.of_the", "injected.same"}
KIDNEY = {"kidney.value", "kidney.age", "kidney.date"}


def rule(test: str) -> Rule:
    """A rule whose only test this is."""
    return TypeAdapter(Rule).validate_python(parse(RULE.replace(TEST, test), "example.yaml").data)


@pytest.mark.parametrize(
    ("test", "reads", "says"),
    [
        (
            "{lab: potassium, below: lower, within: oldest}",
            {"electrolytes"},
            {"potassium.value", "potassium.age", "potassium.date", "potassium.limit"},
        ),
        (
            "{lab: potassium, below: lower, within: oldest, persists: {apart: days, despite: [potassium_chloride]}}",
            {"electrolytes"} | DRUGS,
            {"potassium.value", "potassium.age", "potassium.date", "potassium.limit", "potassium.persists"},
        ),
        (
            "{lab: potassium, below: lower, where_measured: true, within: oldest}",
            {"electrolytes"},
            {"potassium.value", "potassium.age", "potassium.date", "potassium.limit", "matched"},
        ),
        ("{no_recent_lab: qtc, within: oldest}", {"ecg"}, set()),
        (
            "{implausible: potassium, critical_flag: true, within: oldest}",
            {"electrolytes"},
            {"potassium.written", "potassium.age", "potassium.date"},
        ),
        ("{on_file: [qtc, potassium], within: oldest}", {"ecg", "electrolytes"}, {"on_file"}),
        ("{in_hospital: true}", {"encounter"}, {"matched"}),
        ("{medication: [digoxin, sotalol], at_least: two}", DRUGS, {"matched"}),
        ("{condition: [long_qt]}", {"conditions"}, {"matched"}),
        ("{medication: [digoxin]}", DRUGS, {"matched"}),
        ("{medication: [magnesium], route: oral}", DRUGS, {"magnesium"}),
        ("{medication: [magnesium, digoxin]}", DRUGS, set()),
        ("{medication: [cisplatin], status: ended, ended_within: days}", {"ended_medications"}, {"matched", "ended"}),
        (
            "{medication: [digoxin], status: active, taken_for: days}",
            DRUGS | {"ended_medications"},
            {"matched"},
        ),
        (
            "{infusion: acting, obstetric: true}",
            DRUGS | PREGNANCY | {"ended_medications", "medication_administrations"},
            {"infusion"},
        ),
        ("{age: {below: adult_age}}", set(), set()),
        ("{pregnant: true}", PREGNANCY, set()),
        ("{lactating: true}", PREGNANCY, set()),
        ("{kidney: {below: severe}, within: oldest}", {"kidney"}, KIDNEY),
        ("{kidney: {unknown: true}, within: oldest}", {"kidney"}, {"kidney.last"}),
        (
            "{daily_magnesium: {above: upper_level_for_age}}",
            DRUGS,
            {"daily_magnesium.value", "daily_magnesium.limit"},
        ),
        (
            "{daily_magnesium: {read_two_ways: dose}}",
            DRUGS,
            {"doubtful", "salt", "daily_magnesium.as_salt", "daily_magnesium.as_element", "daily_magnesium.limit"},
        ),
        ("{magnesium_products: {at_least: two}}", DRUGS, {"products"}),
        ("{injected_magnesium: {day: most}}", DRUGS | PREGNANCY, INJECTED),
        (
            "{injected_magnesium: {dose_by_weight: most}, minutes: quick, weight_within: oldest}",
            DRUGS | PREGNANCY | {"weight"},
            INJECTED,
        ),
        (
            "{intake: below_allowance, within: oldest}",
            {"intake", "screener"} | PREGNANCY,
            {"intake.value", "intake.age", "allowance", "allowance.name", "gap", "foods"},
        ),
        ("{reason: [migraine]}", {"conditions"}, {"reason", "magnesium"}),
    ],
)
def test_what_a_test_reads_and_what_its_card_may_say(test: str, reads: set[str], says: set[str]) -> None:
    assert inputs_read(rule(test), shipped().library) == {"patient"} | reads
    assert rule(test).offers == says


def test_of_alternatives_a_card_may_only_say_what_each_of_them_fills() -> None:
    text = RULE.replace("  all:", "  any:").replace(TEST, "{condition: [long_qt]}\n    - {medication: [digoxin]}")
    either = TypeAdapter(Rule).validate_python(parse(text, "example.yaml").data)
    assert either.offers == {"matched"}
    one = rule("{age: {below: adult_age}}\n  any:\n    - {condition: [long_qt]}\n    - {pregnant: true}")
    assert one.offers == set()


def unmarked(hint: Any) -> Iterator[str]:
    """The texts in a field's type that do not say what they name."""
    inner = get_args(hint)
    if any(isinstance(item, Names) for item in inner):
        return
    if hint is str:
        yield "text"
    if isinstance(hint, type) and issubclass(hint, Strict):
        inner = tuple(get_type_hints(hint, include_extras=True)[field] for field in hint.model_fields)
    for item in inner:
        yield from unmarked(item)


@pytest.mark.parametrize("model", [*TEST_WORDS.values(), AppliesTo, Separate, Avoid], ids=lambda model: model.__name__)
def test_every_name_in_a_test_says_what_it_names(model: type[Strict]) -> None:
    assert list(unmarked(model)) == []


@pytest.mark.parametrize(
    ("test", "fault"),
    [
        ("{injected_magnesium: {day: most, rate: most}}", "needs one limit"),
        ("{injected_magnesium: {day: most}, minutes: quick}", "minutes goes with a dose or a rate"),
        ("{injected_magnesium: {dose: most}}", "minutes goes with a dose or a rate"),
        ("{injected_magnesium: {dose_by_weight: most}, minutes: quick}", "weight_within goes with dose_by_weight"),
    ],
)
def test_a_limit_of_injected_magnesium_says_what_it_needs(test: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        rule(test)
