"""What can be known of the rules before any patient is: done once for a rulebook, and used by every call.

A rule that asks for a drug or condition which this patient has not got is quiet at once; most rules are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from cds_service.content.base import Asked
from cds_service.content.rule import AppliesTo, Rule, Threshold
from cds_service.content.rulebook import ActiveRule, Limit, Rulebook
from cds_service.content.test_words import KidneyTest
from cds_service.patient import CONDITIONS
from cds_service.rules.context import Context


@dataclass(frozen=True, slots=True)
class Prepared:
    """A rule with its sets and ages looked up. `asked` has to be there, all of it. `for_everybody`: no `applies_to`.

    `about_the_order`: on order hooks one of the drugs that the rule names has to be drafted. `ages_in_hospital`: its
    results are read for less long there. `pregnancy_matters`: a card says so where pregnancy could not be read. `scope`
    names its `applies_to` with the limits that it reads: who is outside of one is outside of all that are called so.
    """

    rule: ActiveRule
    for_everybody: bool
    age_at_least: Decimal | int | None
    age_below: Decimal | int | None
    unless_medication: frozenset[str]
    asked: tuple[Asked, ...]
    about_the_order: bool
    ages_in_hospital: bool
    pregnancy_matters: bool
    scope: str

    def cannot_fire(self, context: Context) -> bool:
        """Whether something that this rule needs is certainly not there."""
        for asked in self.asked:
            if asked.status is None:
                if asked.names.isdisjoint(context.concepts) and not context.condition_gap:
                    return True
            elif asked.names.isdisjoint(context.drugs) and not context.medication_gaps(asked.status):
                return True
        return False

    def lacks_more(self, context: Context) -> bool:
        """Whether it needs more problems or drugs than are known and than there are unknown ones: one is not two."""
        problems = sum(one.names.isdisjoint(context.concepts) for one in self.asked if one.status is None)
        drugs = sum(
            not context.medications(one.names, one.status, one.route) for one in self.asked if one.status is not None
        ) + (self.rule.loaded.rule.when is None and not context.oral_magnesium)
        return problems > len(context.facts.unread.get(CONDITIONS, ())) or drugs > context.unidentified_count


@lru_cache(maxsize=64)
def prepared(rulebook: Rulebook, service: str) -> tuple[Prepared, ...]:
    """The rules that a service tries, in the order of the rulebook."""
    shared = rulebook.library.shared_thresholds
    return tuple(_prepare(rule, shared) for rule in rulebook.of_service(service))


@lru_cache(maxsize=64)
def tells_that_none_is_there(rulebook: Rulebook, service: str) -> frozenset[str]:
    """Labs of which rules of this service say that there is no result (`unknown: true`), by mouth and by vein: where
    it is missing, the other rules need not say it again. None where a site hides one of these rules.

    A rule that waits for a problem on the list besides speaks of those with that problem alone, and does not count.
    """
    every = (loaded.rule for loaded in rulebook.library.rules.values() if loaded.rule.status == "active")
    telling = [rule for rule in every if service in rule.services and _missing(rule)]
    shown = [rule.loaded.rule for rule in rulebook.of_service(service)]
    hidden = any(rule not in shown for rule in telling)
    return frozenset() if hidden else frozenset(lab for rule in telling for lab in _missing(rule))


def _missing(rule: Rule) -> frozenset[str]:
    """The labs whose absence this rule tells."""
    tests = rule.when.all if rule.when else []
    if any(one.status is None for test in tests if (one := test.asks_for)):
        return frozenset()
    return frozenset(KidneyTest.measures for test in tests if isinstance(test, KidneyTest) and test.kidney.unknown)


def _prepare(rule: ActiveRule, shared: Mapping[str, Threshold]) -> Prepared:
    written, limits = rule.loaded.rule, rule.limits
    scope, when = written.applies_to, written.when
    asked = [one for part in written.needed if (one := part.asks_for)]
    either = [one for test in (when.any if when else ()) if (one := test.asks_for)]
    statuses = {one.status for one in (*asked, *either) if one.status}
    back = (shared[item.name] for item in written.named() if item.mark.looks_back and item.name in shared)
    return Prepared(
        rule,
        scope == AppliesTo(),
        _plain(limits[scope.age_at_least]) if scope.age_at_least else None,
        _plain(limits[scope.age_below]) if scope.age_below else None,
        frozenset(scope.unless_medication),
        # What is over is not among the drugs of the chart.
        tuple(one for one in asked if one.status != "ended"),
        statuses == {"any"},
        any(case.in_hospital for threshold in back for case in threshold.instead),
        scope.not_pregnant or any(part.pregnancy_matters for part in written.needed),
        _scope(rule, shared),
    )


def _scope(rule: ActiveRule, shared: Mapping[str, Threshold]) -> str:
    scope, limits = rule.loaded.rule.applies_to, rule.limits
    within = scope.recent_result.within if scope.recent_result else None
    own = {name for name in (scope.age_at_least, scope.age_below, within) if name}
    if scope.unless_infusion:  # it reads shared limits, by names that it does not say
        own |= limits.keys() & shared.keys()
    return f"{scope!r} {[limits[name] for name in sorted(own)]!r}"


def _plain(limit: Limit) -> Decimal | int:
    """Whole years as int: it compares faster with an age."""
    whole = int(limit.value)
    return whole if whole == limit.value else limit.value
