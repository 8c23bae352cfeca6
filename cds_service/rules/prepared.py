"""What can be known of the pages before any patient is: done once for a rulebook, and used by every call.

A page that asks for a drug or condition which this patient has not got is quiet at once; most pages are.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from cds_service.content.pages import ConditionTest, MedicationTest, RecentResult
from cds_service.content.rulebook import Limit, Rule, Rulebook
from cds_service.rules.context import CONDITIONS, Context

_KEPT = 8
Status = Literal["active", "draft", "any"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A rule with its sets and ages looked up. `drugs` and `conditions` hold one set for each thing that has to be
    there; a page about timing needs its drug.
    """

    rule: Rule
    age_at_least: Decimal | int | None
    age_below: Decimal | int | None
    recent_result: RecentResult | None
    not_pregnant: bool
    unless_medication: frozenset[str]
    unless_condition: frozenset[str]
    drugs: tuple[tuple[frozenset[str], Status], ...]
    conditions: tuple[frozenset[str], ...]

    def cannot_fire(self, context: Context) -> bool:
        """Whether something that this page needs is certainly not there."""
        for drugs, status in self.drugs:
            if drugs.isdisjoint(context.drugs) and not context.medication_gaps(status):
                return True
        for concepts in self.conditions:
            if concepts.isdisjoint(context.concepts) and not context.input_gap(CONDITIONS):
                return True
        return False


_kept: tuple[tuple[Rulebook, str, tuple[Prepared, ...]], ...] = ()


def prepared(rulebook: Rulebook, service: str) -> tuple[Prepared, ...]:
    """The rules that a service tries, in the order of the rulebook. Kept for the rulebooks last asked for."""
    global _kept
    for book, name, rules in _kept:
        if book is rulebook and name == service:
            return rules
    made = tuple(_prepare(rule) for rule in rulebook.of_service(service))
    _kept = ((rulebook, service, made), *_kept[: _KEPT - 1])
    return made


def _prepare(rule: Rule) -> Prepared:
    page, limits = rule.loaded.page, rule.limits
    scope, tests = page.applies_to, page.when.all if page.when else []
    timing = page.separate or page.avoid
    drugs: list[tuple[frozenset[str], Status]] = [
        (frozenset(test.medication), test.status)
        for test in tests
        if isinstance(test, MedicationTest) and test.status != "ended"
    ]
    if timing is not None:
        drugs.append((frozenset({timing.drug}), "any"))
    return Prepared(
        rule,
        _plain(limits[scope.age_at_least]) if scope.age_at_least else None,
        _plain(limits[scope.age_below]) if scope.age_below else None,
        scope.recent_result,
        scope.not_pregnant,
        frozenset(scope.unless_medication),
        frozenset(scope.unless_condition),
        tuple(drugs),
        tuple(frozenset(test.condition) for test in tests if isinstance(test, ConditionTest)),
    )


def _plain(limit: Limit) -> Decimal | int:
    """Whole years as int: it compares faster with an age."""
    whole = int(limit.value)
    return whole if whole == limit.value else limit.value
