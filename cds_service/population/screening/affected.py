"""Which rules a change of site values can reach, and for which patients, before any patient is read.

What is said here holds for the outcome of a rule: its kind and its reasons. A card may print another limit besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cds_service.content.base import Asked, named
from cds_service.content.library import Library
from cds_service.content.rule import Rule, Threshold
from cds_service.content.rulebook import ActiveRule, Rulebook
from cds_service.content.test_words import KidneyTest, LabTest
from cds_service.population.screening.index import CONDITIONS, MEDICATIONS
from cds_service.rules.context import PREGNANCY_PROBLEM_HOLDS
from cds_service.rules.prepared import prepared

# Shared thresholds that are read for every patient, whatever the rule.
OF_EVERY_PATIENT = frozenset({PREGNANCY_PROBLEM_HOLDS, "dilute_magnesium"})
OF_ORDERS = ("order-select", "order-sign")


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one rule: `asked` has to be on the chart, all of it, else nothing changes; so has one of `labs`, where they
    are not None."""

    rule: str
    asked: tuple[Asked, ...] = ()
    labs: frozenset[str] | None = None

    def where(self) -> str:
        """The condition on a row of FACTS, in SQL. What may be missing in a list is taken to be there."""
        parts = []
        for one in self.asked:
            column, gap = ("conditions", CONDITIONS) if one.status is None else ("drugs", MEDICATIONS)
            parts.append(f"(list_has_any({column}, {_sql(one.names)}) or gaps is null or list_contains(gaps, '{gap}'))")
        if self.labs is not None:
            parts.append(f"list_has_any(labs, {_sql(self.labs)})")
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
    all_orders = hook in OF_ORDERS and not shared.isdisjoint(_of_purposes(library))
    found = []
    for ready in prepared(before, service):
        old, new = ready.rule, after.rules[ready.rule.id]
        changed = _changed(old, new, library)
        shows = old.visibility != new.visibility
        if all_orders:
            found.append(Reach(old.id))
        elif changed or shows:
            found.append(_reach(old, changed, shows, library, ready.asked))
    return None if _hides(before, after) else tuple(found)


def _hides(before: Rulebook, after: Rulebook) -> bool:
    """Whether a rule is hidden under one alone: what others leave to it is then told by nobody, or by it."""
    return any(
        (rule.visibility == "hidden") != (after.rules[name].visibility == "hidden")
        for name, rule in before.rules.items()
    )


def _reach(rule: ActiveRule, changed: frozenset[str], shows: bool, library: Library, asked: tuple[Asked, ...]) -> Reach:
    written = rule.loaded.rule
    reading = [part for _, part in written.parts() if not changed.isdisjoint(_closed(_of(part), written, library))]
    if any(part is written.applies_to for part in reading):
        return Reach(rule.id)  # whom a rule is for is asked before its drugs and problems
    labs: frozenset[str] | None = frozenset()
    for part in reading:
        if labs is None or not isinstance(part, LabTest | KidneyTest):
            labs = None
        else:
            labs |= {part.lab} if isinstance(part, LabTest) else {KidneyTest.measures, "creatinine"}
    return Reach(rule.id, asked, None if shows or not reading else labs)


def _changed(before: ActiveRule, after: ActiveRule, library: Library) -> frozenset[str]:
    """The thresholds that this rule may read, and whose numbers differ."""
    written = before.loaded.rule
    used = uses(written, library)
    return frozenset(
        name for name in used & before.limits.keys() if before.limits[name].value != after.limits[name].value
    )


def uses(rule: Rule, library: Library) -> frozenset[str]:
    """Every threshold that can decide when a rule fires, its own and shared ones, directly or through another one."""
    return _closed(frozenset(item.name for item in rule.named() if item.mark.what == "threshold"), rule, library)


def _of(part: object) -> frozenset[str]:
    return frozenset(item.name for item in named(part) if item.mark.what == "threshold")  # type: ignore[arg-type]


def _of_purposes(library: Library) -> frozenset[str]:
    """The thresholds that say what an order is for."""
    found = frozenset[str]().union(*(_of(purpose) for purpose in library.purposes.values()))
    return _closing(found, library.shared_thresholds)


def _closed(names: frozenset[str], rule: Rule, library: Library) -> frozenset[str]:
    return _closing(names, {**library.shared_thresholds, **rule.thresholds})


def _closing(names: frozenset[str], thresholds: Mapping[str, Threshold]) -> frozenset[str]:
    """With the thresholds that stand in for these, or that say whom they hold for, and theirs."""
    known: set[str] = set()
    open_ = list(names)
    while open_:
        name = open_.pop()
        if name not in known:
            known.add(name)
            if name in thresholds:
                open_ += _next(thresholds[name])
    return frozenset(known)


def _next(threshold: Threshold) -> Iterator[str]:
    holds = threshold.holds_for
    if holds:
        yield from (name for name in (holds.age_at_least, holds.otherwise, holds.never_past) if name)
    for case in threshold.instead:
        yield from (name for name in (case.threshold, case.kidney_below, case.age_at_least) if name)
