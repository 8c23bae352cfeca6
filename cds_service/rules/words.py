"""The test words: each a function from its model and the context to a Verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from cds_service.content.pages import (
    AgeTest,
    ConditionTest,
    DailyMagnesiumTest,
    IntakeTest,
    KidneyTest,
    LabTest,
    MagnesiumProductsTest,
    MedicationTest,
    NoRecentLabTest,
    PregnancyTest,
    ReasonTest,
)
from cds_service.content.rulebook import Limit
from cds_service.patient import Lab
from cds_service.rules.amounts import MAGNESIUM
from cds_service.rules.context import CONDITIONS, INTAKE_KEYS, Context, medication_notes
from cds_service.rules.dosewords import daily_magnesium, magnesium_products
from cds_service.rules.verdict import FALSE, Kidney, LabHit, Match, Reason, Verdict, unknown

Limits = Mapping[str, Limit]
CRITICAL_FLAG = {"below": "LL", "at_most": "LL", "above": "HH", "at_least": "HH"}
FLAGS = {"below": ("L", "LL"), "above": ("H", "HH")}


def try_test(test: Any, context: Context, limits: Limits, page: str) -> Verdict:
    """One test of one page for one patient."""
    match test:
        case LabTest():
            return lab(test, context, limits)
        case NoRecentLabTest():
            return no_recent_lab(test, context, limits)
        case ConditionTest():
            return condition(test, context)
        case MedicationTest():
            return medication(test, context)
        case AgeTest():
            return age(test, context, limits)
        case PregnancyTest():
            return pregnancy(test, context)
        case KidneyTest():
            return kidney(test, context, limits)
        case DailyMagnesiumTest():
            return daily_magnesium(test, context, limits)
        case MagnesiumProductsTest():
            return magnesium_products(test, context, limits)
        case IntakeTest():
            return intake(test, context, limits)
        case ReasonTest():
            return reason(test, context, page)
    raise TypeError(f"no such test: {type(test).__name__}")


def usable(concept: str, context: Context, within: Limit, limits: Limits) -> Lab | Reason:
    """The newest result of a lab if it can be used for a statement about now, else why not.

    Results age faster in hospital: there the threshold `<within>_inpatient` holds, where there is one.
    """
    if context.inpatient:
        within = limits.get(f"{within.name}_inpatient", within)
    labs = context.labs_of(concept)
    gap = context.newest_gap(concept, labs)
    if gap:
        return gap
    if not labs:
        return Reason("no_result", concept)
    newest = labs[0]
    if newest.problem or newest.value is None or newest.time is None:
        return Reason("unusable_result", concept, problem=newest.problem)
    days = (context.facts.now - newest.time).days
    if timedelta(days=float(within.value)) < context.facts.now - newest.time:
        return Reason("result_too_old", concept, days=days, time=newest.time)
    return newest


def lab(test: LabTest, context: Context, limits: Limits) -> Verdict:
    """A result against a limit, the laboratory's own first where the page says so."""
    found = usable(test.lab, context, limits[test.within], limits)
    if isinstance(found, Reason):
        return unknown(found)
    if found.value is None:
        return unknown(Reason("unusable_result", test.lab))
    page = context.rulebook.library.terminology[test.lab]
    verdicts = []
    for comparison in ("below", "at_most", "above", "at_least"):
        name = getattr(test, comparison)
        if name is None:
            continue
        limit, origin, used = _limit_for(test, comparison, found, limits[name])
        if found.interpretation == CRITICAL_FLAG.get(comparison) and (test.laboratory_first or test.critical_flag):
            truth: bool | None = True
            origin = "flag"
        elif origin == "flag":
            truth = found.interpretation in FLAGS[comparison]
        else:
            truth = compare(found, comparison, limit, page.decimals)
        effects = {page.trouble_effect.get(trouble) for trouble in found.trouble}
        misleads = "falsely_low" if comparison in ("below", "at_most") else "falsely_high"
        hides = "falsely_high" if comparison in ("below", "at_most") else "falsely_low"
        if truth is not None and ((truth and misleads in effects) or (not truth and hides in effects)):
            verdicts.append(unknown(Reason("specimen_trouble", test.lab)))
            continue
        if truth is None:
            verdicts.append(unknown(Reason("comparator", test.lab)))
            continue
        page_says = compare(found, comparison, limits[name].value, page.decimals)
        shown_limit = limit if origin != "flag" else None
        hit = LabHit(found, shown_limit, origin, comparison, limits[name], page_says is not truth)
        notes: tuple[str, ...] = ("preliminary",) if found.status == "preliminary" else ()
        notes += ("date_only",) if found.time_is_date_only else ()
        verdicts.append(
            Verdict(
                truth, (), {test.lab: hit}, (found.source,), notes, (*((used,) if used else ()), limits[test.within])
            )
        )
    return next((v for v in verdicts if v.truth is not True), verdicts[0])


