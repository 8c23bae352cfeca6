"""Cards and feedback to put into a store."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cds_service.store import FeedbackItem, Reason, ShownCard
from cds_service.store.engine import FILE_NAME

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
