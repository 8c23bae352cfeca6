"""What goes into the store and comes out of it. None of it is about a person: see `keys` for the two hashes."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Outcome = Literal["accepted", "overridden"]
"""What a user did with a card. An ignored card sends nothing (C52)."""

UNMATCHED = ("unknown_card", "other_client", "other_service", "unknown_suggestion")
CardMatch = Literal["matched", "unknown_card", "other_client", "other_service", "unknown_suggestion"]
"""Whether feedback belongs to a card that this service showed to this client. Only `matched` counts for anything."""

MAX_COMMENT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Reason:
    """An override reason that a card offered."""

    code: str
    system: str
    display: str


@dataclass(frozen=True, slots=True)
class ShownCard:
    """One card of one answer. `shown_at` is aware; the hashes are those of the Store."""

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
    subject_hash: str
    finding_hash: str
    suggestions: tuple[str, ...] = ()
    override_reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Screen:
    """What stands on one user's screen: keyed hashes of whose and which service's it is, and of the findings."""

    key: str
    findings: tuple[str, ...]
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """One item of a feedback call, checked. Both times are aware. Texts hold no NUL, which PostgreSQL refuses.

    `reason_display`: of a reason that the EHR has and our cards do not.
    """

    service: str
    client: str
    card: str
    outcome: Outcome
    outcome_at: datetime
    received_at: datetime
    suggestions: tuple[str, ...] = ()
    reason_code: str | None = None
    reason_system: str | None = None
    reason_display: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """Rows of one call: new ones, those known already (their count went up), and those of both without a card."""

    stored: int
    repeated: int
    unmatched: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How long cards without feedback, feedback that is unmatched, and counts are kept; None: for ever. What came back
    on a card of ours is never deleted, and neither is that card.
    """

    cards: timedelta | None = None
    unmatched: timedelta | None = None
    counts: timedelta | None = None


FOR_EVER: Final = Retention()


@dataclass(frozen=True, slots=True)
class PastOutcome:
    """The newest thing done with a card of the same finding for the same patient."""

    outcome: Outcome
    acted_at: datetime
    card: str
    reason_code: str | None = None
    reason_system: str | None = None


@dataclass(frozen=True, slots=True)
class StoreCounters:
    """Since this process started. late: not on disk when the hook that waited for it answered (most are written a
    moment after). dropped: never written. purged: rows deleted for their age. reads_failed: silencing could not be
    looked up, so nothing was silenced.
    """

    shown_written: int
    shown_late: int
    shown_dropped: int
    reads_failed: int
    feedback_stored: int
    feedback_repeated: int
    feedback_refused: int
    purged: int


def canonical_id(text: str) -> str:
    """A UUID in its usual form, so that upper case or braces make no other card of it; other text as it is."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text


def digest(label: str, parts: Iterable[str]) -> bytes:
    """Bytes to hash for a list of texts: each with its length before it, so that no two lists look the same."""
    out = bytearray(label.encode() + b"\0")
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        out += len(raw).to_bytes(8, "big") + raw
    return bytes(out)


def item_key(item: FeedbackItem) -> str:
    """64 hex digits that two items share where client, service, card, outcome, instant and suggestions do (C51).

    The client is in it so that an item sent in another's name never makes the real one a repeat.
    """
    suggestions = sorted({canonical_id(one) for one in item.suggestions})
    moment = item.outcome_at.astimezone(UTC).isoformat(timespec="microseconds")
    parts = [item.client, item.service, canonical_id(item.card), item.outcome, moment, *suggestions]
    return hashlib.sha256(digest("feedback item", parts)).hexdigest()


def bounded_comment(text: str) -> tuple[str, bool]:
    """The comment within `MAX_COMMENT_BYTES` of UTF-8, never ending in half a character; True when it was cut."""
    raw = text.encode("utf-8")
    if len(raw) <= MAX_COMMENT_BYTES:
        return text, False
    return raw[:MAX_COMMENT_BYTES].decode("utf-8", "ignore"), True
