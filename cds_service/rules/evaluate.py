"""Every rule of a service tried for one patient: PatientFacts + Rulebook -> outcomes, three-valued and disjoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

from cds_service.content.rule import Rule
from cds_service.content.rulebook import ActiveRule, Rulebook
from cds_service.patient import ENCOUNTER, PREGNANCY, Medication, PatientFacts
from cds_service.rules.context import Context
from cds_service.rules.faults import Fault, attempt
from cds_service.rules.index import RuleIndex, index_of
from cds_service.rules.lab_tests import usable
from cds_service.rules.prepared import Prepared, ReadyTest, tells_that_none_is_there
from cds_service.rules.purposes import with_purposes
from cds_service.rules.stays import in_hospital, stay_gap
from cds_service.rules.timing import drug_not_found, try_timing
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
    `fell`: the test that does not hold, where the rule was tried and is quiet, counted from 1 in the order of
    `when`: each of all, any as one, none as one; 1 where it is one about doses that meet. None where it was not tried.
    """

    rule: ActiveRule
    kind: Kind
    reasons: tuple[Reason, ...] = ()
    verdict: Verdict | None = None
    fault: Fault | None = None
    fell: int | None = field(default=None, compare=False)  # the same outcome, whether it was tried or not

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
    hook, encounter = rulebook.library.services[service].hook, facts.inputs.get(ENCOUNTER)
    # One that came and cannot be read is one too, although nobody named it.
    named = encounter_named or (encounter is not None and encounter.unreadable > 0)
    context = with_purposes(
        Context(facts, rulebook, drafts_expected=hook in ("order-select", "order-sign"), encounter_named=named)
    )
    told, index = tells_that_none_is_there(rulebook, service), index_of(rulebook, service)
    wanted = None if only is None else index.among(only)
    found = None if every else attempt(_by_index, index, _Call(context, told, looked_up=True), wanted)
    if found is None or isinstance(found, Fault):
        among = range(len(index.every)) if wanted is None else sorted(wanted)
        found = [_outcome(index.every[place], _Call(context, told)) for place in among]
    if gap := stay_gap(context):
        there = evaluate(in_hospital(context), rulebook, service, only=only, every=every).outcomes
        found = [_not_sure(outcome, other, gap) for outcome, other in zip(found, there, strict=True)]
    return Evaluation(tuple(found), context)


def _not_sure(outcome: Outcome, in_hospital: Outcome, gap: Reason) -> Outcome:
    """An outcome where nobody can tell whether the patient is in hospital, and a finding would be one there."""
    if outcome.kind in ("quiet", "not_applicable") and in_hospital.kind == "fired":
        return Outcome(outcome.rule, "not_evaluated", (gap,))
    return outcome


def _by_index(index: RuleIndex, call: _Call, wanted: frozenset[int] | None) -> list[Outcome]:
    """Only rules whose drug and problem may be there are tried. All others are quiet, but for those that are not for
    this patient: of these each scope is asked once."""
    context = call.context
    if context.facts.person.deceased and not context.drafts_expected:
        outcomes = list(_all_deceased(index))
        return outcomes if wanted is None else [outcomes[place] for place in sorted(wanted)]
    outcomes, outside = list(_all_quiet(index)), set[int]()
    for scope in index.scopes.values():
        places = scope if wanted is None else [place for place in scope if place in wanted]
        guard = call.guard(index.every[places[0]]) if places else None
        if guard is None:
            continue
        kind, reasons = guard[0], (guard[1],)
        outside.update(places)
        for place in places:
            outcomes[place] = Outcome(index.every[place].rule, kind, reasons)
    open_ = [place for place in index.not_found(context) if place not in outside]
    tried = [place for place in index.may_fire(context) if place not in outside]
    if wanted is not None:
        tried, open_ = ([place for place in places if place in wanted] for places in (tried, open_))
    verdict = drug_not_found(context)
    if verdict is None:
        tried += open_
    elif verdict.truth is None:
        for place, outcome in _all_unknown(index, open_, call, verdict):
            outcomes[place] = outcome
    for place in tried:
        outcomes[place] = _outcome(index.every[place], call)
    return outcomes if wanted is None else [outcomes[place] for place in sorted(wanted)]


