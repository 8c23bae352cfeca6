"""Chart in, advice out: the one way from one patient's facts to the outcome of every rule and to cards.

One problem is one card; the most urgent come first; there are at most so many, and the rest is named in a line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson
import structlog

from cds_service.advice.against import against_magnesium
from cds_service.advice.card_extension import EXTENSION, finding_text
from cds_service.advice.card_text import CardStyle, Group, Shown, Writer
from cds_service.advice.in_words import Display
from cds_service.advice.plan_of_findings import plan_for
from cds_service.advice.suggestions import sources_cited
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart
from cds_service.metrics.stages import stage
from cds_service.rules.evaluate import Evaluation, Outcome, evaluate
from cds_service.rules.faults import Fault, attempt
from cds_service.terminology.units import UnitTable

log = structlog.get_logger("magnesium_cds.advice")
MAX_REREADS = 8
TIMING = "timing"
INDICATORS = ("critical", "warning", "info")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A card that would be shown: its leading rule, what makes the finding, how urgent it is, what it is about, and
    `seen`: the finding with the drafts that it rests on, of which not a word may differ for it to be the same."""

    rule: str
    finding: str
    indicator: str
    topic: str
    seen: str


# Of the findings that would be shown, those that are not shown again, by index.
ToldBefore = Callable[[Sequence[Candidate]], set[int]]


def nothing_told(_: Sequence[Candidate]) -> set[int]:
    """Nobody was told anything before."""
    return set()


@dataclass(eq=False)
class _Untold(Exception):
    """Findings that a fault of ours keeps from being told."""

    rules: Collection[str]
    fault: Fault


def problem_of(outcome: Outcome) -> str:
    """Findings of one problem make one card. Doses that meet are one problem, however many drugs there are."""
    rule = outcome.written
    return TIMING if rule.when is None else rule.card.problem


def urgency(outcome: Outcome) -> tuple[int, bool, int, str]:
    """Sort key: indicator, then our rules before those of others, then the rule's priority, then its id."""
    card = outcome.written.card
    return INDICATORS.index(card.indicator), outcome.rule.loaded.package is not None, card.priority, outcome.rule_id


def _never_cut(group: Group) -> bool:
    return any(outcome.written.card.never_cut for outcome in group.outcomes)


def _place(group: Group) -> tuple[int, bool, int, str]:
    """Sort key of cards. One that is never cut off stands among the warnings, whatever its own urgency."""
    first, theirs, priority, rule = urgency(group.lead)
    return (min(first, 1) if _never_cut(group) else first), theirs, priority, rule


@dataclass(frozen=True, slots=True)
class Advice:
    """What comes of one chart under one rulebook: the outcome of every rule, and the cards that are shown."""

    evaluation: Evaluation
    shown: list[Shown]
    display: Display

    def not_checked(self) -> list[str]:
        """Why rules were not evaluated, in words, each once."""
        missing = [reason for outcome in self.evaluation.of("not_evaluated") for reason in outcome.reasons]
        return self.display.reasons((*self.evaluation.context.unidentified_drafts, *missing))

    def answer(self) -> dict[str, Any]:
        """The answer to a hook: the cards, every rule's outcome with its reason, the state of the inputs."""
        facts = self.evaluation.context.facts
        told: dict[str, Any] = {"outcomes": [
            self._with_reason(outcome) if outcome.reasons else {"rule": outcome.rule.id, "outcome": outcome.kind}
            for outcome in self.evaluation.outcomes
        ]}  # fmt: skip
        if facts.inputs:
            told["inputs"] = {key: availability.state for key, availability in sorted(facts.inputs.items())}
        if facts.repairs:
            told["repairs"] = dict(facts.repairs)
        return {"cards": [item.card for item in self.shown], "extension": {EXTENSION: told}}

    def _with_reason(self, outcome: Outcome) -> dict[str, Any]:
        reason = "; ".join(self.display.reasons(outcome.reasons))
        return {"rule": outcome.rule.id, "outcome": outcome.kind, "reason": reason}

    def summary(self) -> dict[str, int]:
        """Counts for the log."""
        evaluation = self.evaluation
        return {
            "cards": len(self.shown),
            "fired": len(evaluation.of("fired")),
            "not_evaluated": len(evaluation.of("not_evaluated")),
            "faults": sum(outcome.fault is not None for outcome in evaluation.notable),
            "unreadable": sum(a.unreadable for a in evaluation.context.facts.inputs.values()),
        }


def advise(
    chart: Chart,
    rulebook: Rulebook,
    service: str,
    told: ToldBefore = nothing_told,
    *,
    units: UnitTable,
    style: CardStyle,
    encounter_named: bool = False,
    client: str = "",
) -> Advice:
    """Advice on one patient. `told` names what is not shown again; `encounter_named`: the caller named an encounter;
    `client`: the name under which a site may have values of its own for it, as for the encounter on the chart.

    A fault of ours in one rule leaves that rule not evaluated, never the others.
    """
    chart, evaluation = outcomes_of(chart, rulebook, service, encounter_named, client)
    rulebook = evaluation.context.rulebook
    display = Display(rulebook, evaluation.context, units, style.units)
    for outcome in [outcome for outcome in evaluation.notable if outcome.reasons]:
        words = attempt(display.reasons, outcome.reasons)
        if isinstance(words, Fault):  # its reasons cannot be worded
            evaluation = evaluation.withdrawn({outcome.rule_id}, words)
    while True:
        try:
            return Advice(evaluation, _cards(Writer(evaluation, chart, display, style), told), display)
        except _Untold as untold:  # these findings are withdrawn, and the cards are made again
            evaluation = evaluation.withdrawn(untold.rules, untold.fault)


