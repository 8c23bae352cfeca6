"""What `/metrics` says of the advice that was given: sums since the start, in words of closed lists."""

from __future__ import annotations

from collections import Counter

from cds_service.advice.advise import Advice
from cds_service.metrics.instruments import count


def of_advice(advice: Advice, service: str, shown: bool) -> None:
    """Count what came of a call; `service`: the id called, `shown`: whether its cards are."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    evaluation = advice.evaluation
    outcomes["quiet"] = len(evaluation.outcomes) - len(evaluation.notable)
    for outcome in evaluation.notable:
        outcomes[outcome.kind] += 1
        if outcome.kind == "fired":
            count("rule_fired_total", outcome.rule_id)
        elif outcome.kind == "not_evaluated":
            reasons.update({reason.code for reason in outcome.reasons})
        if outcome.fault is not None:
            count("rule_faults_total", outcome.rule_id)
    for kind, number in (+outcomes).items():
        count("rule_outcomes_total", kind, by=number)
    for reason, number in reasons.items():
        count("not_evaluated_total", reason, by=number)
    if outcomes["not_evaluated"]:
        count("incomplete_calls_total", service)
    if shown:
        for card in advice.shown:
            count("cards_total", card.rules[0], card.card["indicator"])