def _all_unknown(
    index: RuleIndex, places: Iterable[int], call: _Call, verdict: Verdict
) -> Iterator[tuple[int, Outcome]]:
    """What is said of rules about doses that meet whose drug was not found: the same of all that are as urgent."""
    found: dict[str, Outcome] = {}
    for place in places:
        ready = index.every[place]
        indicator = ready.rule.loaded.rule.card.indicator
        first = found.get(indicator)
        if first is None:
            first = found[indicator] = _unknown(ready, call, verdict, None)
        yield place, Outcome(ready.rule, first.kind, first.reasons)


@lru_cache(maxsize=64)
def _all_quiet(index: RuleIndex) -> tuple[Outcome, ...]:
    """What is said of each rule that a service tries, where it is quiet."""
    return tuple(Outcome(ready.rule, "quiet") for ready in index.every)


@lru_cache(maxsize=64)
def _all_deceased(index: RuleIndex) -> tuple[Outcome, ...]:
    """The same of a patient who is recorded as dead, where nothing is being ordered."""
    return tuple(Outcome(ready.rule, "not_applicable", (Reason("deceased"),)) for ready in index.every)


@dataclass(frozen=True, slots=True)
class _Call:
    """One patient, the labs of which other rules tell that there is no result, and what was found so far: which scopes
    hold the patient, what tests say that several rules share, and what is made of reasons why they are unknown."""

    context: Context
    told: frozenset[str]
    looked_up: bool = False  # whether the index found the rules that are tried: what they need may be there
    _guards: dict[str, Guard | None] = field(default_factory=dict)
    _verdicts: dict[int, Verdict] = field(default_factory=dict)
    _unknown: dict[tuple[int, ...], Verdict] = field(default_factory=dict)
    _open: dict[int, tuple[Verdict, Open]] = field(default_factory=dict)

    def guard(self, ready: Prepared) -> Guard | None:
        """Why a rule is not for this patient, or None; found once for all rules of one scope."""
        if ready.scope not in self._guards:
            self._guards[ready.scope] = _guard(ready, self)
        return self._guards[ready.scope]

    def tried(self, one: ReadyTest, rule: ActiveRule) -> Verdict:
        """What a test says, tried once for all rules that have it. One that raises is tried again by each of them."""
        found = self._verdicts.get(one.number)
        if found is None:
            found = self._verdicts[one.number] = try_test(one.test, self.context, self.context.limits(rule.limits))
        return found

    def all_of(self, tests: tuple[ReadyTest, ...], rule: ActiveRule) -> Verdict:
        """`verdict.all_of` these tests. Which of them are unknown tells what is said of them, whoever asks."""
        verdicts = []
        unknown: tuple[int, ...] = ()
        for one in tests:
            verdict = self.tried(one, rule)
            if verdict.truth is False:
                return FALSE
            if verdict.truth is None:
                unknown += (one.number,)
            verdicts.append(verdict)
        if not unknown:
            return all_of(verdicts)
        found = self._unknown.get(unknown)
        if found is None:
            found = self._unknown[unknown] = all_of(verdicts)
        return found

    def open(self, verdict: Verdict) -> Open:
        """What the reasons are for which this is unknown. Rules share verdicts, and to look one up by what it says
        costs more than to ask again: it is held here, so that no other has its id."""
        held = self._open.get(id(verdict))
        if held is None:
            held = self._open[id(verdict)] = verdict, Open(verdict.reasons, self.told)
        return held[1]


class Open:
    """Reasons for which it is unknown whether a rule fires: which outcome they make, as far as that is the same for
    every rule."""

    __slots__ = ("absent", "codes", "in_chart", "unidentified")

    def __init__(self, reasons: tuple[Reason, ...], told: frozenset[str]) -> None:
        codes = self.codes = frozenset(reason.code for reason in reasons)
        # The search was complete and nothing of the kind is documented, or the EHR has no such data: it has no subject.
        no_subject = NO_SUBJECT | NOTHING_RECENT if "input_not_available" in codes else NO_SUBJECT
        self.absent = bool(codes and codes <= no_subject) or _told_elsewhere(reasons, told)
        self.unidentified = bool(codes & UNIDENTIFIED) and codes <= UNIDENTIFIED | NOTHING_RECENT
        self.in_chart = codes <= IN_CHART | NOTHING_RECENT


def _outcome(ready: Prepared, call: _Call) -> Outcome:
    found = attempt(_try, ready, call)
    if isinstance(found, Fault):
        return Outcome(ready.rule, "not_evaluated", (found.reason,), fault=found)
    return found