@stage("rules")
def outcomes_of(
    chart: Chart, rulebook: Rulebook, service: str, encounter_named: bool = False, client: str = ""
) -> tuple[Chart, Evaluation]:
    """The outcome of every rule of a service. What the findings cite is validated; a resource that fails is taken out
    of the chart, which is given back, and all is tried again. As `advise`."""
    rulebook = rulebook.at(client, chart.facts.person.encounter_class)
    evaluation = evaluate(chart.facts, rulebook, service, encounter_named)
    for _ in range(MAX_REREADS):
        broken = chart.invalid(sources_cited(evaluation.of("fired")))
        if not broken:
            break
        log.warning("cited resources left out", number=len(broken))
        chart = chart.without(broken)
        evaluation = evaluate(chart.facts, rulebook, service, encounter_named)
    return chart, evaluation


def _cards(writer: Writer, told: ToldBefore) -> list[Shown]:
    """All cards of a call, ordered and capped. Silent rules are left out, and then what `told` names by index.

    Empty only if every rule was evaluated: silence comes before the cap, and is never shown as an all-clear.
    """
    groups = _grouped(writer.evaluation)
    if TIMING in groups and not against_magnesium(writer.evaluation):
        group = groups[TIMING]
        # Among equally urgent findings, an 'avoid' rule comes first: no distance between doses helps there.
        group.outcomes.sort(key=lambda o: (urgency(o)[0], o.written.avoid is None))
        rulebook, secret = writer.display.rulebook, writer.style.plan_secret
        planned = attempt(plan_for, group.outcomes, writer.evaluation, rulebook, secret)
        group.planned = "fault" if isinstance(planned, Fault) else planned
    everything = sorted(groups.values(), key=_place)
    candidates = [_told(_candidate, group, writer.chart) for group in everything]
    met = {id(group): candidate for group, candidate in zip(everything, candidates, strict=True)}
    quiet = told(candidates)
    shown, rest = _cut([group for index, group in enumerate(everything) if index not in quiet], writer.style.most)
    cards = [_told(writer.card, group, rest if index == len(shown) - 1 else []) for index, group in enumerate(shown)]
    told_of = [met[id(group)] for group in shown]
    cards = [replace(card, finding=of.finding, seen=of.seen) for card, of in zip(cards, told_of, strict=True)]
    if not cards and writer.open_reasons:
        cards.append(writer.not_evaluated_card())
    return cards


def _cut(ordered: list[Group], most: int) -> tuple[list[Group], list[Group]]:
    """The cards that are shown, and the rest, which is named in a line. One that is never cut off takes the last place
    there, but not that of a critical one."""
    late = next((group for group in ordered[most:] if _never_cut(group)), None)
    if late is not None and ordered[most - 1].lead.written.card.indicator != INDICATORS[0]:
        ordered = [group for group in ordered if group is not late]
        ordered.insert(most - 1, late)
    return ordered[:most], ordered[most:]


def _grouped(evaluation: Evaluation) -> dict[str, Group]:
    """The findings that may be shown, by problem, the most urgent first."""
    groups: dict[str, Group] = {}
    for outcome in sorted((o for o in evaluation.of("fired") if o.rule.visibility == "shown"), key=urgency):
        joined = groups.get(outcome.rule.loaded.rule.card.joins or "")
        if joined is None or joined.lead.rule.loaded.rule.card.indicator == "info":
            joined = groups.setdefault(problem_of(outcome), Group())
        joined.outcomes.append(outcome)
    return groups


def _candidate(group: Group, chart: Chart) -> Candidate:
    card, finding = group.lead.written.card, finding_text(group.outcomes)
    cited = sorted(chart.drafts_among(sources_cited(group.outcomes)), key=str)
    drafts = orjson.dumps([chart.resource(source) for source in cited], option=orjson.OPT_SORT_KEYS)
    return Candidate(group.lead.rule_id, finding, card.indicator, card.topic, f"{finding} {drafts.decode()}")


def _told(work: Callable[Concatenate[Group, P], T], group: Group, *given: P.args, **named: P.kwargs) -> T:
    """What `work` makes of a group. Where it meets a fault, raises _Untold with the findings that fail on their own
    too; with all of them where each could be told alone."""
    made = attempt(work, group, *given, **named)
    if not isinstance(made, Fault):
        return made
    alone = [o.rule_id for o in group.outcomes if isinstance(attempt(work, Group([o]), *given, **named), Fault)]
    raise _Untold(alone or [o.rule_id for o in group.outcomes], made)
