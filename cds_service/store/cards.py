"""One card on record, and what came back on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from cds_service.store.records import canonical_id
from cds_service.store.tables import feedback, shown_cards

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CardOnRecord:
    """A card that was shown, without its two hashes. `outcomes`: what was done with it, the first thing first."""

    card: str
    rule: str
    rule_version: str
    service: str
    hook: str
    indicator: str
    client: str
    shown_at: datetime
    software_version: str
    content_version: str
    site_revision: str
    outcomes: tuple[str, ...] = ()


class CardMemory:
    """Part of Store."""

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]

    def card(self, card: str) -> CardOnRecord | None:
        """The record of a card by its uuid. StoreUnavailable after `feedback_wait` seconds."""
        return self._read(lambda connection: _card(connection, canonical_id(card)), self.feedback_wait)


_NAMES = [name for name in CardOnRecord.__dataclass_fields__ if name != "outcomes"]


def _card(connection: Connection, card: str) -> CardOnRecord | None:
    columns = [shown_cards.c[name] for name in _NAMES]
    row = connection.execute(select(*columns).where(shown_cards.c.card == card)).first()
    if row is None:
        return None
    done = select(feedback.c.outcome).where(feedback.c.card == card, feedback.c.card_match == "matched")
    outcomes = connection.execute(done.order_by(feedback.c.acted_at)).scalars()
    told: dict[str, Any] = dict(row._mapping)
    return CardOnRecord(**told, outcomes=tuple(outcomes))