def _try(ready: Prepared, call: _Call) -> Outcome:
    rule, context = ready.rule, call.context
    guard = call.guard(ready)
    if guard is not None:
        kind, reason = guard
        return Outcome(rule, kind, (reason,))
    if not call.looked_up and ready.cannot_fire(context):
        return Outcome(rule, "quiet")
    written = rule.loaded.rule
    needed: Verdict | None = None
    if written.when is None:
        verdict = try_timing(written, context, context.limits(rule.limits))
    else:
        verdict = needed = call.all_of(ready.needed, rule)
        if needed.truth is not False and (ready.either or ready.none):
            verdict = all_of([needed, *_further(ready, call)])
        if verdict.truth and context.drafts_expected and ready.about_the_order and not drafted(verdict):
            return Outcome(rule, "quiet")
    if verdict.truth is None:
        return _unknown(ready, call, verdict, needed)
    if not verdict.truth:
        return Outcome(rule, "quiet", fell=_fell(ready, call))
    found = (*verdict.reasons, *(call.tried(ready.infusion, rule).reasons if ready.infusion else ()))
    gaps = (*found, *_pregnancy_gap(ready, context), *_encounter_gap(ready, context))
    return Outcome(rule, "fired", gaps, verdict)


def _fell(ready: Prepared, call: _Call) -> int:
    """The first test that does not hold, of a rule that is quiet: see `Outcome`."""
    for number, one in enumerate(ready.needed, 1):
        if call.tried(one, ready.rule).truth is False:
            return number
    either = bool(ready.either) and next(_further(ready, call)).truth is not False
    return len(ready.needed) + 1 + either


def _further(ready: Prepared, call: _Call) -> Iterator[Verdict]:
    """What the tests of `any` and of `none` say."""
    rule, when = ready.rule, ready.rule.loaded.rule.when
    if ready.either:
        count = call.context.limits(rule.limits)[when.at_least] if when and when.at_least else None
        # A result that is not there is no reason for a card.
        either = [call.tried(one, rule) for one in ready.either]
        either = [one for one in either if not _told_elsewhere(one.reasons, call.told)]
        yield any_of(either, int(count.value) if count else 1)
        if count:
            yield Verdict(True, limits=(count,))
    if ready.none:
        yield none_of(call.tried(one, rule) for one in ready.none)


def _unknown(ready: Prepared, call: _Call, verdict: Verdict, needed: Verdict | None) -> Outcome:
    """What is said where it is not known whether a rule fires. `needed`: what the tests of `all` said."""
    rule, why = ready.rule, call.open(verdict)
    if why.absent:
        return Outcome(rule, "not_applicable", verdict.reasons)
    if why.unidentified:
        informs = why.in_chart and rule.loaded.rule.card.indicator == "info"
        # Of alternatives, one may hold although another has no result to speak of.
        codes = call.open(needed).codes if needed and ready.either else why.codes
        if informs or codes & NOTHING_RECENT or ready.lacks_more(call.context):
            return Outcome(rule, "not_applicable", (Reason("cannot_change_advice"),))
    return Outcome(rule, "not_evaluated", verdict.reasons)


def _told_elsewhere(reasons: tuple[Reason, ...], told: frozenset[str]) -> bool:
    """Whether it was tried against a result that is not there, of a lab of which other rules tell just that."""
    return any(reason.what in told and reason.code in NOTHING_RECENT for reason in reasons)


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


def _guard(ready: Prepared, call: _Call) -> Guard | None:
    """`applies_to`: outside it the rule is not applicable; where age is unknown it is not evaluated."""
    context, rule = call.context, ready.rule
    person, scope = context.facts.person, rule.loaded.rule.applies_to
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
        found = usable(scope.recent_result.lab, context, context.limits(rule.limits)[scope.recent_result.within])
        if isinstance(found, Reason) and found.code in ("no_result", "result_too_old"):
            return "not_applicable", found
    if scope.not_pregnant and person.pregnant:
        return "not_applicable", Reason("pregnant")
    if not ready.unless_medication.isdisjoint(context.drugs):
        for item in context.medications(ready.unless_medication, "any", "any"):
            return "not_applicable", Reason("other_drug", min(item.drugs & ready.unless_medication))
    if found_too := context.concepts.intersection(scope.unless_condition):
        return "not_applicable", Reason("other_condition", min(found_too))
    if ready.infusion and call.tried(ready.infusion, rule).truth:
        return "not_applicable", Reason("infusion_runs")
    return None
