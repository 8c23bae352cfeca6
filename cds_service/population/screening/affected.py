"""Which rules a change of site values can reach, and for which patients, before any patient is read.

What is said here holds for the outcome of a rule: its kind and its reasons. A card may print another limit besides.
"""

from __future__ import annotations

from dataclasses import dataclass

from cds_service.content.base import Asked
from cds_service.content.lab_words import LabTest
from cds_service.content.library import Library
from cds_service.content.rule import Rule
from cds_service.content.rulebook import ActiveRule, Rulebook
from cds_service.content.test_words import KidneyTest
from cds_service.population.screening.index import CONDITIONS, MEDICATIONS
from cds_service.population.screening.picking import Between, between, closed, named_in
from cds_service.rules.context import PREGNANCY_PROBLEM_HOLDS
from cds_service.rules.prepared import prepared

# Shared thresholds that are read for every patient, whatever the rule.
OF_EVERY_PATIENT = frozenset({PREGNANCY_PROBLEM_HOLDS, "dilute_magnesium"})
OF_ORDERS = ("order-select", "order-sign")


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one rule: `asked` has to be on the chart, all of it, else nothing changes; so has one of `labs`, where they
    are not None; and a value in one of `values`, where these are not None."""

    rule: str
    asked: tuple[Asked, ...] = ()
    labs: frozenset[str] | None = None
    values: frozenset[Between] | None = None

    def where(self, *, by_value: bool) -> str:
        """The condition on a row of FACTS, in SQL. What may be missing in a list is taken to be there. `by_value`:
        whether the facts have the column `results`; those of earlier versions have not."""
        parts = []
        for one in self.asked:
            column, gap = ("conditions", CONDITIONS) if one.status is None else ("drugs", MEDICATIONS)
            parts.append(f"(list_has_any({column}, {_sql(one.names)}) or gaps is null or list_contains(gaps, '{gap}'))")
        if self.labs is not None:
            parts.append(f"list_has_any(labs, {_sql(self.labs)})")
        if self.values is not None and by_value:
            parts.append(f"({' or '.join(each.where() for each in sorted(self.values)) or 'false'})")
        return " and ".join(parts) or "true"


def _sql(names: frozenset[str]) -> str:
    """Names of concepts are ours: letters, digits, underscores and hyphens."""
    assert all(name.replace("_", "").replace("-", "").replace(".", "").replace(":", "").isalnum() for name in names)
    return "[" + ", ".join(f"'{name}'" for name in sorted(names)) + "]"


def reached(before: Rulebook, after: Rulebook, hook: str, service: str) -> tuple[Reach, ...] | None:
    """The rules of a service whose outcomes may differ for some patient; None: any rule for anybody."""
    mine, theirs = (book.site.document.model_dump(exclude={"rules", "site"}) for book in (before, after))
    if (
        before.library is not after.library
        or before.day != after.day
        or before.not_available != after.not_available
        or before.rules.keys() != after.rules.keys()
        or mine != theirs
    ):
        return None
    library = before.library
    shared = frozenset(name for name, limit in before.shared.items() if limit.value != after.shared[name].value)
    if shared & OF_EVERY_PATIENT:
        return None
    orders = _of_purposes(before, after, shared) if hook in OF_ORDERS else frozenset()
    found = []
    for ready in prepared(before, service):
        old, new = ready.rule, after.rules[ready.rule.id]
        changed = _changed(old, new, library)
        shows = old.visibility != new.visibility
        if orders is None:
            found.append(Reach(old.id))
            continue
        if orders:
            found.append(Reach(old.id, values=orders))
        if changed or shows:
            found.append(_reach(old, new, changed, shows, library, ready.asked))
    return None if _hides(before, after) else tuple(found)


def _hides(before: Rulebook, after: Rulebook) -> bool:
    """Whether a rule is hidden under one alone: what others leave to it is then told by nobody, or by it."""
    return any(
        (rule.visibility == "hidden") != (after.rules[name].visibility == "hidden")
        for name, rule in before.rules.items()
    )


def _reach(
    old: ActiveRule, new: ActiveRule, changed: frozenset[str], shows: bool, library: Library, asked: tuple[Asked, ...]
) -> Reach:
    written = old.loaded.rule
    thresholds = {**library.shared_thresholds, **written.thresholds}
    reading = [part for _, part in written.parts() if not changed.isdisjoint(closed(named_in(part), thresholds))]
    if any(part is written.applies_to for part in reading):
        return Reach(old.id)  # whom a rule is for is asked before its drugs and problems
    if shows or not reading:
        return Reach(old.id, asked)
    labs: frozenset[str] | None = frozenset()
    for part in reading:
        if labs is None or not isinstance(part, LabTest | KidneyTest):
            labs = None
        else:
            labs |= {part.lab} if isinstance(part, LabTest) else {KidneyTest.measures, "creatinine"}
    return Reach(old.id, asked, labs, between(reading, changed, thresholds, old.limits, new.limits, library))


def _changed(before: ActiveRule, after: ActiveRule, library: Library) -> frozenset[str]:
    """The thresholds that this rule may read, and whose numbers differ."""
    written = before.loaded.rule
    used = uses(written, library)
    return frozenset(
        name for name in used & before.limits.keys() if before.limits[name].value != after.limits[name].value
    )


def uses(rule: Rule, library: Library) -> frozenset[str]:
    """Every threshold that can decide when a rule fires, its own and shared ones, directly or through another one."""
    names = (item.name for item in rule.named() if item.mark.what == "threshold")
    return closed(names, {**library.shared_thresholds, **rule.thresholds})


def _of_purposes(before: Rulebook, after: Rulebook, shared: frozenset[str]) -> frozenset[Between] | None:
    """Where a value has to lie for an order to be for something else; None: any order may be."""
    library = before.library
    thresholds = library.shared_thresholds
    lows = [purpose.low for purpose in library.purposes.values() if purpose.low]
    named = frozenset[str]().union(*(named_in(purpose) for purpose in library.purposes.values()))
    if named != frozenset[str]().union(*map(named_in, lows)):
        return None if not shared.isdisjoint(closed(named, thresholds)) else frozenset()
    return between(lows, shared, thresholds, before.shared, after.shared, library)
