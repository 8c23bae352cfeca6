"""Chart in, advice out: the one way from one patient's facts to the outcome of every rule and to cards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.card_text import Shown
from cds_service.advice.cards import MAX_CARDS, Candidate, build_cards
from cds_service.advice.in_words import Display
from cds_service.advice.suggestions import sources_cited
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart
from cds_service.rules.evaluate import Evaluation, Outcome, evaluate
from cds_service.rules.faults import Fault, attempt
from cds_service.terminology.units import UnitTable

log = logging.getLogger(__name__)
MAX_REREADS = 8
# Of the findings that would be shown, those that are not shown again, by index.
Told = Callable[[Sequence[Candidate]], set[int]]


def nothing_told(_: Sequence[Candidate]) -> set[int]:
    """Nobody was told anything before."""
    return set()


@dataclass(frozen=True, slots=True)
class CardStyle:
    """How cards are written: the address of our web pages, the marks of the development profile, whether suggestions
    carry their instruction in the drug's text too, the secret that signs plan links ("" for none), the most cards, and
    the units of the reader's screen by lab."""

    base_url: str = ""
    dev: bool = False
    phrase_in_text: bool = False
    plan_secret: str = ""
    most: int = MAX_CARDS
    units: Mapping[str, str] = field(default_factory=dict)


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
        told: dict[str, Any] = {"outcomes": [self._outcome(outcome) for outcome in self.evaluation.outcomes]}
        if facts.inputs:
            told["inputs"] = {key: availability.state for key, availability in sorted(facts.inputs.items())}
        if facts.repairs:
            told["repairs"] = dict(facts.repairs)
        return {"cards": [item.card for item in self.shown], "extension": {EXTENSION: told}}

    def _outcome(self, outcome: Outcome) -> dict[str, Any]:
        said = {"rule": outcome.rule_id, "outcome": outcome.kind}
        return said | ({"reason": "; ".join(self.display.reasons(outcome.reasons))} if outcome.reasons else {})

    def summary(self) -> dict[str, int]:
        """Counts for the log."""
        evaluation = self.evaluation
        return {
            "cards": len(self.shown),
            "fired": len(evaluation.of("fired")),
            "not_evaluated": len(evaluation.of("not_evaluated")),
            "faults": sum(outcome.fault is not None for outcome in evaluation.outcomes),
            "unreadable": sum(a.unreadable for a in evaluation.context.facts.inputs.values()),
        }


def advise(
    chart: Chart,
    rulebook: Rulebook,
    service: str,
    told: Told = nothing_told,
    *,
    units: UnitTable,
    style: CardStyle = CardStyle(),
    encounter_named: bool = False,
) -> Advice:
    """Advice on one patient. `told` names what is not shown again; `encounter_named`: the caller named an encounter.

    A fault of ours in one rule leaves that rule not evaluated, never the others.
    """
    chart, evaluation = outcomes_of(chart, rulebook, service, encounter_named)
    display = Display(rulebook, evaluation.context, units, style.units)
    for outcome in [outcome for outcome in evaluation.outcomes if outcome.reasons]:
        words = attempt(display.reasons, outcome.reasons)
        if isinstance(words, Fault):  # its reasons cannot be worded
            evaluation = evaluation.withdrawn({outcome.rule_id}, words)
    evaluation, shown = build_cards(
        evaluation,
        chart,
        display,
        style.base_url,
        dev=style.dev,
        phrase_in_text=style.phrase_in_text,
        plan_secret=style.plan_secret,
        most=style.most,
        silent=told,
    )
    return Advice(evaluation, shown, display)


def outcomes_of(
    chart: Chart, rulebook: Rulebook, service: str, encounter_named: bool = False
) -> tuple[Chart, Evaluation]:
    """The outcome of every rule of a service. What the findings cite is validated; a resource that fails is taken out
    of the chart, which is given back, and all is tried again."""
    evaluation = evaluate(chart.facts, rulebook, service, encounter_named)
    for _ in range(MAX_REREADS):
        broken = chart.invalid(sources_cited(evaluation.of("fired")))
        if not broken:
            break
        log.warning("%d cited resources are not valid FHIR and were left out", len(broken))
        chart = chart.without(broken)
        evaluation = evaluate(chart.facts, rulebook, service, encounter_named)
    return chart, evaluation