def _limit_for(test: LabTest, comparison: str, found: Lab, limit: Limit) -> tuple[Decimal, str, Limit | None]:
    if test.laboratory_first:
        own = found.low if comparison == "below" else found.high
        if own is not None:
            return own, "laboratory", None
        if found.interpretation is not None:
            return limit.value, "flag", None
    return limit.value, "site" if limit.site else "page", limit


def compare(found: Lab, comparison: str, limit: Decimal, decimals: int) -> bool | None:
    """Compared at the precision that is shown, so that what reads as 0.70 is not below 0.70.

    A comparator makes the value an open interval: "<0.5" is below 0.7 for certain, and above nothing.
    """
    assert found.value is not None
    step = Decimal(1).scaleb(-decimals)
    value, limit = found.value.quantize(step), limit.quantize(step)
    if found.comparator in ("<", "<="):
        if comparison in ("below", "at_most"):
            return True if value <= limit else None
        return False if value <= limit else None
    if found.comparator in (">", ">="):
        if comparison in ("above", "at_least"):
            return True if value >= limit else None
        return False if value >= limit else None
    return {
        "below": value < limit,
        "at_most": value <= limit,
        "above": value > limit,
        "at_least": value >= limit,
    }[comparison]


def no_recent_lab(test: NoRecentLabTest, context: Context, limits: Limits) -> Verdict:
    """True only where the search was complete and shows nothing recent."""
    found = usable(test.no_recent_lab, context, limits[test.within], limits)
    if isinstance(found, Lab):
        return FALSE
    if found.code == "no_result":
        return Verdict(True, bindings={"no_recent": (test.no_recent_lab, None)}, limits=(limits[test.within],))
    if found.code == "result_too_old":
        labs = context.labs_of(test.no_recent_lab)
        bindings = {"no_recent": (test.no_recent_lab, labs[0])}
        return Verdict(True, (), bindings, (labs[0].source,), limits=(limits[test.within],))
    return unknown(found)


def condition(test: ConditionTest, context: Context) -> Verdict:
    """Any of the concepts among the active conditions."""
    wanted = frozenset(test.condition)
    found = [item for item in context.facts.conditions if item.concepts & wanted]
    if found:
        matched = tuple(Match(item, item.concepts & wanted) for item in found)
        notes = ("provisional_condition",) if all(item.provisional for item in found) else ()
        return Verdict(True, (), {"matched": matched}, tuple(item.source for item in found), notes)
    gap = context.input_gap(CONDITIONS)
    return unknown(gap) if gap else FALSE


def medication(test: MedicationTest, context: Context) -> Verdict:
    """Any of the drugs, by status and route."""
    wanted = frozenset(test.medication)
    found = context.medications(wanted, test.status, test.route)
    if found:
        bindings: dict[str, Any] = {}
        if products := [item for item in found if MAGNESIUM in item.drugs]:
            # What is being ordered is named before what is taken already.
            bindings["magnesium"] = min(products, key=lambda item: item.status != "draft")
        if others := [item for item in found if MAGNESIUM not in item.drugs]:
            bindings["matched"] = tuple(Match(item, item.drugs & wanted) for item in others)
        sources = tuple(item.source for item in found)
        return Verdict(True, (), bindings, sources, medication_notes(found))
    gaps = context.medication_gaps(test.status)
    return unknown(*gaps) if gaps else FALSE


def age(test: AgeTest, context: Context, limits: Limits) -> Verdict:
    """Completed years against thresholds."""
    years = context.facts.person.age_years
    if years is None:
        return unknown(context.person_gap("age_unknown"))
    truth = all(
        years >= limits[name].value if word == "at_least" else years < limits[name].value
        for word, name in test.age.items()
    )
    return Verdict(truth, bindings={"age": years}, limits=tuple(limits[name] for name in test.age.values()))


def pregnancy(test: PregnancyTest, context: Context) -> Verdict:
    """Recorded pregnancy or lactation. Not recorded is unknown only where it could be."""
    person = context.facts.person
    recorded = person.pregnant if test.pregnant is not None else person.lactating
    wanted = test.pregnant if test.pregnant is not None else test.lactating
    source = person.pregnant_source if test.pregnant is not None else person.lactating_source
    if recorded is None:
        return Verdict(not wanted) if person.sex == "male" else unknown(Reason("pregnancy_unknown"))
    return Verdict(recorded == wanted, sources=(source,) if source else ())


