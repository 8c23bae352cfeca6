"""Every rule of a service tried for one patient: PatientFacts + Rulebook -> outcomes, three-valued and disjoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

from cds_service.content.rule import Rule
from cds_service.content.rulebook import ActiveRule, Limit, Rulebook
from cds_service.patient import ENCOUNTER, PREGNANCY, Medication, PatientFacts
from cds_service.rules.context import Context
from cds_service.rules.faults import Fault, attempt
from cds_service.rules.index import RuleIndex, index_of
from cds_service.rules.infusions import infusion
from cds_service.rules.lab_tests import usable
from cds_service.rules.prepared import Prepared, tells_that_none_is_there
from cds_service.rules.purposes import with_purposes
from cds_service.rules.timing import try_timing
from cds_service.rules.trying import try_test
from cds_service.rules.verdict import FALSE, IN_CHART, UNIDENTIFIED, Reason, Verdict, all_of, any_of, none_of

Kind = Literal["fired", "quiet", "not_evaluated", "not_applicable"]
Guard = tuple[Kind, Reason]

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


@dataclass(frozen=True)
class Evaluation:
    """All outcomes of a call, in the order of the rulebook, with the context that they were made in."""

    outcomes: tuple[Outcome, ...]
    context: Context

    @cached_property
    def notable(self) -> tuple[Outcome, ...]:
        """The outcomes of all rules that were not quiet: most are, and nothing is said of them."""
        return tuple(outcome for outcome in self.outcomes if outcome.kind != "quiet")

    def of(self, kind: Kind) -> list[Outcome]:
        return [outcome for outcome in (self.outcomes if kind == "quiet" else self.notable) if outcome.kind == kind]

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
    every: bool = False,
) -> Evaluation:
    """Try every rule of `service`, or `only` these of them. Pure: same facts and rulebook, same outcomes. A rule that
    meets a fault of ours is not evaluated. With `every` each rule is tried one by one, to prove the index."""
    hook = rulebook.library.services[service].hook
    context = with_purposes(
        Context(
            facts, rulebook, drafts_expected=hook in ("order-select", "order-sign"), encounter_named=encounter_named
        )
    )
    told, index = tells_that_none_is_there(rulebook, service), index_of(rulebook, service)
    wanted = None if only is None else index.among(only)
    found = None if every else attempt(_by_index, index, _Call(context, told), wanted)
    if found is None or isinstance(found, Fault):
        among = range(len(index.every)) if wanted is None else sorted(wanted)
        found = [_outcome(index.every[place], _Call(context, told)) for place in among]
    return Evaluation(tuple(found), context)


def _by_index(index: RuleIndex, call: _Call, wanted: frozenset[int] | None) -> list[Outcome]:
    """Only rules whose drug and problem may be there are tried. All others are quiet, but for those that are not for
    this patient: of these each scope is asked once."""
    context = call.context
    if context.facts.person.deceased and not context.drafts_expected:
        outcomes = list(_all_deceased(index))
        return outcomes if wanted is None else [outcomes[place] for place in sorted(wanted)]
    outcomes = list(_all_quiet(index))
    tried = index.may_fire(context)
    if wanted is not None:
        tried = [place for place in tried if place in wanted]
    for place in tried:
        outcomes[place] = _outcome(index.every[place], call)
    done = frozenset(tried)
    for places in index.scopes.values():
        absent = [place for place in places if place not in done and (wanted is None or place in wanted)]
        if not absent:
            continue
        guard = call.guard(index.every[absent[0]])
        if guard is not None:
            kind, reason = guard
            for place in absent:
                outcomes[place] = Outcome(index.every[place].rule, kind, (reason,))
    return outcomes if wanted is None else [outcomes[place] for place in sorted(wanted)]


@lru_cache(maxsize=64)
def _all_quiet(index: RuleIndex) -> tuple[Outcome, ...]:
    """What is said of each rule that a service tries, where it is quiet."""
    return tuple(Outcome(ready.rule, "quiet") for ready in index.every)


@lru_cache(maxsize=64)
def _all_deceased(index: RuleIndex) -> tuple[Outcome, ...]:
    """The same of a patient who is recorded as dead, where nothing is being ordered."""
    return tuple(Outcome(ready.rule, "not_applicable", (Reason("deceased"),)) for ready in index.every)


@dataclass(frozen=True)
class _Call:
    """One patient, the labs of which other rules tell that there is no result, and which scopes hold the patient."""

    context: Context
    told: frozenset[str]
    _guards: dict[str, Guard | None] = field(default_factory=dict)

    def guard(self, ready: Prepared) -> Guard | None:
        """Why a rule is not for this patient, or None; found once for all rules of one scope."""
        if ready.scope not in self._guards:
            self._guards[ready.scope] = _guard(ready, self.context, self.context.limits(ready.rule.limits))
        return self._guards[ready.scope]


def _outcome(ready: Prepared, call: _Call) -> Outcome:
    found = attempt(_try, ready, call)
    if isinstance(found, Fault):
        return Outcome(ready.rule, "not_evaluated", (found.reason,), fault=found)
    return found


def _try(ready: Prepared, call: _Call) -> Outcome:
    rule, context, told = ready.rule, call.context, call.told
    limits = context.limits(rule.limits)
    guard = call.guard(ready)
    if guard is not None:
        kind, reason = guard
        return Outcome(rule, kind, (reason,))
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


def _guard(ready: Prepared, context: Context, limits: Mapping[str, Limit]) -> Guard | None:
    """`applies_to`: outside it the rule is not applicable; where age is unknown it is not evaluated."""
    person, scope = context.facts.person, ready.rule.loaded.rule.applies_to
    # Whoever orders for a patient who is recorded as dead doubts the record: orders are checked as ever.
    if person.deceased and not context.drafts_expected:
        return "not_applicable", Reason("deceased")
    at_least, below = ready.age_at_least, ready.age_below
    if at_least is not None or below is not None:
        inside = {(at_least is None or years >= at_least) and (below is None or years < below) for years in person.ages}
        if len(inside) != 1:
            return "not_evaluated", context.person_gap("age_unknown")
        if False in inside:
            return "not_applicable", Reason("outside_age")
    if scope.recent_result:
        found = usable(scope.recent_result.lab, context, limits[scope.recent_result.within])
        if isinstance(found, Reason) and found.code in ("no_result", "result_too_old"):
            return "not_applicable", found
    if scope.not_pregnant and person.pregnant:
        return "not_applicable", Reason("pregnant")
    if not ready.unless_medication.isdisjoint(context.drugs):
        for item in context.medications(ready.unless_medication, "any", "any"):
            return "not_applicable", Reason("other_drug", min(item.drugs & ready.unless_medication))
    if found_too := context.concepts.intersection(scope.unless_condition):
        return "not_applicable", Reason("other_condition", min(found_too))
    if _infusion(ready, context, limits).truth:
        return "not_applicable", Reason("infusion_runs")
    return None


def _infusion(ready: Prepared, context: Context, limits: Mapping[str, Limit]) -> Verdict:
    """Whether magnesium is being given in the way that the rule is not written for."""
    test = ready.rule.loaded.rule.applies_to.unless_infusion
    return infusion(test, context, limits) if test else FALSE
