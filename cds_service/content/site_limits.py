"""Thresholds that a site sets: in which units it may write them, and which of them have to keep their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import Literal

from cds_service.content.concept import Concept
from cds_service.content.lab_words import LabTest
from cds_service.content.library import SHARED, Library
from cds_service.content.rule import Threshold
from cds_service.content.test_words import DailyMagnesiumTest, InjectedMagnesiumTest, KidneyTest
from cds_service.content.units import Unit, UnitProblem, convert
from cds_service.content.word_fields import limits_of

Key = tuple[str, str]
"""A threshold: its owner, which is a rule or `shared`, and its name."""
_FINEST = Decimal("0.0001")  # of a time or an amount in another unit


def thresholds_of(library: Library, owner: str) -> Mapping[str, Threshold] | None:
    """The thresholds of a rule, or the shared ones; None where there is no such rule."""
    if owner == SHARED:
        return library.shared_thresholds
    return library.rules[owner].rule.thresholds if owner in library.rules else None


def threshold_of(library: Library, key: Key) -> Threshold:
    """One of them. Raises KeyError."""
    return (thresholds_of(library, key[0]) or {})[key[1]]


def _units(library: Library) -> dict[str, Unit]:
    return {code: Unit(code, row.kind, row.factor, row.per) for code, row in library.units.items()}


def _unit(library: Library, text: str) -> Unit | None:
    """A unit by its UCUM code or another spelling."""
    units = _units(library)
    codes = (code for code, row in library.units.items() if text in row.also)
    return units.get(text) or units.get(next(codes, ""))


def _lab(library: Library, key: Key) -> Concept | None:
    """The lab that a threshold limits; of several, any where they convert alike."""
    labs = [library.terminology[name] for name in sorted(library.labs_limited.get(key, ()))]
    alike = {(lab.molar_mass, lab.valence, lab.decimals) for lab in labs}
    return labs[0] if len(alike) == 1 else None


def in_own_unit(library: Library, key: Key, value: Decimal, unit: str | None) -> Decimal:
    """A value that a site wrote, in the unit of the threshold; of a lab at the precision at which it is compared.
    Raises UnitProblem where the unit does not fit, KeyError where there is no such threshold."""
    threshold = threshold_of(library, key)
    if unit is None or unit == threshold.unit:
        return value
    written, own, lab = _unit(library, unit), _unit(library, threshold.unit), _lab(library, key)
    if written is None or own is None:
        raise UnitProblem("unit not known")
    if lab is None:
        exact = convert(value, written, own)
        return exact if exact == exact.quantize(_FINEST) else exact.quantize(_FINEST)
    exact = convert(value, written, own, molar_mass=lab.molar_mass, valence=lab.valence)
    return exact.quantize(Decimal(1).scaleb(-lab.decimals))


def units_fitting(library: Library, key: Key) -> list[str]:
    """The units in which a site may write a threshold, its own first: those of the lab that it limits, else all of the
    same kind."""
    threshold, lab = threshold_of(library, key), _lab(library, key)
    own = _unit(library, threshold.unit)
    if lab is not None:
        asked: Iterable[str] = (lab.unit or "", *lab.site_units, *lab.sent_in)
    else:
        asked = (code for code, unit in _units(library).items() if own and (unit.kind, unit.per) == (own.kind, own.per))
    fitting = []
    for code in asked:
        try:
            in_own_unit(library, key, Decimal(1), code)
        except UnitProblem:
            continue
        fitting.append(code)
    return list(dict.fromkeys([threshold.unit, *fitting]))


def range_in(library: Library, key: Key, unit: str) -> tuple[str, str] | None:
    """The range in which a site may set a threshold, as it reads in `unit`; None where it may not."""
    threshold = threshold_of(library, key)
    if threshold.site_may_set is None:
        return None
    written, own, lab = _unit(library, unit), _unit(library, threshold.unit), _lab(library, key)
    if unit == threshold.unit or written is None or own is None:
        low, high = threshold.site_may_set
        return str(low), str(high)
    mass, valence = (lab.molar_mass, lab.valence) if lab else (None, None)
    both = [convert(item, own, written, molar_mass=mass, valence=valence) for item in threshold.site_may_set]
    told = [f"{item:.4g}" if item < 1000 else f"{item:.0f}" for item in both]
    return told[0], told[1]


@dataclass(frozen=True, slots=True)
class Bound:
    """A threshold as one test uses it: what is measured, and on which side of it the test holds."""

    key: Key
    measure: str
    side: Literal["low", "high"]
    rule: str


def bounds(library: Library) -> list[Bound]:
    """Every limit of a measured value or of an amount that a site may set, as the tests of active rules use it."""
    return [bound for bound in _bounds(library) if threshold_of(library, bound.key).site_may_set is not None]


def _bounds(library: Library) -> Iterator[Bound]:
    for loaded in library.rules.values():
        if loaded.rule.status != "active":
            continue
        for _, part in loaded.rule.parts():
            found: list[tuple[str, str, str]] = []
            match part:
                case LabTest():
                    found = [(part.lab, word, name) for word, name in limits_of(part).items()]
                case KidneyTest():
                    found = [(part.measures, word, name) for word, name in limits_of(part.kidney).items()]
                case InjectedMagnesiumTest():
                    both = [part.injected_magnesium, *([part.obstetric] if part.obstetric else [])]
                    found = [(f"injected {limit.named[0]}", "above", limit.named[1]) for limit in both]
                case DailyMagnesiumTest():
                    found = [("daily magnesium", "above", name) for name in part.daily_magnesium.values()]
            for measure, word, name in found:
                owner = loaded.id if name in loaded.rule.thresholds else SHARED
                if name in (thresholds_of(library, owner) or {}):
                    side: Literal["low", "high"] = "low" if word in ("below", "at_most") else "high"
                    yield Bound((owner, name), measure, side, loaded.id)


@dataclass(frozen=True, slots=True)
class Order:
    """Two thresholds of one measure: `lower` is below `higher`, and as a lab's shared limits, or as those of one rule,
    they may not be equal either."""

    lower: Key
    higher: Key
    apart: bool


def orders(library: Library) -> list[Order]:
    """The pairs of thresholds that keep their order under any site's values: of one measure and one side, or one rule's
    two sides; the one is below the other in the values that ship, on every day on which these change."""
    every = bounds(library)
    sides: dict[Key, set[tuple[str, str]]] = {}
    rules: dict[Key, set[str]] = {}
    for bound in every:
        sides.setdefault(bound.key, set()).add((bound.measure, bound.side))
        rules.setdefault(bound.key, set()).add(bound.rule)
    measures = {key: {measure for measure, _ in used} for key, used in sides.items()}
    found = []
    for one, other in combinations(sides, 2):
        one_rule = bool(rules[one] & rules[other]) and bool(measures[one] & measures[other])
        if not (sides[one] & sides[other] or one_rule):
            continue
        first, second = threshold_of(library, one), threshold_of(library, other)
        if first.unit != second.unit or first.regions or second.regions:
            continue
        days: list[date] = [day for day, _ in (*first.dated, *second.dated)]
        of_a_lab = one in library.labs_limited and other in library.labs_limited
        apart = of_a_lab and (one[0] == other[0] or one_rule)
        if all(first.at(day) < second.at(day) for day in days):
            found.append(Order(one, other, apart))
        elif all(first.at(day) > second.at(day) for day in days):
            found.append(Order(other, one, apart))
    return found
