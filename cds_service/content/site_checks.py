"""What is wrong with a site document: every fault at once, each with its place and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING

from cds_service.content.base import named
from cds_service.content.library import SHARED
from cds_service.content.site_document import SiteCode, SiteDocument, SiteException, SiteRule, SiteThreshold
from cds_service.content.site_limits import Key, in_own_unit, orders, threshold_of, thresholds_of, units_fitting
from cds_service.content.units import UnitProblem
from cds_service.content.yamlfile import Document, Fault, KeyPath
from cds_service.spelling import nearest

if TYPE_CHECKING:
    from cds_service.content.concept import Concept
    from cds_service.content.library import Library

RULES = "rules"
_ADDRESS = re.compile(r"(?:urn:[a-z0-9][a-z0-9-]+:|https?://)[^\s|,]+", re.IGNORECASE)
_ACT_CODE = "/v3-ActCode"  # the end of the address of HL7's classes of encounters


def faults_of_site(
    parsed: SiteDocument, document: Document, library: Library, input_keys: frozenset[str]
) -> list[Fault]:
    """Every fault. `input_keys`: the inputs that rules read."""
    return [
        *_rule_faults(parsed.rules, (RULES,), document, library),
        *_exception_faults(parsed.exceptions, document, library),
        *_order_faults(parsed, document, library),
        *_unit_faults(parsed, document, library),
        *_schedule_faults(parsed, document, library),
        *_name_faults(parsed, document, library, input_keys),
        *_code_faults(parsed, document, library),
        *_class_faults(parsed, document, library),
    ]


def ranked(exceptions: Iterable[SiteException]) -> list[SiteException]:
    """With those that name client and encounter last, where they have the last word."""
    return sorted(exceptions, key=lambda one: one.client is not None and one.encounter is not None)


def _rule_faults(rules: Mapping[str, SiteRule], at: KeyPath, document: Document, library: Library) -> Iterator[Fault]:
    for rule_id, mine in rules.items():
        if thresholds_of(library, rule_id) is None:
            known = [*library.rules, SHARED]
            yield document.fault((*at, rule_id), f"no rule {rule_id}{nearest(rule_id, known)}")
            continue
        if rule_id == SHARED and mine.show:
            yield document.fault((*at, rule_id, "show"), "shared thresholds cannot be hidden")
        elif mine.show == "hidden" and rule_id in against_magnesium(library):
            message = f"{rule_id} speaks against magnesium and is always evaluated: write silent, its card is not shown"
            yield document.fault((*at, rule_id, "show"), message)
        elif mine.show in ("silent", "hidden") and not mine.reason:
            yield document.fault((*at, rule_id, "show"), f"{mine.show} needs a reason")
        for name, own in mine.thresholds.items():
            path = (*at, rule_id, "thresholds", name)
            yield from _threshold_faults((rule_id, name), own.value, own.unit, path, document, library)


def _threshold_faults(
    key: Key, value: Decimal, unit: str | None, path: KeyPath, document: Document, library: Library
) -> Iterator[Fault]:
    rule_id, name = key
    thresholds = thresholds_of(library, rule_id) or {}
    threshold = thresholds.get(name)
    if threshold is None:
        where = "shared thresholds" if rule_id == SHARED else rule_id
        hint = nearest(name, thresholds)
        if not hint and name in library.shared_thresholds:
            hint = f" (it is a shared one: put it under {SHARED})"
        yield document.fault(path, f"{where} has no threshold {name}{hint}")
        return
    if threshold.site_may_set is None:
        yield document.fault(path, "a site may not set this threshold")
        return
    try:
        inside = in_own_unit(library, key, value, unit)
    except UnitProblem:
        fitting = units_fitting(library, key)
        yield document.fault((*path, "unit"), f"{unit} does not fit here; these do: "
                             f"{', '.join(fitting)}")  # fmt: skip
        return
    low, high = threshold.site_may_set
    if not low <= inside <= high:
        said = f"{value} {unit} is {inside} {threshold.unit}, which" if unit and unit != threshold.unit else (
            f"{value} {threshold.unit}"
        )  # fmt: skip
        message = f"{said} is outside the allowed range {low} to {high} {threshold.unit}"
        yield document.fault((*path, "value"), message)


def _exception_faults(exceptions: Sequence[SiteException], document: Document, library: Library) -> Iterator[Fault]:
    """Their values as those for all. The hours between two doses are the same for all: a card links to a plan of the
    day that knows no client. Each exception has a name of its own, and no call gets two values of which neither has the
    last word."""
    for index, one in enumerate(exceptions):
        at = "exceptions", index, RULES
        yield from _rule_faults(one.rules, at, document, library)
        for rule, mine in one.rules.items():
            waits = library.rules[rule].rule.waits if rule in library.rules else frozenset[str]()
            for name in sorted(waits & mine.thresholds.keys()):
                message = "the hours between two doses are the same for all: set them under rules"
                yield document.fault((*at, rule, "thresholds", name), message)
    pairs = list(combinations(enumerate(exceptions), 2))
    for (_, one), (index, other) in pairs:
        if one.name == other.name:
            yield document.fault(("exceptions", index, "name"), f"another exception is called {other.name} too")
    both = [one for one in exceptions if one.client and one.encounter]
    narrow = {(str(one.client), str(one.encounter)): _set_by(one) for one in both}
    for (_, one), (index, other) in pairs:
        same = (one.client, one.encounter) == (other.client, other.encounter)
        client, encounter = one.client or other.client, one.encounter or other.encounter
        meet = one.client in (None, client) and other.client in (None, client)
        meet = meet and one.encounter in (None, encounter) and other.encounter in (None, encounter)
        of_one_rank = all((each.client is None) != (each.encounter is None) for each in (one, other))
        if not (same or (meet and of_one_rank)):
            continue
        decided = frozenset() if same else narrow.get((str(client), str(encounter)), frozenset())
        for path in sorted(_set_by(one) & _set_by(other) - decided):
            message = f"{one.name} sets this too, and a call may be both: " + (
                "keep one of them" if same else f"add an exception that names client {client} and {encounter}"
            )
            yield document.fault(("exceptions", index, "rules", *path), message)


def _set_by(one: SiteException) -> frozenset[tuple[str, ...]]:
    """The paths of all that an exception sets."""
    shows = {(rule, "show") for rule, mine in one.rules.items() if mine.show}
    return frozenset(
        shows | {(rule, "thresholds", name) for rule, mine in one.rules.items() for name in mine.thresholds}
    )


def _order_faults(parsed: SiteDocument, document: Document, library: Library) -> Iterator[Fault]:
    """Limits that contradict each other, for all calls or for those of an exception."""
    told: set[tuple[Key, Key]] = set()
    clients = {None, *(one.client for one in parsed.exceptions)}
    kinds = {None, *(one.encounter for one in parsed.exceptions)}
    calls = sorted(((client, kind) for client in clients for kind in kinds), key=str)
    for client, kind in sorted(calls, key=lambda call: call != (None, None)):
        fitting = [
            (("exceptions", parsed.exceptions.index(one), "rules"), one.rules, f" ({one.name})")
            for one in ranked(parsed.exceptions)
            if one.client in (None, client) and one.encounter in (None, kind)
        ]
        held: dict[Key, tuple[Decimal, KeyPath, str]] = {}
        for at, rules, by in [((RULES,), parsed.rules, ""), *fitting]:
            for rule, mine in rules.items():
                for name, item in mine.thresholds.items():
                    value = _sound(library, (rule, name), item)
                    if value is not None:
                        held[rule, name] = value, (*at, rule, "thresholds", name), by
        for order in orders(library) if held else ():
            pair = order.lower, order.higher
            if pair in told or not (order.lower in held or order.higher in held):
                continue
            (low, low_at, low_by), (high, high_at, high_by) = (_held(key, held, library) for key in pair)
            if low > high or (order.apart and low == high):
                told.add(pair)
                unit = threshold_of(library, order.lower).unit
                rule = f"{_called(order.lower)} has to be {'below' if order.apart else 'no higher than'} the other"
                values = f"{low} {unit}{low_by} and {_called(order.higher)} {high} {unit}{high_by}"
                message = f"{_called(order.lower)} is {values}: {rule}"
                yield document.fault(low_at or high_at, message)


def _sound(library: Library, key: Key, item: SiteThreshold) -> Decimal | None:
    """The value in the unit of its threshold; None where a fault of it was told already."""
    try:
        value, allowed = in_own_unit(library, key, item.value, item.unit), threshold_of(library, key).site_may_set
    except (KeyError, UnitProblem):
        return None
    return value if allowed and allowed[0] <= value <= allowed[1] else None


def _held(key: Key, held: Mapping[Key, tuple[Decimal, KeyPath, str]], library: Library) -> tuple[Decimal, KeyPath, str]:
    """The value of a threshold, where it stands, and whose it is; where the site has none, the newest that ships."""
    if key in held:
        return held[key]
    threshold = threshold_of(library, key)
    return threshold.values[max(threshold.values)], (), " by default"


def _called(key: Key) -> str:
    return key[1] if key[0] == SHARED else ".".join(key)


def _unit_faults(parsed: SiteDocument, document: Document, library: Library) -> Iterator[Fault]:
    labs = units_of(library)
    for lab, own_unit in parsed.units.items():
        message = unit_fault(lab, own_unit.unit, labs)
        if message:
            yield document.fault(("units", lab, *(["unit"] if lab in labs else [])), message)


def _schedule_faults(parsed: SiteDocument, document: Document, library: Library) -> Iterator[Fault]:
    usual, sound = library.schedule.thresholds, True
    for key, item in parsed.schedule.items():
        message = usual[key].fault_of(item.value) if key in usual else f"the schedule has no {key}{nearest(key, usual)}"
        if message:
            sound = False
            yield document.fault(("schedule", key, "value"), message)
    if sound:
        for key, message in library.schedule.misfits({key: item.value for key, item in parsed.schedule.items()}):
            yield document.fault(("schedule", key), message)


def _name_faults(
    parsed: SiteDocument, document: Document, library: Library, input_keys: frozenset[str]
) -> Iterator[Fault]:
    for key in sorted(parsed.protocols.keys() - library.treatment.keys()):
        message = f"no problem with a protocol {key}{nearest(key, library.treatment)}"
        yield document.fault(("protocols", key), message)
    for key in parsed.inputs:
        if key not in input_keys or key == "patient":
            message = f"no input that can be left out is named {key}{nearest(key, input_keys - {'patient'})}"
            yield document.fault(("inputs", key), message)
        elif key == "conditions" and (resting := against_magnesium_by_problem(library)):
            message = f"{', '.join(resting)} speak against magnesium by a problem on record: that is never left out"
            yield document.fault(("inputs", key), message)
    fit = orderable_suggestions(library)
    for name in parsed.orderables:
        if name not in fit:
            yield document.fault(("orderables", name), f"no suggestion orders anything as {name}{nearest(name, fit)}")


def _code_faults(parsed: SiteDocument, document: Document, library: Library) -> Iterator[Fault]:
    """A site's own code means one concept, of a kind that codes are read for, and nothing that the content knows."""
    known: dict[tuple[str, str], str] = {}
    for name, entry in library.terminology.items():
        lists = {"snomed": entry.snomed, "icd10cm": entry.icd10cm, "rxnorm": entry.rxnorm_ingredients, "atc": entry.atc}
        known |= {(system, code): name for system, codes in lists.items() for code in codes}
        known |= {(code.system, code.code): name for code in entry.codes}
    fit = [name for name, entry in library.terminology.items() if _takes_codes(entry)]
    for name, items in parsed.codes.items():
        if name not in fit:
            yield document.fault(("codes", name), f"no test, problem or drug takes codes as {name}{nearest(name, fit)}")
            continue
        for index, item in enumerate(items):
            path = ("codes", name, index)
            yield from _system_faults(item, path, document)
            key = library.system_names.of(item.system) or item.system or "", item.code
            if key in known:
                yield document.fault(path, f"{item.code} means {known[key]} already")
            known[key] = name


