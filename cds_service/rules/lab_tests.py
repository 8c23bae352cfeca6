"""Laboratory results as tests read them: the newest one, its limit, and whether it stays beyond it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Final

from cds_service.content.lab_words import ImplausibleTest, LabTest, NoRecentLabTest, OnFileTest, RisenTest
from cds_service.content.rule import HoldsFor
from cds_service.content.rulebook import Limit
from cds_service.content.word_fields import Comparison, Persists, limits_of
from cds_service.patient import IMPLAUSIBLE, Lab, Medication
from cds_service.rules.context import Context
from cds_service.rules.verdict import FALSE, LabHit, Match, OnFile, Reason, Rise, Verdict, unknown

Limits = Mapping[str, Limit]
CRITICAL_FLAG = {"below": "LL", "at_most": "LL", "above": "HH", "at_least": "HH"}
NOT_MEASURED = ("no_result", "result_too_old")
_HOLDS: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    "below": lt,
    "at_most": le,
    "above": gt,
    "at_least": ge,
}
FLAGS = {"below": ("L", "LL"), "above": ("H", "HH")}


def usable(concept: str, context: Context, within: Limit) -> Lab | Reason:
    """The newest result of a lab if it can be used for a statement about now, else why not. Most rules ask for the same
    few: each is looked for once in a context."""
    asked = concept, within.value
    found = context.usable_labs.get(asked)
    if found is None:
        found = context.usable_labs[asked] = _usable(concept, context, within)
    return found


def _usable(concept: str, context: Context, within: Limit) -> Lab | Reason:
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
        return context.withheld(concept) or Reason("result_too_old", concept, days=days, time=newest.time)
    return newest


def _key(concept: str, context: Context) -> str:
    return context.rulebook.library.terminology[concept].input or concept


def lab(test: LabTest, context: Context, limits: Limits) -> Verdict:
    """A result against a limit, the laboratory's own first where the rule says so."""
    found = usable(test.lab, context, limits[test.within])
    if isinstance(found, Reason):
        return FALSE if test.where_measured and found.code in NOT_MEASURED else unknown(found)
    if found.value is None:
        return unknown(Reason("unusable_result", test.lab))
    verdicts = [_judged(test, word, limits[name], found, context, limits) for word, name in limits_of(test).items()]
    verdict = context.doubted(next((v for v in verdicts if v.truth is not True), verdicts[0]), test.lab)
    if verdict.truth and test.up_to:
        if isinstance(usable(test.lab, context, limits[test.up_to]), Reason):
            return FALSE
        verdict = replace(verdict, limits=(*verdict.limits, limits[test.up_to]))
    if verdict.truth and test.where_measured:
        matched = (Match(found, frozenset({test.lab})),)
        verdict = replace(verdict, bindings={**verdict.bindings, "matched": matched})
    if verdict.truth and test.persists:
        return _persisting(test, test.persists, verdict, context, limits)
    return verdict


def _judged(
    test: LabTest, comparison: Comparison, own_limit: Limit, found: Lab, context: Context, limits: Limits
) -> Verdict:
    """One result against one limit of the test; unknown where a bound or the specimen leaves it open."""
    entry = context.rulebook.library.terminology[test.lab]
    limit, origin, used = _limit_for(test, comparison, found, own_limit)
    not_made_for: Reason | None = None
    if found.interpretation == CRITICAL_FLAG.get(comparison) and (test.laboratory_first or test.critical_flag):
        truth: bool | None = True
        origin = "flag"
    elif origin == "flag":
        truth = found.interpretation in FLAGS[comparison]
    else:
        if used is not None:
            used, not_made_for = _made_for(own_limit, test.lab, context, limits)
            if used is None:
                return unknown(*((not_made_for,) if not_made_for else ()))
            limit, own_limit = used.value, used
        truth = compare(found, comparison, limit, entry.decimals)
    effects = {entry.trouble_effect.get(trouble) for trouble in found.trouble}
    misleads = "falsely_low" if comparison in ("below", "at_most") else "falsely_high"
    hides = "falsely_high" if comparison in ("below", "at_most") else "falsely_low"
    if truth is not None and ("either" in effects or (misleads if truth else hides) in effects):
        return unknown(Reason("specimen_trouble", test.lab))
    if not_made_for and not truth and not _far_from(test, comparison, found, context, limits):
        return unknown(not_made_for)
    if truth is None:
        return unknown(Reason("comparator", test.lab))
    rule_says = compare(found, comparison, own_limit.value, entry.decimals)
    if origin == "flag" and _contradicted(truth, test, comparison, own_limit, found, context, limits):
        return unknown(Reason("flag_contradicts", test.lab))
    if origin == "laboratory" and truth is not rule_says and not _for_somebody(limit, own_limit, test, context, limits):
        return unknown(Reason("own_limit_doubtful", test.lab))
    shown_limit = limit if origin != "flag" else None
    hit = LabHit(found, shown_limit, origin, comparison, own_limit, rule_says is not truth)
    notes: tuple[str, ...] = ("preliminary",) if found.status == "preliminary" else ()
    notes += ("date_only",) if found.time_is_date_only else ()
    doubtful, value = entry.unit_doubtful_from, found.value
    notes += ("unit_doubtful",) if doubtful is not None and value is not None and value >= doubtful else ()
    every = (*((used,) if used else ()), limits[test.within])
    return Verdict(truth, (), {test.lab: hit}, (found.source,), notes, every)


