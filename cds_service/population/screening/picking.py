"""Of whom a changed limit of laboratory results can change an outcome, told from the column `results` of facts alone.

A limit is read in one way: it is compared with a value, at the precision of the lab, with the value's comparator. The
answer, as the limit moves, turns at that value alone. So where all that changed are such limits, a patient without a
value between the old and the new one, both included, gets the same answer from every comparison. What has no value is
compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from typing import NamedTuple

from cds_service.content.base import Part, named
from cds_service.content.lab_words import LabTest
from cds_service.content.library import Library
from cds_service.content.rule import Threshold
from cds_service.content.rulebook import Limit
from cds_service.content.word_fields import limits_of
from cds_service.patient import Lab

# Rounding moves a value by at most half a step; the rest is for numbers that are no decimals.
MARGIN = Decimal("0.6")


class Between(NamedTuple):
    """The values of a lab, in its unit, that lie between two limits, or on one of them."""

    lab: str
    low: float
    high: float

    def where(self) -> str:
        """The condition on the column `results`, in SQL. Where nothing was kept, it may be there."""
        fits = f"one.lab = '{self.lab}' and one.value between {self.low!r} and {self.high!r}"
        return f"(results is null or len(list_filter(results, lambda one: {fits})) > 0)"


def values_of(labs: Mapping[str, tuple[Lab, ...]]) -> list[dict[str, str | float]]:
    """The column `results` of FACTS: every value that a rule could compare, of whatever age, once for each lab."""
    found = {(name, float(each.value)) for name, listed in labs.items() for each in listed if each.value is not None}
    return [{"lab": name, "value": value} for name, value in sorted(found)]


def named_in(part: object) -> frozenset[str]:
    """The thresholds that a part of a rule, or of a table, names."""
    return frozenset(item.name for item in named(part) if item.mark.what == "threshold")  # type: ignore[arg-type]


def closed(names: Iterable[str], thresholds: Mapping[str, Threshold]) -> frozenset[str]:
    """With the thresholds that stand in for these, or that say whom they hold for, and theirs."""
    known: set[str] = set()
    open_ = list(names)
    while open_:
        name = open_.pop()
        if name not in known:
            known.add(name)
            if name in thresholds:
                compared, others = _next(thresholds[name])
                open_ += compared + others
    return frozenset(known)


def _next(threshold: Threshold) -> tuple[list[str], list[str]]:
    """What is compared in place of a threshold, or beside it; and what decides for whom."""
    holds = threshold.holds_for
    compared = [case.threshold for case in threshold.instead]
    others = [name for case in threshold.instead for name in (case.kidney_below, case.age_at_least) if name]
    if holds:
        compared += [name for name in (holds.otherwise, holds.never_past) if name]
        others += [holds.age_at_least] if holds.age_at_least else []
    return compared, others


def between(
    parts: Iterable[Part],
    changed: Set[str],
    thresholds: Mapping[str, Threshold],
    before: Mapping[str, Limit],
    after: Mapping[str, Limit],
    library: Library,
) -> frozenset[Between] | None:
    """Where a value has to lie for the answer of one of `parts` to change. None: it may change for another reason, or
    `changed` thresholds are read as something else than limits of results."""
    found: set[Between] = set()
    for part in parts:
        if changed.isdisjoint(closed(named_in(part), thresholds)):
            continue
        if not isinstance(part, LabTest):
            return None
        compared, others = _roles(part, thresholds)
        if not changed.isdisjoint(closed(others, thresholds)):
            return None
        step = Decimal(1).scaleb(-library.terminology[part.lab].decimals)
        for name in compared & changed:
            low, high = sorted(each[name].value.quantize(step) for each in (before, after))
            found.add(Between(part.lab, float(low - MARGIN * step), float(high + MARGIN * step)))
    return frozenset(found)


def _roles(test: LabTest, thresholds: Mapping[str, Threshold]) -> tuple[frozenset[str], frozenset[str]]:
    """The thresholds that a test compares results with, and what else it reads. One may be both."""
    limits = list(limits_of(test).values())
    others = set(named_in(test)) - set(limits)
    if test.within in limits or (test.up_to and test.up_to in limits):
        others |= set(limits)
    compared: set[str] = set()
    while limits:
        name = limits.pop()
        if name not in compared:
            compared.add(name)
            if name in thresholds:
                also, deciding = _next(thresholds[name])
                limits += also
                others |= set(deciding)
    return frozenset(compared), frozenset(others)
