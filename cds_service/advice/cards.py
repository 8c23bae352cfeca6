"""Findings as cards: one problem, one card; most urgent first; at most `MAX_CARDS`, the rest named in a line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from cds_service.advice.card_extension import finding_text
from cds_service.advice.card_text import Group, Shown, Writer, against_magnesium
from cds_service.advice.in_words import Display
from cds_service.advice.plan_of_findings import plan_for
from cds_service.fhir import Chart
from cds_service.rules.evaluate import Evaluation, Outcome
from cds_service.rules.faults import Fault, attempt

MAX_CARDS = 3
TIMING = "timing"
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A card that would be shown: its leading rule, what makes the finding, how urgent it is."""

    rule: str
    finding: str
    indicator: str


@dataclass(eq=False)
class _Untold(Exception):
    """Findings that a fault of ours keeps from being told."""

    rules: Collection[str]
    fault: Fault


def problem_of(outcome: Outcome) -> str:
    """Findings of one problem make one card. Doses that meet are one problem, however many drugs there are."""
    rule = outcome.rule.loaded.rule
    return TIMING if rule.when is None else rule.card.problem


def urgency(outcome: Outcome) -> tuple[int, int, str]:
    """Sort key: indicator, then the rule's priority, then its id."""
    card = outcome.rule.loaded.rule.card
    return ("critical", "warning", "info").index(card.indicator), card.priority, outcome.rule_id


def build_cards(
    evaluation: Evaluation,
    chart: Chart,
    display: Display,
    base_url: str,
    *,
    dev: bool,
    phrase_in_text: bool,
    plan_secret: str,
    silent: Callable[[Sequence[Candidate]], set[int]],
    most: int = MAX_CARDS,
) -> tuple[Evaluation, list[Shown]]:
    """All cards of a call, ordered and capped. Silent rules are left out, and then what `silent` names by index.

    Empty only if every rule was evaluated: silence comes before the cap, and is never shown as an all-clear. A finding
    that a fault of ours keeps from being told is withdrawn, and the cards are made again: the evaluation given back has
    it as not evaluated.
    """
    while True:
        writer = Writer(evaluation, chart, display, base_url.rstrip("/"), dev, phrase_in_text)
        try:
            return evaluation, _cards(writer, silent, most, plan_secret)
        except _Untold as untold:
            evaluation = evaluation.withdrawn(untold.rules, untold.fault)


def _cards(
    writer: Writer, silent: Callable[[Sequence[Candidate]], set[int]], most: int, plan_secret: str
) -> list[Shown]:
    groups = _grouped(writer.evaluation)
    if TIMING in groups and not against_magnesium(writer.evaluation):
        group = groups[TIMING]
        # Among equally urgent findings, an 'avoid' rule comes first: no distance between doses helps there.
        group.outcomes.sort(key=lambda o: (urgency(o)[0], o.rule.loaded.rule.avoid is None))
        planned = attempt(plan_for, group.outcomes, writer.evaluation, writer.display.rulebook, plan_secret)
        group.planned = "fault" if isinstance(planned, Fault) else planned
    quiet = silent([_told(_candidate, group) for group in groups.values()])
    ordered = [group for index, group in enumerate(groups.values()) if index not in quiet]
    shown, rest = ordered[:most], ordered[most:]
    cards = [_told(writer.card, group, rest if index == len(shown) - 1 else []) for index, group in enumerate(shown)]
    if not cards and writer.open_reasons():
        cards.append(writer.not_evaluated_card())
    return cards


def _grouped(evaluation: Evaluation) -> dict[str, Group]:
    """The findings that may be shown, by problem, the most urgent first."""
    groups: dict[str, Group] = {}
    for outcome in sorted((o for o in evaluation.of("fired") if o.rule.visibility == "shown"), key=urgency):
        groups.setdefault(problem_of(outcome), Group()).outcomes.append(outcome)
    return groups


def _candidate(group: Group) -> Candidate:
    return Candidate(group.lead.rule_id, finding_text(group.outcomes), group.lead.rule.loaded.rule.card.indicator)


def _told(work: Callable[Concatenate[Group, P], T], group: Group, *given: P.args, **named: P.kwargs) -> T:
    """What `work` makes of a group. Where it meets a fault, raises _Untold with the findings that fail on their own
    too; with all of them where each could be told alone."""
    made = attempt(work, group, *given, **named)
    if not isinstance(made, Fault):
        return made
    alone = [o.rule_id for o in group.outcomes if isinstance(attempt(work, Group([o]), *given, **named), Fault)]
    raise _Untold(alone or [o.rule_id for o in group.outcomes], made)