def _contradicted(
    flagged: bool, test: LabTest, comparison: Comparison, limit: Limit, found: Lab, context: Context, limits: Limits
) -> bool:
    """Whether a flag cannot be of this value: not beyond any limit that a site may set is not low or high, beyond all
    of them is not normal. A critical flag is beyond the usual limit too, and beyond the laboratory's own."""
    if found.interpretation in CRITICAL_FLAG.values():
        milder = (each for each in limits.values() if each.holds_for and each.holds_for.otherwise == limit.name)
        limit = next(milder, limit)
        own = found.low if comparison in ("below", "at_most") else found.high
        if own is not None and compare(found, comparison, own, _decimals(test, context)) is not flagged:
            return True
    _, reason = _made_for(limit, test.lab, context, limits)
    usual = limit.span if limit.holds_for and limit.holds_for.never_past and reason is None else None
    span = usual or _anybodys(limit, test, context, limits)
    if span is None:
        return False
    low, high = span
    nearest, farthest = (high, low) if comparison in ("below", "at_most") else (low, high)
    return compare(found, comparison, nearest if flagged else farthest, _decimals(test, context)) is not flagged


def _for_somebody(own: Decimal, limit: Limit, test: LabTest, context: Context, limits: Limits) -> bool:
    """Whether a laboratory's own limit may be one of this test, in the unit in which it seems to be."""
    span = _anybodys(limit, test, context, limits)
    return span is None or span[0] <= own <= span[1]


def _anybodys(limit: Limit, test: LabTest, context: Context, limits: Limits) -> tuple[Decimal, Decimal] | None:
    """Between what values a limit is, whoever the patient: what is severe for everybody, and the limit of the other
    side; else all that a result may be, None where that is not said."""
    if (holds := limit.holds_for) and holds.otherwise and holds.never_past:
        least, most = sorted((limits[holds.otherwise].value, limits[holds.never_past].value))
        return least, most
    return context.rulebook.library.terminology[test.lab].plausible


def _decimals(test: LabTest, context: Context) -> int:
    return context.rulebook.library.terminology[test.lab].decimals


def _limit_for(test: LabTest, comparison: str, found: Lab, limit: Limit) -> tuple[Decimal, str, Limit | None]:
    if test.laboratory_first:
        own = found.low if comparison == "below" else found.high
        if own is not None:
            return own, "laboratory", None
        if found.interpretation is not None:
            return limit.value, "flag", None
    return limit.value, "site" if limit.site else "rule", limit


def _made_for(limit: Limit, lab: str, context: Context, limits: Limits) -> tuple[Limit | None, Reason | None]:
    """The limit for this patient, None where there is none. With a Reason it counts only where the result is beyond
    it: what lies within it may still be abnormal at this age or in pregnancy."""
    person, reason = context.facts.person, None
    chosen: Limit | None = limit
    while chosen and (holds := chosen.holds_for):
        if holds.sex:
            if person.sex == holds.sex:
                break
            reason = reason if person.sex else context.person_gap("sex_unknown")
        elif person.age_years is None:
            reason = context.person_gap("age_unknown")
        elif _too_young(holds, context, limits) or (holds.not_pregnant and person.pregnant):
            reason = Reason("adult_limit_only", lab)
        else:
            break
        chosen = limits[holds.otherwise] if holds.otherwise else None
    return chosen, reason


