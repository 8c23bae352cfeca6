"""Cards and feedback to put into a store."""

import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from cds_service.store import FeedbackItem, PastOutcome, Reason, ShownCard, Store
from cds_service.store.engine import FILE_NAME
from cds_service.store.tables import feedback, shown_cards

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
REFUSED = Reason("patient-refused", "http://example.org/or", "Patient refused")


def card(**changes: Any) -> ShownCard:
    values: dict[str, Any] = {
        "card": str(uuid.uuid4()),
        "rule": "low_magnesium",
        "rule_version": "1",
        "service": "magnesium-patient-view",
        "hook": "patient-view",
        "indicator": "warning",
        "client": "ehr",
        "shown_at": NOW - HOUR,
        "software_version": "0.1.0",
        "content_version": "abc",
        "site_revision": "0",
        "subject_hash": "subject",
        "finding_hash": "finding",
        "suggestions": ("suggestion-1", "suggestion-2"),
        "override_reasons": (REFUSED,),
    }
    return ShownCard(**(values | changes))


def accepted(shown: ShownCard, **changes: Any) -> FeedbackItem:
    values: dict[str, Any] = {
        "service": shown.service,
        "client": shown.client,
        "card": shown.card,
        "outcome": "accepted",
        "outcome_at": NOW,
        "received_at": NOW,
        "suggestions": ("suggestion-1",),
    }
    return FeedbackItem(**(values | changes))


def overridden(shown: ShownCard, **changes: Any) -> FeedbackItem:
    return accepted(shown, **({"outcome": "overridden", "suggestions": ()} | changes))


def counts(store: Store, since: datetime = NOW - 1000 * HOUR) -> dict[str, tuple[int, int, int]]:
    """By rule: cards shown since then, and how many of them were accepted and were overridden."""
    shown = select(shown_cards.c.card, shown_cards.c.rule).where(shown_cards.c.shown_at >= since)
    matched = select(feedback.c.card, feedback.c.outcome).where(feedback.c.card_match == "matched")
    with store._reader.engine.connect() as connection:
        cards = {row.card: row.rule for row in connection.execute(shown)}
        outcomes = {(row.card, row.outcome) for row in connection.execute(matched)}

    def count(rule: str, outcome: str) -> int:
        return sum(cards.get(name) == rule for name, what in outcomes if what == outcome)

    shown_by_rule = Counter(cards.values())
    return {rule: (n, count(rule, "accepted"), count(rule, "overridden")) for rule, n in shown_by_rule.items()}


def newest_outcome(store: Store, subject: str, finding: str, since: datetime) -> PastOutcome | None:
    """What the store tells of one finding of one patient."""
    return store.past_outcomes([(subject, finding)], since).get((subject, finding))


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of the SQLite file in `folder`, read by a connection of our own."""
    connection = sqlite3.connect(folder / FILE_NAME)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The SQLite file in `folder` held by somebody else, for reading and writing."""
    connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


def eventually(condition: Callable[[], object]) -> bool:
    give_up = time.monotonic() + 15
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True
