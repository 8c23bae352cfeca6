"""What came of the cards that were shown, added up; and what clinicians wrote. A card that was answered twice counts by
its last answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, func, select

from cds_service.store.tables import feedback, shown_cards

T = TypeVar("T")
ReasonCode = tuple[str, str]
"""Code and words of a reason, both "" where none was given."""


@dataclass(slots=True)
class Answers:
    """Of one rule's cards (those that it leads): how many were shown, and what was done with them."""

    shown: int = 0
    accepted: int = 0
    overridden: int = 0
    reasons: Counter[ReasonCode] = field(default_factory=Counter)

    @property
    def unanswered(self) -> int:
        return max(0, self.shown - self.accepted - self.overridden)


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody wrote when a card was dismissed; nobody's name is kept. `cut`: it was longer."""

    rule: str
    client: str
    received_at: datetime
    reason: str
    reason_code: str
    text: str
    cut: bool


class OutcomeMemory:
    """Part of Store. StoreUnavailable after `feedback_wait` seconds. `client` is all its tenants."""

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]

    def answers(self, since: datetime, until: datetime, client: str | None = None) -> dict[str, Answers]:
        """By rule, of the cards shown from `since` to before `until`."""
        return self._read(lambda connection: _answers(connection, since, until, client), self.feedback_wait)

    def comments(
        self, since: datetime, until: datetime, client: str | None = None, rule: str | None = None, most: int = 500
    ) -> list[Comment]:
        """The newest first, of cards of ours alone."""
        asked = select(
            shown_cards.c.rule, shown_cards.c.client, feedback.c.received_at, feedback.c.reason_display,
            feedback.c.reason_code, feedback.c.comment, feedback.c.comment_cut,
        ).join(feedback, (feedback.c.card == shown_cards.c.card) & (feedback.c.card_match == "matched"))  # fmt: skip
        asked = asked.where(
            feedback.c.comment.is_not(None), feedback.c.received_at >= since, feedback.c.received_at < until
        )
        if rule is not None:
            asked = asked.where(shown_cards.c.rule == rule)
        wanted = _of_client(asked, client).order_by(feedback.c.received_at.desc()).limit(most)
        return self._read(lambda connection: [_comment(row) for row in connection.execute(wanted)], self.feedback_wait)


def _comment(row: Any) -> Comment:
    rule, client, at, display, code, text, cut = row
    return Comment(rule, client, at, display or code or "", code or "", text, cut)


def _of_client(asked: Select[Any], client: str | None) -> Select[Any]:
    if client is None:
        return asked
    return asked.where(
        (shown_cards.c.client == client) | shown_cards.c.client.startswith(f"{client}/", autoescape=True)
    )


def _answers(connection: Connection, since: datetime, until: datetime, client: str | None) -> dict[str, Answers]:
    within = shown_cards.c.shown_at >= since, shown_cards.c.shown_at < until
    counted = _of_client(select(shown_cards.c.rule, func.count()).where(*within), client).group_by(shown_cards.c.rule)
    found = {rule: Answers(shown=number) for rule, number in connection.execute(counted)}
    asked = (
        select(
            shown_cards.c.card,
            shown_cards.c.rule,
            feedback.c.outcome,
            feedback.c.reason_code,
            feedback.c.reason_display,
        )
        .join(feedback, (feedback.c.card == shown_cards.c.card) & (feedback.c.card_match == "matched"))
        .where(*within)
        .order_by(feedback.c.acted_at, feedback.c.id)
    )
    last = {card: rest for card, *rest in connection.execute(_of_client(asked, client))}
    for rule, outcome, code, display in last.values():
        mine = found.setdefault(rule, Answers())
        if outcome == "accepted":
            mine.accepted += 1
        else:
            mine.overridden += 1
            mine.reasons[code or "", display or ""] += 1
    return found