def _too_young(holds: HoldsFor, context: Context, limits: Limits) -> bool:
    return holds.age_at_least is not None and context.age < limits[holds.age_at_least].value


def _far_from(test: LabTest, comparison: Comparison, found: Lab, context: Context, limits: Limits) -> bool:
    """Whether a result is past the limit of the other side: what is high is low for nobody."""
    holds = limits[limits_of(test)[comparison]].holds_for
    if holds is None or holds.never_past is None:
        return False
    other: Comparison = "at_least" if comparison in ("below", "at_most") else "at_most"
    decimals = context.rulebook.library.terminology[test.lab].decimals
    return compare(found, other, limits[holds.never_past].value, decimals) is True


def _persisting(test: LabTest, persists: Persists, newest: Verdict, context: Context, limits: Limits) -> Verdict:
    """The newest result is beyond the limit. Was it long enough before, or has it been treated that long?"""
    hit = newest.bindings[test.lab]
    apart = limits[persists.apart]
    earlier, gap = _earlier(test, hit.lab, apart, context, limits)
    taken, start_unknown = _taken_before(persists.despite, hit.lab, apart, context)
    if earlier is None and not taken:
        gaps = (*((gap,) if gap else ()), *context.medication_gaps("active"))
        return unknown(*gaps) if gaps else FALSE
    still = replace(hit, earlier=earlier, despite=taken)
    sources = (*newest.sources, *((earlier.source,) if earlier else ()), *(item.source for item in taken))
    notes = (*newest.notes, *(("start_unknown",) if start_unknown else ()))
    notes += ("identified_by_name",) if any(item.identified_by == "name" for item in taken) else ()
    return Verdict(True, newest.reasons, {test.lab: still}, sources, notes, (*newest.limits, apart))


def _earlier(
    test: LabTest, newest: Lab, apart: Limit, context: Context, limits: Limits
) -> tuple[Lab | None, Reason | None]:
    """A result beyond the limit at least `apart` before the newest, with none within the limit in between; else
    whether one may be missing. None of them is older than the test's `within`."""
    assert newest.time is not None
    oldest = context.facts.now - timedelta(days=float(limits[test.within].value))
    latest = newest.time - timedelta(days=float(apart.value))
    found = context.labs_of(test.lab)
    doubt = context.input_gap(_key(test.lab, context))
    for item in found[1:]:
        if item.time is None or item.time < oldest:
            continue
        words = limits_of(test) if item.value is not None else {}
        truths = [_judged(test, word, limits[name], item, context, limits).truth for word, name in words.items()]
        if False in truths:
            return None, None
        if None in truths or not truths:
            doubt = doubt or Reason("earlier_result_unusable", test.lab)
        elif item.time <= latest:
            return item, None
    return None, doubt


def _taken_before(drugs: list[str], newest: Lab, apart: Limit, context: Context) -> tuple[tuple[Medication, ...], bool]:
    """Active medicines of `drugs`, and of nothing else, begun at least `apart` before the result or at a time that is
    not known; and whether that is so of all of them."""
    assert newest.time is not None
    entries = context.rulebook.library.terminology
    fitting = frozenset(drugs).union(*(entries[name].members for name in drugs))
    latest = (newest.time - timedelta(days=float(apart.value))).date()
    found = tuple(
        item
        for item in context.medications(fitting, "active", "systemic")
        if not item.others
        and fitting.issuperset(drug for drug in item.drugs if entries[drug].kind == "drug")
        and (item.since is None or item.since <= latest)
    )
    return found, bool(found) and all(item.since is None for item in found)


def compare(found: Lab, comparison: str, limit: Decimal, decimals: int) -> bool | None:
    """Compared at the precision that is shown, so that what reads as 0.70 is not below 0.70.

    A comparator makes the value one end of an interval: "<0.5" is below 0.7 for certain, and above nothing. Whether
    "<=0.7" is below 0.7 is not known.
    """
    assert found.value is not None
    value, limit = round(found.value, decimals), round(limit, decimals)
    if not found.comparator:
        return _HOLDS[comparison](value, limit)
    upper = found.comparator in ("<", "<=")
    beyond = value < limit if upper else value > limit
    # The end itself may be the value, and then it is on the other side of a limit that only just does not hold it.
    open_end = len(found.comparator) == 1 or comparison in (("at_most", "above") if upper else ("at_least", "below"))
    if beyond or (value == limit and open_end):
        return upper == (comparison in ("below", "at_most"))
    return None


