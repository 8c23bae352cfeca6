"""Every rule of a service tried for one patient: PatientFacts + Rulebook -> outcomes, three-valued and disjoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from cds_service.content.rule import Rule
from cds_service.content.rulebook import ActiveRule, Limit, Rulebook
from cds_service.patient import ENCOUNTER, PREGNANCY, Medication, PatientFacts
from cds_service.rules.context import Context
from cds_service.rules.faults import Fault, attempt
from cds_service.rules.infusions import infusion
from cds_service.rules.lab_tests import usable
from cds_service.rules.prepared import Prepared, prepared, tells_that_none_is_there
from cds_service.rules.purposes import with_purposes
from cds_service.rules.timing import try_timing
from cds_service.rules.trying import try_test
from cds_service.rules.verdict import FALSE, IN_CHART, UNIDENTIFIED, Reason, Verdict, all_of, any_of, none_of

Kind = Literal["fired", "quiet", "not_evaluated", "not_applicable"]

NO_SUBJECT = frozenset({"no_intake", "no_upper_level", "no_allowance", "input_not_available"})
# What is not known blocks a rule only where its worst reading could make a card now: not where the result that the rule
# is about is not there, nor where it would take more unknowns than there are. What is in the chart blocks no
# information. (That an order is not known is always said.)
NOTHING_RECENT = frozenset({"no_result", "result_too_old", "no_kidney_result"})

__all__ = ["Evaluation", "Outcome", "evaluate"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one rule for one call. `verdict` holds the facts and limits of a finding where `kind` is fired; its `reasons`
    then say what the finding could not know.

    `fault` is ours: the rule is then not evaluated. It keeps its verdict where it had fired and could not be told.
    """

    rule: ActiveRule
    kind: Kind
    reasons: tuple[Reason, ...] = ()
    verdict: Verdict | None = None
    fault: Fault | None = None

    @property
    def rule_id(self) -> str:
        return self.rule.id

    @property
    def written(self) -> Rule:
        """The rule as its file says it."""
        return self.rule.loaded.rule

    @property
    def hidden(self) -> bool:
        """Whether it may be a finding for all that is known. That no result is there, or no recent one, hides none."""
        return self.kind == "not_evaluated" and not NOTHING_RECENT.issuperset(reason.code for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All outcomes of a call, in the order of the rulebook, with the context that they were made in."""

    outcomes: tuple[Outcome, ...]
    context: Context

    def of(self, kind: Kind) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.kind == kind]

    def withdrawn(self, rules: Collection[str], fault: Fault) -> Evaluation:
        """The same with these rules not evaluated: a fault keeps them from being told."""
        changed = (
            replace(outcome, kind="not_evaluated", reasons=(fault.reason,), fault=fault)
            if outcome.rule_id in rules
            else outcome
            for outcome in self.outcomes
        )
        return replace(self, outcomes=tuple(changed))


def evaluate(
    facts: PatientFacts,
    rulebook: Rulebook,
    service: str,
    encounter_named: bool = False,
    only: Collection[str] | None = None,
) -> Evaluation:
    """Try every rule of `service`, or `only` these of them. Pure: same facts and rulebook, same outcomes. A rule that
    meets a fault of ours is not evaluated."""
    hook = rulebook.library.services[service].hook
    context = with_purposes(
        Context(
            facts, rulebook, drafts_expected=hook in ("order-select", "order-sign"), encounter_named=encounter_named
        )
    )
    told = tells_that_none_is_there(rulebook, service)
    every, quiet = prepared(rulebook, service), _all_quiet(rulebook, service)
    if only is not None:
        chosen = [number for number, ready in enumerate(every) if ready.rule.id in only]
        every, quiet = tuple(every[number] for number in chosen), tuple(quiet[number] for number in chosen)
    found = attempt(_without_subject, every, context)
    absent = [False] * len(every) if isinstance(found, Fault) else found
    outcomes = tuple(
        at_once if is_absent else _outcome(ready, context, told)
        for ready, at_once, is_absent in zip(every, quiet, absent, strict=True)
    )
    return Evaluation(outcomes, context)


def _without_subject(rules: Sequence[Prepared], context: Context) -> list[bool]:
    """Of each rule, whether it is for everybody and its drug or problem is certainly not there: most are not."""
    if context.facts.person.deceased:
        return [False] * len(rules)
    return [ready.for_everybody and ready.cannot_fire(context) for ready in rules]


@lru_cache(maxsize=64)
def _all_quiet(rulebook: Rulebook, service: str) -> tuple[Outcome, ...]:
    """What is said of each rule that a service tries, where it is quiet."""
    return tuple(Outcome(ready.rule, "quiet") for ready in prepared(rulebook, service))


def _outcome(ready: Prepared, context: Context, told: frozenset[str]) -> Outcome:
    found = attempt(_try, ready, context, told)
    if isinstance(found, Fault):
        return Outcome(ready.rule, "not_evaluated", (found.reason,), fault=found)
    return found


def _try(ready: Prepared, context: Context, told: frozenset[str]) -> Outcome:
    rule = ready.rule
    limits = context.limits(rule.limits)
    guard = _guard(ready, context, limits)
    if guard is not None:
        return guard
    if ready.cannot_fire(context):
        return Outcome(rule, "quiet")
    written = rule.loaded.rule
    parts: list[Verdict] = []
    if written.when is None:
        verdict = try_timing(written, context, limits)
    else:
        parts = [all_of(try_test(test, context, limits) for test in written.when.all)]
        if parts[0].truth is not False:
            if written.when.any:
                count = limits[written.when.at_least] if written.when.at_least else None
                either = [try_test(test, context, limits) for test in written.when.any]
                # A result that is not there is no reason for a card.
                either = [one for one in either if not _told_elsewhere(one, told)]
                parts.append(any_of(either, int(count.value) if count else 1))
                parts.append(Verdict(True, limits=(count,) if count else ()))
            if written.when.none:
                parts.append(none_of(try_test(test, context, limits) for test in written.when.none))
        verdict = all_of(parts)
        if verdict.truth and context.drafts_expected and ready.about_the_order and not drafted(verdict):
            return Outcome(rule, "quiet")
    if verdict.truth is None:
        # The search was complete and nothing of the kind is documented, or the EHR has no such data: it has no subject.
        codes = {reason.code for reason in verdict.reasons}
        if codes and codes <= (NO_SUBJECT | NOTHING_RECENT if "input_not_available" in codes else NO_SUBJECT):
            return Outcome(rule, "not_applicable", verdict.reasons)
        if _told_elsewhere(verdict, told):
            return Outcome(rule, "not_applicable", verdict.reasons)
        if codes & UNIDENTIFIED and codes <= UNIDENTIFIED | NOTHING_RECENT:
            informs = written.card.indicator == "info" and codes <= IN_CHART | NOTHING_RECENT
            # Of alternatives, one may hold although another has no result to speak of.
            needed = {reason.code for part in parts[:1] for reason in part.reasons}
            nothing = (needed if written.when and written.when.any else codes) & NOTHING_RECENT
            if informs or nothing or ready.lacks_more(context):
                return Outcome(rule, "not_applicable", (Reason("cannot_change_advice"),))
        return Outcome(rule, "not_evaluated", verdict.reasons)
    if not verdict.truth:
        return Outcome(rule, "quiet")
    found = (*verdict.reasons, *_infusion(ready, context, limits).reasons)
    gaps = (*found, *_pregnancy_gap(ready, context), *_encounter_gap(ready, context))
    return Outcome(rule, "fired", gaps, verdict)


def _told_elsewhere(verdict: Verdict, told: frozenset[str]) -> bool:
    """Whether it was tried against a result that is not there, of a lab of which other rules tell just that."""
    return any(reason.what in told and reason.code in NOTHING_RECENT for reason in verdict.reasons)


def _pregnancy_gap(ready: Prepared, context: Context) -> tuple[Reason, ...]:
    """What a fired card says where pregnancy would have changed it, could be, and was not readable."""
    could_be = context.facts.person.pregnant is None and context.may_be_pregnant
    gap = context.input_gap(PREGNANCY) if could_be and ready.pregnancy_matters else None
    return (gap,) if gap else ()


def _encounter_gap(ready: Prepared, context: Context) -> tuple[Reason, ...]:
    """What a fired card says where results age faster in hospital and the encounter named was not readable."""
    gap = context.input_gap(ENCOUNTER) if ready.ages_in_hospital and context.encounter_named else None
    return (gap,) if gap else ()


def drafted(verdict: Verdict) -> bool:
    """Whether a drug that the tests found is being ordered."""
    found = [item.fact for item in verdict.bindings.get("matched", ())]
    found += [item for item in (verdict.bindings.get("magnesium"),) if item is not None]
    return any(isinstance(item, Medication) and item.status == "draft" for item in found)


def _guard(ready: Prepared, context: Context, limits: Mapping[str, Limit]) -> Outcome | None:
    """`applies_to`: outside it the rule is not applicable; where age is unknown it is not evaluated."""
    rule, person, scope = ready.rule, context.facts.person, ready.rule.loaded.rule.applies_to
    # Whoever orders for a patient who is recorded as dead doubts the record: orders are checked as ever.
    if person.deceased and not context.drafts_expected:
        return Outcome(rule, "not_applicable", (Reason("deceased"),))
    at_least, below = ready.age_at_least, ready.age_below
    if at_least is not None or below is not None:
        inside = {(at_least is None or years >= at_least) and (below is None or years < below) for years in person.ages}
        if len(inside) != 1:
            return Outcome(rule, "not_evaluated", (context.person_gap("age_unknown"),))
        if False in inside:
            return Outcome(rule, "not_applicable", (Reason("outside_age"),))
    if scope.recent_result:
        found = usable(scope.recent_result.lab, context, limits[scope.recent_result.within])
        if isinstance(found, Reason) and found.code in ("no_result", "result_too_old"):
            return Outcome(rule, "not_applicable", (found,))
    if scope.not_pregnant and person.pregnant:
        return Outcome(rule, "not_applicable", (Reason("pregnant"),))
    if not ready.unless_medication.isdisjoint(context.drugs):
        for item in context.medications(ready.unless_medication, "any", "any"):
            return Outcome(rule, "not_applicable", (Reason("other_drug", min(item.drugs & ready.unless_medication)),))
    if found_too := context.concepts.intersection(scope.unless_condition):
        return Outcome(rule, "not_applicable", (Reason("other_condition", min(found_too)),))
    if _infusion(ready, context, limits).truth:
        return Outcome(rule, "not_applicable", (Reason("infusion_runs"),))
    return None


def _infusion(ready: Prepared, context: Context, limits: Mapping[str, Limit]) -> Verdict:
    """Whether magnesium is being given in the way that the rule is not written for."""
    test = ready.rule.loaded.rule.applies_to.unless_infusion
    return infusion(test, context, limits) if test else FALSE
