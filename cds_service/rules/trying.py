"""The test words: each a function from its model and the context to a Verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from cds_service.content import lab_words
from cds_service.content import test_words as words
from cds_service.content.concept import MAGNESIUM
from cds_service.content.rulebook import Limit
from cds_service.content.word_fields import OTHER, limits_of
from cds_service.patient import ENCOUNTER, Medication, Source
from cds_service.rules.amount_tests import daily_magnesium, magnesium_products
from cds_service.rules.context import INTAKE_KEYS, Context, medication_notes
from cds_service.rules.infusions import infusion
from cds_service.rules.injected import injected_magnesium
from cds_service.rules.lab_tests import Limits, compare, implausible, lab, no_recent_lab, on_file, risen
from cds_service.rules.verdict import FALSE, Kidney, Match, Reason, Verdict, unknown


def try_test(test: words.Test, context: Context, limits: Limits) -> Verdict:
    """One test of one rule for one patient."""
    return _TRIED[type(test)](test, context, limits)


def _recorded_pregnant(test: words.PregnancyTest, context: Context) -> Verdict:
    person = context.facts.person
    return recorded(person.pregnant, person.pregnant_source, test.pregnant, context)


def _recorded_lactating(test: words.LactationTest, context: Context) -> Verdict:
    person = context.facts.person
    return recorded(person.lactating, person.lactating_source, test.lactating, context)


# By the type itself: to ask a pydantic model whether it is one of a class, for seventeen classes, costs more than most
# tests do.
_TRIED: dict[type[Any], Callable[[Any, Context, Limits], Verdict]] = {
    lab_words.LabTest: lambda test, context, limits: lab(test, context, limits),
    lab_words.NoRecentLabTest: no_recent_lab,
    lab_words.ImplausibleTest: implausible,
    lab_words.RisenTest: risen,
    lab_words.OnFileTest: on_file,
    words.InHospitalTest: lambda _, context, __: in_hospital(context),
    words.ConditionTest: lambda test, context, _: condition(test, context),
    words.MedicationTest: lambda test, context, limits: medication(test, context, limits),
    words.InfusionTest: infusion,
    words.AgeTest: lambda test, context, limits: age(test, context, limits),
    words.PregnancyTest: lambda test, context, _: _recorded_pregnant(test, context),
    words.LactationTest: lambda test, context, _: _recorded_lactating(test, context),
    words.KidneyTest: lambda test, context, limits: kidney(test, context, limits),
    words.DailyMagnesiumTest: daily_magnesium,
    words.MagnesiumProductsTest: magnesium_products,
    words.InjectedMagnesiumTest: injected_magnesium,
    words.IntakeTest: lambda test, context, limits: intake(test, context, limits),
    words.ReasonTest: lambda test, context, _: reason(test, context),
}


def in_hospital(context: Context) -> Verdict:
    """Whether the encounter is a stay in hospital; unknown where one was named and could not be read."""
    if context.inpatient:
        return Verdict(True, bindings={"matched": (Match("in_hospital", frozenset()),)})
    gap = context.input_gap(ENCOUNTER) if context.encounter_named else None
    return unknown(gap) if gap else FALSE


def condition(test: words.ConditionTest, context: Context) -> Verdict:
    """Any of the concepts among the active conditions."""
    if not context.concepts.isdisjoint(test.condition):
        wanted = frozenset(test.condition)
        found = [item for item in context.facts.conditions if item.concepts & wanted]
        matched = tuple(Match(item, item.concepts & wanted) for item in found)
        notes = ("provisional_condition",) if all(item.provisional for item in found) else ()
        return Verdict(True, (), {"matched": matched}, tuple(item.source for item in found), notes)
    gap = context.condition_gap
    return unknown(gap) if gap else FALSE


def medication(test: words.MedicationTest, context: Context, limits: Limits) -> Verdict:
    """Any of the drugs, by status and route."""
    if test.ended_within:
        return ended_medication(test, context, limits[test.ended_within])
    if context.drugs.isdisjoint(test.medication):
        return context.unless_hidden(test.status)
    wanted = frozenset(test.medication)
    found = context.medications(wanted, test.status, test.route)
    found = [item for item in found if _is_meant(test, item)]
    if test.ordered_for:
        found = [item for item in found if context.purpose(item) in test.ordered_for]
    if test.taken_for and found:
        return taken_for(test, found, context, limits[test.taken_for])
    least = int(limits[test.at_least].value) if test.at_least else 1
    different = {item.drugs for item in found} if test.at_least else found
    if found and len(different) >= least:
        bindings: dict[str, Any] = {}
        if products := [item for item in found if MAGNESIUM in item.drugs]:
            # What is being ordered is named before what is taken already.
            bindings["magnesium"] = min(products, key=lambda item: item.status != "draft")
            bindings |= {"products": tuple(products)} if test.status == "active" else {}
        if others := [item for item in found if MAGNESIUM not in item.drugs]:
            bindings["matched"] = tuple(Match(item, item.drugs & wanted) for item in others)
        sources = tuple(item.source for item in found)
        used = (limits[test.at_least],) if test.at_least else ()
        return Verdict(True, (), bindings, sources, medication_notes(found), used)
    return context.unless_hidden(test.status)


def _is_meant(test: words.MedicationTest, item: Medication) -> bool:
    """Whether a product that holds the drug is of the kind that a test means."""
    fits = not test.beside or not item.drugs.isdisjoint(test.beside)
    return fits and (not test.form or item.form in test.form) and item.drugs.isdisjoint(test.but)


def ended_medication(test: words.MedicationTest, context: Context, within: Limit) -> Verdict:
    """A drug that is over, by the last day on which it is known to have been in force; no day is unknown."""
    wanted = frozenset(test.medication)
    first = context.facts.now.date() - timedelta(days=float(within.value))
    result = next(iter(context.labs_of(test.after_result)), None) if test.after_result else None
    # One that cannot be used tells of nothing before or after it.
    first = max(first, result.time.date()) if result and result.time and not result.problem else first
    found = context.ended_medications(wanted, test.route)
    recent = [item for item in found if item.until is not None and item.until >= first]
    if recent:
        matched = tuple(Match(item, item.drugs & wanted) for item in recent)
        bindings = {"matched": matched, "ended": max(item.until for item in recent if item.until)}
        return Verdict(True, (), bindings, tuple(i.source for i in recent), medication_notes(recent), (within,))
    gaps = [Reason("end_unknown", min(item.drugs & wanted)) for item in found if item.until is None]
    gaps += context.ended_gaps
    return unknown(*gaps) if gaps else FALSE


def taken_for(test: words.MedicationTest, found: list[Medication], context: Context, least: Limit) -> Verdict:
    """Those of the drugs that are not known to have been taken for less than `least`.

    An order may renew an earlier one: ended orders no further apart than `least` count as one course with it, and where
    they were not read nothing is known.
    """
    wanted = frozenset(test.medication)
    today, span = context.facts.now.date(), timedelta(days=float(least.value))
    kept: list[Match] = []
    for item in found:
        group = item.drugs & wanted
        first, complete = _course(group, found, context, span)
        long = first is not None and today - first >= span
        if long or not complete:
            kept.append(Match(item, group, first if long else None))
    if kept:
        drugs = [match.fact for match in kept if isinstance(match.fact, Medication)]
        notes = medication_notes(drugs)
        notes += ("duration_unknown",) if any(match.since is None for match in kept) else ()
        return Verdict(True, (), {"matched": tuple(kept)}, tuple(item.source for item in drugs), notes, (least,))
    gaps = context.medication_gaps("active")
    return unknown(*gaps) if gaps else FALSE


def _course(
    group: frozenset[str], found: list[Medication], context: Context, span: timedelta
) -> tuple[date | None, bool]:
    """The first day that is known of the course which goes on, and whether it cannot have begun earlier."""
    same = [item for item in found if item.drugs & group]
    starts = [item.since for item in same if item.since]
    complete = len(starts) == len(same) and not context.ended_gaps
    first = min(starts, default=None)
    ended = context.ended_medications(group, "any")
    for item in sorted(ended, key=lambda one: one.until or date.min, reverse=True):
        complete = complete and item.since is not None
        if first and item.since and item.until and first - item.until <= span:
            first = min(first, item.since)
    return first, complete


def age(test: words.AgeTest, context: Context, limits: Limits) -> Verdict:
    """Completed years against thresholds; unknown where the ages that are possible do not agree."""
    ages = context.facts.person.ages
    truths = {
        all(
            years >= limits[name].value if word == "at_least" else years < limits[name].value
            for word, name in test.age.items()
        )
        for years in ages
    }
    if len(truths) != 1:
        return unknown(context.person_gap("age_unknown"))
    return Verdict(truths.pop(), bindings={"age": ages[0]}, limits=tuple(limits[name] for name in test.age.values()))


def recorded(found: bool | None, source: Source | None, wanted: bool, context: Context) -> Verdict:
    """Recorded pregnancy or lactation. Not recorded is unknown only where it could be."""
    if found is None:
        return Verdict(not wanted) if context.facts.person.sex == "male" else unknown(Reason("pregnancy_unknown"))
    return Verdict(found == wanted, sources=(source,) if source else ())


def kidney(test: words.KidneyTest, context: Context, limits: Limits) -> Verdict:
    """eGFR against thresholds, or whether there is none recent enough.

    A good result holds as long as it does for this patient. A poor one holds as long as it does for anybody: kidneys
    are not known to be better because nobody looked again. Where the problem list was not read, a good result that an
    acute injury would make worthless is not known to hold.
    """
    found, within = context.kidney, limits[test.within]
    if isinstance(found, Reason):
        missing = Verdict(True, bindings={"missing.egfr": found}, limits=(within,))
        return missing if test.kidney.unknown else unknown(found)
    days = (context.facts.now - found.lab.time) / timedelta(days=1) if found.lab.time else 0
    too_old = days > within.value
    stricter = context.stricter(test.within)
    doubt = (stricter[1],) if stricter and not too_old and days > stricter[0].value else ()
    if test.kidney.unknown:
        missing = Verdict(True, (), {"kidney": found}, (found.lab.source,), limits=(within,))
        return missing if too_old else unknown(*doubt) if doubt else FALSE
    old = unknown(context.withheld("egfr") or Reason("result_too_old", "egfr", days=int(days), time=found.lab.time))
    if days > max(within.value, within.usual or 0):
        return old
    used = {word: limits[name] for word, name in limits_of(test.kidney).items()}
    outcomes = {word: _compared(found, word, limit.value) for word, limit in used.items()}
    if outcomes.get("below") and outcomes.get("at_least", True) is None:
        # "<20" is below 30 for certain: the milder rule speaks, and the graver one says that the bound does not decide.
        outcomes["at_least"] = True
    torn = (Reason("kidney_contradiction", "egfr", labs=found.labs),) if found.against else ()
    if None in outcomes.values() and False not in outcomes.values():
        return unknown(*(torn or (Reason("comparator" if found.highest is None else "egfr_open", "egfr"),)))
    notes: tuple[str, ...] = ("egfr_computed",) if found.computed else ()
    notes += ("egfr_open",) if found.highest is not None else ()
    truth = all(outcomes.values())
    if too_old and not truth:
        return old
    notes += ("kidney_not_repeated",) if too_old else ()
    if doubt and not truth:
        return unknown(*doubt)
    sources = tuple(lab.source for lab in found.labs)
    verdict = Verdict(truth, doubt + torn, {"kidney": found}, sources, notes, (within, *used.values()))
    return context.doubted(verdict, "egfr")


def _compared(found: Kidney, word: str, limit: Decimal) -> bool | None:
    """eGFR against a limit; comparators (">90") are honoured, and a range must lie on one side."""
    ends = (replace(found.lab, value=value, comparator=sign or None) for value, sign in found.ends)
    truths = {compare(end, word, limit, 0) for end in ends}
    return truths.pop() if len(truths) == 1 else None


def intake(test: words.IntakeTest, context: Context, limits: Limits) -> Verdict:
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
    notes += ("allowance_eu",) if context.rulebook.site.dietary_region == "eu" else ()
    return Verdict(high < allowance, (), bindings, (newest.source,), notes, (limits[test.within],))


def reason(test: words.ReasonTest, context: Context) -> Verdict:
    """Magnesium is drafted for one of the conditions, as the order says itself. A reason is never guessed."""
    drafts = context.medications(frozenset({MAGNESIUM}), "draft", "oral")
    wanted = frozenset(test.reason)
    for draft in drafts:
        if draft.reasons & wanted and context.purpose(draft) == OTHER:
            bindings = {"reason": tuple(sorted(draft.reasons & wanted)), "magnesium": draft}
            return Verdict(True, (), bindings, (draft.source,), medication_notes(drafts))
    gaps = () if drafts else context.medication_gaps("draft")
    return unknown(*gaps) if gaps else FALSE