def on_file(test: OnFileTest, context: Context, limits: Limits) -> Verdict:
    """Always true: what is on file of these labs."""
    found = tuple(usable(name, context, limits[test.within]) for name in test.on_file)
    sources = tuple(item.source for item in found if isinstance(item, Lab))
    return Verdict(True, (), {"on_file": OnFile(found)}, sources)


def no_recent_lab(test: NoRecentLabTest, context: Context, limits: Limits) -> Verdict:
    """True only where the search was complete and shows nothing recent."""
    found = usable(test.no_recent_lab, context, limits[test.within])
    if isinstance(found, Lab):
        return Verdict(False, bindings={test.no_recent_lab: found}, sources=(found.source,))
    if found.code == "no_result":
        return Verdict(True, bindings={f"missing.{test.no_recent_lab}": found}, limits=(limits[test.within],))
    if found.code == "result_too_old":
        labs = context.labs_of(test.no_recent_lab)
        return Verdict(True, (), {}, (labs[0].source,), limits=(limits[test.within],))
    return unknown(found)


def implausible(test: ImplausibleTest, context: Context, limits: Limits) -> Verdict:
    """Whether what is written of the newest result is no value that a patient has."""
    labs, within = context.labs_of(test.implausible), limits[test.within]
    gap = context.newest_gap(test.implausible, labs)
    if gap:
        return unknown(gap)
    newest = labs[0] if labs else None
    if newest is None or newest.problem != IMPLAUSIBLE or newest.time is None:
        return FALSE
    too_old = context.facts.now - newest.time > timedelta(days=float(within.value))
    if too_old or (test.critical_flag and newest.interpretation not in CRITICAL_FLAG.values()):
        return FALSE
    return Verdict(True, (), {test.implausible: newest}, (newest.source,), limits=(within,))


def risen(test: RisenTest, context: Context, limits: Limits) -> Verdict:
    """A rise to the newest result. That none is recent, or only one, is no rise: other rules say what is not known."""
    longest = limits[test.times_within]
    newest = usable(test.risen, context, longest)
    if isinstance(newest, Reason):
        return FALSE if newest.code in NOT_MEASURED else unknown(newest)
    doubt, decimals = context.withheld(test.risen), context.rulebook.library.terminology[test.risen].decimals
    for item in context.labs_of(test.risen)[1:]:
        # Of two results of one moment, or of one day without hours, nobody knows which came first.
        if item.time is None or not 0 < _days_between(item, newest) <= longest.value:
            continue
        rose = _rose(item, newest, test, limits, decimals) if item.value is not None else None
        if rose:
            used = tuple(limits[name] for name in (test.by, test.by_within, test.times, test.times_within))
            matched = (Match(Rise(item, newest), frozenset({test.risen})),)
            preliminary = "preliminary" in (item.status, newest.status)
            notes: tuple[str, ...] = ("preliminary",) if preliminary else ()
            return Verdict(True, (), {"matched": matched}, (newest.source, item.source), notes, used)
        if rose is None:
            doubt = doubt or Reason("earlier_result_unusable", test.risen)
    return unknown(doubt) if doubt else FALSE


def _days_between(earlier: Lab, newest: Lab) -> Decimal:
    """A date alone leaves its day open: counted from day to day."""
    assert earlier.time and newest.time
    if earlier.time_is_date_only or newest.time_is_date_only:
        return Decimal((newest.time.date() - earlier.time.date()).days)
    return Decimal((newest.time - earlier.time) / timedelta(hours=1)) / 24


def _rose(earlier: Lab, newest: Lab, test: RisenTest, limits: Limits, decimals: int) -> bool | None:
    """Whether it rose by so much, or to so many times, at the precision that is shown; None where a bound leaves it
    open."""
    assert earlier.value is not None and newest.value is not None
    low, high = round(earlier.value, decimals), round(newest.value, decimals)
    soon = _days_between(earlier, newest) <= limits[test.by_within].value
    by_so_much = soon and high - low >= limits[test.by].value
    rose = by_so_much or high >= low * limits[test.times].value
    may_be_lower = newest.comparator in ("<", "<=") or earlier.comparator in (">", ">=")
    may_be_higher = newest.comparator in (">", ">=") or earlier.comparator in ("<", "<=")
    return None if (may_be_lower if rose else may_be_higher) else rose
