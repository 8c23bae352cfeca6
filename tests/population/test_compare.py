"""What a change of the site values does to many patients: counted by the real advice, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import orjson
import pytest

from cds_service.advice.needs import all_needs
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.patient import PatientFacts
from cds_service.population import Cohort, Comparison, compare, effect_of, samples_cohort, scenarios_cohort
from cds_service.population import trying as trying_module
from cds_service.population.cases import Case
from cds_service.population.compare import CardSeen
from tests.conftest import NOW, shipped

RULE = "low_serum_magnesium"


def rulebook(rules: str = "") -> Rulebook:
    """The shipped rules under a site's own values."""
    library = shipped().library
    if not rules:
        return make_rulebook(library, NO_SITE, NOW.date())
    text = f"site: Test hospital\nrules:\n{rules}"
    return make_rulebook(library, read_site(text, "site.yaml", library, frozenset(all_needs(library))), NOW.date())


def limit(value: str) -> Rulebook:
    return rulebook(f"  shared:\n    thresholds:\n      lower_limit: {{value: {value}, reason: Our own interval}}\n")


SILENT = "  {}:\n    show: silent\n    reason: Our pharmacists see to it\n"


def of_rule(rule: str, most: int = 60) -> Cohort:
    """The first patients of one rule's scenarios."""

    def cases() -> Iterator[Case]:
        all_of_them = scenarios_cohort(shipped(), NOW).cases()
        yield from islice((each for each in all_of_them if each.name.startswith(f"{rule}: ")), most)

    return Cohort(rule, cases, private=False)


def tried(cohort: Cohort, before: Rulebook, after: Rulebook, **more: Any) -> Comparison:
    return compare(cohort, before, after, shipped(), NOW, **more)


def test_a_lower_limit_takes_cards_away_and_shows_the_others_as_they_read_before_and_after() -> None:
    found = tried(of_rule(RULE), rulebook(), limit("0.62"))
    change = found.rules[RULE]
    assert change.vanishes >= 1
    assert change.outcomes["fired -> quiet"] >= 1
    gone = next(each for each in found.examples if each.change == "vanishes" and each.rule == RULE)
    assert gone.before is not None and gone.after is None
    assert any(item["fact"] == "serum_magnesium" for item in gone.before.inputs), "the facts behind"
    reads = next(each for each in found.examples if each.change == "changes" and each.rule == RULE)
    assert reads.before is not None and reads.after is not None
    assert "0.62 mmol/L" in f"{reads.after.summary} {reads.after.detail}"
    assert "0.62 mmol/L" not in f"{reads.before.summary} {reads.before.detail}"


def test_a_silent_rule_shows_no_cards_and_its_outcomes_stay() -> None:
    found = tried(of_rule(RULE), rulebook(), rulebook(SILENT.format(RULE)))
    assert found.rules[RULE].vanishes > 5
    assert not found.rules[RULE].outcomes
    assert found.interruptive("after") < found.interruptive("before")
    assert found.words().startswith(f"+{found.count('appears')} cards, -{found.count('vanishes')}")
    rates = f"{found.interruptive('before')} -> {found.interruptive('after')}"
    assert found.words().endswith(f"; interruptive {rates} per 100 charts")


def test_the_other_way_round_the_same_cards_appear() -> None:
    there = tried(of_rule(RULE), rulebook(), limit("0.62"))
    back = tried(of_rule(RULE), limit("0.62"), rulebook())
    assert there.count("vanishes") == back.count("appears") > 0
    assert there.cards["before"] == back.cards["after"]


def test_nothing_changes_under_the_same_values() -> None:
    found = tried(of_rule(RULE), limit("0.62"), limit("0.62"))
    assert found.words() == f"+0 cards, -0; interruptive {found.interruptive('before')} -> " + (
        f"{found.interruptive('after')} per 100 charts"
    )
    assert found.rules == {} and found.examples == []
    assert found.cards["before"].total() > 10


CHANGES = [
    ("ciprofloxacin_timing", SILENT.format("ciprofloxacin_timing")),
    (
        "ciprofloxacin_timing",
        "  ciprofloxacin_timing:\n    thresholds:\n      drug_then_magnesium: {value: 3, reason: Our own guideline}\n",
    ),
    ("low_magnesium_with_digoxin", SILENT.format("low_magnesium_with_digoxin")),
]


@pytest.mark.parametrize(("rule", "change"), CHANGES)
def test_what_is_not_tried_twice_could_not_have_differed(
    rule: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortcut, against every advice made twice."""
    for cohort in (of_rule(rule), of_rule(RULE, 20), of_rule("ppi_with_diuretic", 20)):
        short = tried(cohort, rulebook(), rulebook(change), rule=rule)
        monkeypatch.setattr(trying_module, "differing", lambda *_: None)
        whole = tried(cohort, rulebook(), rulebook(change), rule=rule)
        monkeypatch.undo()
        assert short.effect() == whole.effect()
        assert [replace(each) for each in short.examples] == whole.examples
        assert short.attrition["after"].told() == whole.attrition["after"].told()


def test_each_chart_is_read_once_where_both_read_it_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[PatientFacts] = []
    make = trying_module.Trial.of

    def of(self: Any, case: Any) -> Any:
        pair = make(self, case)
        read.extend({id(each.evaluation.context.facts): each.evaluation.context.facts for each in (
            pair.before, pair.after)}.values())  # fmt: skip
        return pair

    monkeypatch.setattr(trying_module.Trial, "of", of)
    found = tried(of_rule(RULE), rulebook(), limit("0.62"))
    assert len(read) == found.calls


def test_attrition_says_at_which_test_patients_fall() -> None:
    found = tried(of_rule(RULE), rulebook(), limit("0.62"), rule=RULE)
    before, after = found.attrition["before"].told(), found.attrition["after"].told()
    for side in (before, after):
        assert side["fired"] + sum(step["fell"] + step["unknown"] for step in side["steps"]) == side["calls"]
        left = side["calls"]
        for step in side["steps"]:
            assert step["reached"] == left, "who has not fallen comes to the next"
            left -= step["fell"] + step["unknown"]
    assert before["fired"] - after["fired"] == found.rules[RULE].outcomes["fired -> quiet"]


def test_the_effect_holds_numbers_and_names_of_rules_alone() -> None:
    found = tried(samples_cohort(NOW), rulebook(), rulebook(SILENT.format(RULE)))
    text = orjson.dumps(found.effect()).decode()
    assert found.effect()["rules"][RULE]["vanishes"] == found.rules[RULE].vanishes > 0
    for example in found.examples:
        card = example.before or example.after
        assert isinstance(card, CardSeen)
        assert card.summary not in text and example.case not in text


def test_time_that_is_up_is_said() -> None:
    found = tried(of_rule(RULE), rulebook(), limit("0.62"), most_seconds=0)
    assert found.cut and not found.effect()["complete"]
    assert found.words() == "no chart was read, so nothing can be said"


def test_the_effect_of_a_draft_is_over_samples_and_scenarios() -> None:
    effect = effect_of(rulebook(), rulebook(SILENT.format(RULE)), shipped(), NOW, most_seconds=1)
    assert effect["cohort"] == "sample and scenario patients"
    assert effect["charts"] > 10
    assert effect["complete"] is False, "a second is too short for all, and it says so"
    assert "not all charts were tried" in effect["words"]
