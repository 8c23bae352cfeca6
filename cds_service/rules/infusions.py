"""Magnesium by injection or infusion: whether it runs, and whether it is given to a mother."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from cds_service.content.concept import MAGNESIUM, SERUM_MAGNESIUM
from cds_service.content.test_words import InfusionTest
from cds_service.patient import CONDITIONS, ENDED, GIVEN, MEDICATIONS, PREGNANCY, Medication
from cds_service.rules.context import Context, medication_notes, not_identified
from cds_service.rules.lab_tests import Limits
from cds_service.rules.verdict import FALSE, Reason, Verdict, unknown

INJECTED = frozenset({"intravenous", "injection"})
NOT_KEPT = frozenset({"input_absent", "input_not_available"})


def infusion(test: InfusionTest, context: Context, limits: Limits) -> Verdict:
    """What runs, or acts still. Where nothing of the kind is found, whether it may be missing."""
    acting = test.infusion != "running"
    if context.drafts_expected and not acting:
        found = _drafted(test, context)
        gaps = context.medication_gaps("draft")
    else:
        found = _acting(context, limits) if acting else _running(context, limits)
        gaps = _gaps(context, limits, acting)
    if test.infusion == "old_order":
        found = found if all(_is_old(item, context, limits) for item in found) else []
    if not found:
        return unknown(*gaps) if gaps else _not_sent(context, limits) if acting else FALSE
    sources = tuple(item.source for item in found)
    verdict = Verdict(True, (), {"infusion": found[0]}, sources, medication_notes(found))
    if not test.obstetric:
        return verdict
    use = _obstetric(found, context, limits)
    return verdict if use.truth else use


def _not_sent(context: Context, limits: Limits) -> Verdict:
    """Nothing is on order, and what was given was not sent. That is said of a mother, whose level it may explain."""
    gap = context.input_gap(GIVEN)
    return unknown(gap) if gap and _obstetric([], context, limits).truth else FALSE


def _injected(items: Iterable[Medication]) -> list[Medication]:
    """Magnesium by vein or into a muscle. What goes on at a rate is not swallowed, whether or not it says how."""
    return [
        item
        for item in items
        if MAGNESIUM in item.drugs
        and (item.route in INJECTED or (item.route == "unknown" and item.continuous))
        and not (item.dosages and all(dosage.as_needed for dosage in item.dosages))
    ]


def _drafted(test: InfusionTest, context: Context) -> list[Medication]:
    drafts = (item for item in context.facts.medications if item.status == "draft")
    return [item for item in _injected(drafts) if item.continuous or test.obstetric]


def _running(context: Context, limits: Limits) -> list[Medication]:
    """What is being given; where nothing of magnesium is known to be given, the continuous orders."""
    return _being_given(context, limits) or [item for item in _orders(context, limits) if item.continuous]


def _being_given(context: Context, limits: Limits) -> list[Medication]:
    first = context.facts.now.date() - timedelta(days=float(limits["infusion_order_holds"].value))
    return [item for item in _injected(context.facts.given) if item.runs and item.since and item.since >= first]


def _is_old(item: Medication, context: Context, limits: Limits) -> bool:
    """Whether it is an order that may have been left active after the infusion was over."""
    first = context.facts.now.date() - timedelta(days=float(limits["infusion_order_holds"].value))
    return item.status == "active" and item.since is not None and item.since < first


def _orders(context: Context, limits: Limits) -> list[Medication]:
    """Active orders. Where a chart tells what is given and no magnesium is among it, they do not run."""
    facts = context.facts
    told = facts.given and context.input_gap(GIVEN) is None and all(item.identified for item in facts.given)
    if told and not _being_given(context, limits) and not _recent(facts.given, context, limits):
        return []
    return _injected(item for item in facts.medications if item.status == "active")


def _recent(items: Iterable[Medication], context: Context, limits: Limits) -> list[Medication]:
    """Those that were given or ordered last within the time that a dose acts."""
    first = context.facts.now - timedelta(hours=float(limits["injected_dose_acts"].value))
    return [item for item in _injected(items) if item.at is not None and item.at >= first]


def _acting(context: Context, limits: Limits) -> list[Medication]:
    """What runs, then doses given not long ago; nothing that was begun after the newest level was taken."""
    facts = context.facts
    found = [*_running(context, limits), *_recent(facts.given, context, limits)]
    found += [*_recent(_orders(context, limits), context, limits), *_recent(facts.ended, context, limits)]
    newest = next(iter(context.labs_of(SERUM_MAGNESIUM)), None)
    taken = newest.time.date() if newest and newest.time else None
    if context.drafts_expected:  # before more is ordered, an order that may be over excuses nothing
        found = [item for item in found if not _is_old(item, context, limits)]
    return [item for item in dict.fromkeys(found) if taken is None or item.since is None or item.since <= taken]


def _gaps(context: Context, limits: Limits, acting: bool) -> tuple[Reason, ...]:
    """Why it cannot be said that nothing runs. What was given is not asked of everybody: the orders tell it too."""
    gaps = [context.input_gap(MEDICATIONS)]
    for key in (GIVEN, ENDED) if acting else (GIVEN,):
        gap = context.input_gap(key)
        gaps.append(gap if gap and gap.code not in NOT_KEPT and not _seen_enough(key, context, limits) else None)
    gaps += not_identified("active", [item.name for item in context.unidentified("active") if item.route in INJECTED])
    return tuple(dict.fromkeys(gap for gap in gaps if gap))


def _seen_enough(key: str, context: Context, limits: Limits) -> bool:
    """Whether the part that was sent, the newest first, goes back for as long as a dose acts."""
    availability = context.facts.inputs.get(key)
    began = [item.since for item in context.facts.given if item.since]
    days = timedelta(hours=float(limits["injected_dose_acts"].value)) + timedelta(days=1)
    in_order = key == GIVEN and availability is not None and availability.newest_first
    return in_order and bool(began) and min(began) <= context.facts.now.date() - days


def _obstetric(found: list[Medication], context: Context, limits: Limits) -> Verdict:
    """Whether it is given to a mother: by her pregnancy, a problem of pregnancy or birth that is not old, or the order.
    The age has to fit, and she is no man."""
    person, today = context.facts.person, context.facts.now.date()
    if person.sex == "male":
        return FALSE
    from_age, to_age = limits["obstetric_age_from"].value, limits["obstetric_age_to"].value
    fits = {from_age <= years <= to_age for years in person.ages}
    if len(fits) != 1:
        return unknown(context.person_gap("age_unknown"))
    if False in fits:
        return FALSE
    holds = {"pregnancy_problem": "pregnancy_problem_holds", "recent_birth": "birth_holds"}
    current = any(
        name in problem.concepts
        and (problem.recorded is None or today - problem.recorded <= timedelta(days=float(limits[limit].value)))
        for problem in context.facts.conditions
        for name, limit in holds.items()
    )
    if person.pregnant or current or any(item.obstetric or item.reasons & holds.keys() for item in found):
        return Verdict(True)
    gaps = [gap for key in (CONDITIONS, PREGNANCY) if (gap := context.input_gap(key))]
    return unknown(*gaps) if gaps else FALSE