def kidney(test: KidneyTest, context: Context, limits: Limits) -> Verdict:
    """eGFR against thresholds, or whether there is none recent enough."""
    found = context.kidney
    within = limits[test.within]
    too_old = (
        isinstance(found, Kidney)
        and found.lab.time is not None
        and context.facts.now - found.lab.time > timedelta(days=float(within.value))
    )
    if test.kidney.get("unknown"):
        if isinstance(found, Reason):
            return Verdict(True, bindings={"kidney_reason": found}, limits=(within,))
        bindings: dict[str, Any] = {"kidney": found}
        return Verdict(True, (), bindings, (found.lab.source,), limits=(within,)) if too_old else FALSE
    if isinstance(found, Reason):
        return unknown(found)
    if too_old:
        days = (context.facts.now - found.lab.time).days if found.lab.time else None
        return unknown(Reason("result_too_old", "egfr", days=days, time=found.lab.time))
    used = {word: limits[str(name)] for word, name in test.kidney.items()}
    outcomes = {word: compare(_as_lab(found), word, limit.value, 0) for word, limit in used.items()}
    if outcomes.get("below") and outcomes.get("at_least", True) is None:
        # "<20" is below 30 for certain: the milder page speaks, and the graver one says that the bound does not decide.
        outcomes["at_least"] = True
    if None in outcomes.values() and False not in outcomes.values():
        return unknown(Reason("comparator", "egfr"))
    notes = ("egfr_computed",) if found.computed else ()
    truth = all(outcomes.values())
    return Verdict(truth, (), {"kidney": found}, (found.lab.source,), notes, (within, *used.values()))


def _as_lab(found: Kidney) -> Lab:
    """eGFR as a lab value, so that comparators of a reported eGFR (">90") are honoured."""
    if not found.computed:
        return found.lab
    return Lab(found.lab.source, "egfr", found.lab.time, value=found.value)


def intake(test: IntakeTest, context: Context, limits: Limits) -> Verdict:
    """Newest documented intake below the allowance. A range decides only where all of it lies on one side."""
    gaps = [gap for key in INTAKE_KEYS if (gap := context.input_gap(key))]
    if not context.facts.intakes:
        return unknown(*gaps) if gaps else unknown(Reason("no_intake"))
    newest = context.facts.intakes[0]
    if newest.problem or newest.mg_per_day is None or newest.time is None:
        return unknown(Reason("unusable_intake", problem=newest.problem))
    if context.facts.now - newest.time > timedelta(days=float(limits[test.within].value)):
        days = (context.facts.now - newest.time).days
        return unknown(Reason("intake_too_old", days=days, time=newest.time))
    allowance = context.allowance_value
    if allowance is None:
        if context.facts.person.age_years is not None and context.allowance is None:
            return unknown(Reason("no_allowance"))
        code = "age_unknown" if context.facts.person.age_years is None else "sex_unknown"
        return unknown(context.person_gap(code))
    low = newest.mg_per_day if newest.low is None else newest.low
    high = newest.mg_per_day if newest.high is None else newest.high
    if low < allowance <= high:
        return unknown(Reason("intake_range"))
    bindings = {"intake": newest, "allowance": allowance, "gap": allowance - high}
    notes: tuple[str, ...] = ("intake_screener",) if newest.high is not None else ()
    notes += ("allowance_eu",) if context.rulebook.site.allowance == "eu" else ()
    return Verdict(high < allowance, (), bindings, (newest.source,), notes, (limits[test.within],))


def reason(test: ReasonTest, context: Context, page: str) -> Verdict:
    """Magnesium is drafted for one of the conditions: its own reasonCode, or the only page whose condition is there.

    One condition of several pages counts for the narrowest of them, which lists the fewest codes.
    """
    wanted = frozenset(test.reason)
    drafts = context.medications(frozenset({MAGNESIUM}), "draft", "oral")
    if not drafts:
        gaps = context.medication_gaps("draft")
        return unknown(*gaps) if gaps else FALSE
    notes = medication_notes(drafts)
    for draft in drafts:
        if draft.reasons & wanted:
            matched = tuple(sorted(draft.reasons & wanted))
            return Verdict(True, (), {"reason": matched, "magnesium": draft}, (draft.source,), notes)
    unexplained = [draft for draft in drafts if not draft.reasons]
    if not unexplained:
        return FALSE
    gap = context.input_gap(CONDITIONS)
    if gap:
        return unknown(gap)
    groups = context.rulebook.reason_groups
    fitting: set[str] = set()
    for item in context.facts.conditions:
        touched = {other for other, concepts in groups.items() if item.concepts & concepts}
        if len(touched) > 1:  # diabetic polyneuropathy is for the page of neuropathy, the narrower one
            breadths = {other: _codes_listed(groups[other], context) for other in touched}
            touched = {other for other in touched if breadths[other] == min(breadths.values())}
        fitting |= touched
    if fitting != {page}:
        return FALSE
    found = [item for item in context.facts.conditions if item.concepts & wanted]
    sources = (unexplained[0].source, *(item.source for item in found))
    matched = tuple(sorted(found[0].concepts & wanted))
    return Verdict(True, (), {"reason": matched, "magnesium": unexplained[0]}, sources, (*notes, "reason_assumed"))


def _codes_listed(concepts: Iterable[str], context: Context) -> int:
    """How many codes the concepts and all below them list."""
    pages = [context.rulebook.library.terminology[name] for name in concepts]
    own = sum(len(page.snomed) + len(page.icd10cm) + len(page.icd10cm_prefixes) for page in pages)
    return own + sum(_codes_listed(page.members, context) for page in pages if page.members)