def _class_faults(parsed: SiteDocument, document: Document, library: Library) -> Iterator[Fault]:
    """A site's own class of encounters is of one kind, and none of HL7's."""
    known: dict[tuple[str, str], str] = {}
    for kind, items in parsed.encounters.items():
        for index, item in enumerate(items):
            path = ("encounters", kind, index)
            yield from _system_faults(item, path, document)
            of_hl7 = library.encounter_kind(item.code) if (item.system or "").endswith(_ACT_CODE) else None
            if said := of_hl7 or known.get((item.system or "", item.code)):
                yield document.fault(path, f"{item.code} means {said} already")
            known[item.system or "", item.code] = kind


def _system_faults(item: SiteCode, path: KeyPath, document: Document) -> Iterator[Fault]:
    if item.system is not None and not _ADDRESS.fullmatch(item.system):
        message = "is no address of a code system: urn:..., http://... or https://..."
        yield document.fault((*path, "system"), message)


def _takes_codes(entry: Concept) -> bool:
    kinds = {"condition": True, "lab": entry.input is not None, "drug": bool(entry.rxnorm_ingredients)}
    return kinds.get(entry.kind, False)


def orderable_suggestions(library: Library) -> list[str]:
    """The suggestions that create an order."""
    return [name for name, item in library.suggestions.items() if item.kind == "lab_order"]


def against_magnesium(library: Library) -> list[str]:
    """The ids of the rules that speak against magnesium: no site can do without them."""
    return sorted(name for name, loaded in library.rules.items() if loaded.rule.card.contraindicates_magnesium)


def against_magnesium_by_problem(library: Library) -> list[str]:
    """Those of them that fire by a problem on record. An input that a site leaves out counts as read and empty."""
    return [
        name
        for name in against_magnesium(library)
        if any(
            at[0] == "when" and item.mark.kinds == ("condition",)
            for at, part in library.rules[name].rule.parts()
            for item in named(part, at)
        )
    ]


def units_of(library: Library) -> dict[str, list[str]]:
    """The labs that may be shown in a unit of choice, each with the units to choose from."""
    return {name: entry.site_units for name, entry in library.terminology.items() if entry.site_units}


def unit_fault(lab: str, unit: str, labs: Mapping[str, list[str]]) -> str:
    """What is wrong with the choice of a unit, "" if nothing. `labs`: as `units_of`."""
    if lab not in labs:
        return f"no lab with a choice of units {lab}{nearest(lab, labs)}"
    return "" if unit in labs[lab] else f"{unit} is not one of {', '.join(labs[lab])}"
