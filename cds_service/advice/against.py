"""What speaks against giving magnesium, and what is not proposed beside it."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.advice.in_words import Display
from cds_service.advice.phrasing import fill
from cds_service.rules.evaluate import NOTHING_RECENT, Evaluation, Outcome


def against_magnesium(evaluation: Evaluation) -> list[Outcome]:
    """What speaks against giving magnesium at all: findings, be they untold, and rules that could not be tried although
    there is something to try them on. Beside any of them nothing is proposed that presumes giving magnesium."""
    may_be = (o for o in evaluation.notable if o.verdict is not None or o.hidden)
    return [outcome for outcome in may_be if outcome.written.card.contraindicates_magnesium]


def not_proposed(evaluation: Evaluation, display: Display) -> str:
    """Why doses that meet get neither times nor a changed order, "" where they may."""
    against, words = against_magnesium(evaluation), display.library.wording.not_proposed
    if not against or any(outcome.kind == "fired" for outcome in against):
        return words["finding"] if against else ""
    unread = (reason for outcome in against for reason in outcome.reasons if reason.code not in NOTHING_RECENT)
    return fill(words["hidden"], {"reasons": display.few(display.reasons(unread))})


def withdrawn(outcome: Outcome, against: Sequence[Outcome]) -> bool:
    """Whether a finding has options that presume magnesium, and another finding among `against` speaks against it."""
    card, others = outcome.written.card, (found for found in against if found.rule_id != outcome.rule_id)
    return any(found.kind == "fired" for found in others) and card.options(giving=False) != card.options()
