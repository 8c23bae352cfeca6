"""What was shown and what came of it, in SQLite or PostgreSQL by SQLAlchemy Core. Holds no patient data."""

from cds_service.store.audit import AuditLine, NewLine
from cds_service.store.drafts import Draft, DraftText, same_person
from cds_service.store.errors import StoreAway, StoreError, StoreUnavailable
from cds_service.store.people import PersonOnRecord
from cds_service.store.records import (
    FeedbackItem,
    FeedbackResult,
    PastOutcome,
    Reason,
    Retention,
    Screen,
    ShownCard,
    StoreCounters,
)
from cds_service.store.revisions import NewRevision, Revision
from cds_service.store.store import Store

__all__ = [
    "AuditLine",
    "Draft",
    "DraftText",
    "FeedbackItem",
    "FeedbackResult",
    "NewLine",
    "NewRevision",
    "PastOutcome",
    "PersonOnRecord",
    "Reason",
    "Retention",
    "Revision",
    "Screen",
    "ShownCard",
    "Store",
    "StoreAway",
    "StoreCounters",
    "StoreError",
    "StoreUnavailable",
    "same_person",
]
