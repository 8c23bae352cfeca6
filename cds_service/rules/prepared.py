"""What can be known of the rules before any patient is: done once for a rulebook, and used by every call.

A rule that asks for a drug or condition which this patient has not got is quiet at once; most rules are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from cds_service.content.base import Asked
from cds_service.content.rule import AppliesTo, Rule, Threshold
from cds_service.content.rulebook import ActiveRule, Limit, Rulebook
from cds_service.content.test_words import KidneyTest, Test
from cds_service.patient import CONDITIONS
from cds_service.rules.context import Context


@dataclass(frozen=True, slots=True)
class ReadyTest:
    """A test of a rule. Tests of one `number` say the same of a patient, in whichever rules of a service they stand."""

    number: int
    test: Test


@dataclass(frozen=True, slots=True)
class Prepared:
    """A rule with its sets and ages looked up. `asked` has to be there, all of it. `for_everybody`: no `applies_to`.

    `about_the_order`: on order hooks one of the drugs that the rule names has to be drafted. `ages_in_hospital`: its
    results are read for less long there. `pregnancy_matters`: a card says so where pregnancy could not be read. `scope`
    names its `applies_to` with the limits that it reads: who is outside of one is outside of all that are called so.
    `needed`, `either` and `none` are the tests of its `when`, and `infusion` that of its `applies_to`.
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
    needed: tuple[ReadyTest, ...]
    either: tuple[ReadyTest, ...]
    none: tuple[ReadyTest, ...]
    infusion: ReadyTest | None

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
        problems = drugs = 0
        for one in self.asked:
            if one.status is None:
                problems += one.names.isdisjoint(context.concepts)
            elif not context.medications(one.names, one.status, one.route):
                drugs += 1
        if self.rule.loaded.rule.when is None and not context.oral_magnesium:
            drugs += 1
        return problems > len(context.facts.unread.get(CONDITIONS, ())) or drugs > context.unidentified_count


@lru_cache(maxsize=64)
def prepared(rulebook: Rulebook, service: str) -> tuple[Prepared, ...]:
    """The rules that a service tries, in the order of the rulebook."""
    shared, numbers = rulebook.library.shared_thresholds, _Numbers(rulebook.shared)
    return tuple(_prepare(rule, shared, numbers) for rule in rulebook.of_service(service))


class _Numbers:
    """Numbers the tests of a service: those that are written alike, with the same limits, get one number."""

    def __init__(self, shared: Mapping[str, Limit]) -> None:
        self._shared = shared
        self._found: dict[tuple[object, ...], int] = {}

    def of(self, tests: Iterable[Test], rule: ActiveRule) -> tuple[ReadyTest, ...]:
        """The tests of a rule, in order. Of its limits those count that are not the shared ones of all rules."""
        own = {name: limit for name, limit in rule.limits.items() if self._shared.get(name) is not limit}
        ready = []
        for test in tests:
            written = test.model_dump_json()
            names = _with_others([name for name in own if name in self._shared or f'"{name}"' in written], own)
            key = (type(test), written, *(own[name] for name in sorted(names)))
            ready.append(ReadyTest(self._found.setdefault(key, len(self._found)), test))
        return tuple(ready)


def _with_others(names: Iterable[str], limits: Mapping[str, Limit]) -> set[str]:
    """With the limits that stand in for these for other patients, or say for whom they hold."""
    known: set[str] = set()
    open_ = list(names)
    while open_:
        name = open_.pop()
        if name in limits and name not in known:
            known.add(name)
            if holds := limits[name].holds_for:
                open_ += [one for one in (holds.age_at_least, holds.otherwise, holds.never_past) if one]
    return known


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


def _prepare(rule: ActiveRule, shared: Mapping[str, Threshold], numbers: _Numbers) -> Prepared:
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
        numbers.of(when.all if when else (), rule),
        numbers.of(when.any if when else (), rule),
        numbers.of(when.none if when else (), rule),
        next(iter(numbers.of([scope.unless_infusion] if scope.unless_infusion else (), rule)), None),
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
