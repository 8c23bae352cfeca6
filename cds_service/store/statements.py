"""What is written and read, as functions of a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update

from cds_service.store.records import (
    UNMATCHED,
    CardMatch,
    FeedbackItem,
    FeedbackResult,
    PastOutcome,
    Reason,
    Retention,
    Screen,
    ShownCard,
    bounded_comment,
    canonical_id,
    item_key,
)
from cds_service.store.tables import feedback, screens, shown_cards, upsert, write_check

SubjectFinding = tuple[str, str]
_FORGOTTEN: Final = timedelta(hours=1)
_FILLER: Final = "x" * 16_384  # more than one page of either database

# Statements are built once: building one takes longer than running it.
_EARLY: Final = select(feedback).where(
    feedback.c.card.in_(bindparam("cards", expanding=True)), feedback.c.card_match == "unknown_card"
)
_CARDS: Final = select(
    shown_cards.c.card,
    shown_cards.c.client,
    shown_cards.c.service,
    shown_cards.c.shown_at,
    shown_cards.c.suggestions,
    shown_cards.c.override_reasons,
).where(shown_cards.c.card.in_(bindparam("cards", expanding=True)))
_PAST: Final = (
    select(
        shown_cards.c.subject_hash,
        shown_cards.c.finding_hash,
        feedback.c.outcome,
        feedback.c.acted_at,
        feedback.c.card,
        feedback.c.reason_code,
        feedback.c.reason_system,
    )
    .join(feedback, feedback.c.card == shown_cards.c.card)
    .where(
        shown_cards.c.subject_hash.in_(bindparam("subjects", expanding=True)),
        shown_cards.c.finding_hash.in_(bindparam("findings", expanding=True)),
        feedback.c.card_match == "matched",
        feedback.c.acted_at >= bindparam("since"),
    )
    .order_by(feedback.c.acted_at, feedback.c.id)
)


_ANSWERED: Final = exists().where(feedback.c.card == shown_cards.c.card, feedback.c.card_match == "matched")
_OLD_CARDS: Final = delete(shown_cards).where(
    shown_cards.c.card.in_(
        select(shown_cards.c.card)
        .where(shown_cards.c.shown_at < bindparam("before"), ~_ANSWERED)
        .limit(bindparam("most"))
    )
)
_OLD_UNMATCHED: Final = delete(feedback).where(
    feedback.c.id.in_(
        select(feedback.c.id)
        .where(feedback.c.card_match.in_(UNMATCHED), feedback.c.received_at < bindparam("before"))
        .limit(bindparam("most"))
    )
)


@cache
def _insert_shown(dialect: str) -> Any:
    return upsert(dialect, shown_cards).on_conflict_do_nothing().returning(shown_cards.c.card)


@cache
def _insert_feedback(dialect: str) -> Any:
    new = upsert(dialect, feedback)
    changed = new.on_conflict_do_update(
        index_elements=["item_key"],
        set_={"received_count": feedback.c.received_count + new.excluded.received_count},
    )
    return changed.returning(feedback.c.item_key, feedback.c.received_count, feedback.c.card_match)


def write_shown(connection: Connection, given: Sequence[tuple[Sequence[ShownCard], Screen | None]]) -> list[int]:
    """Of each answer, its screen put in the place of what was seen there before, and the cards that are not known yet
    added: how many. Feedback that came before its card is linked to it now (F24)."""
    for _, screen in given:
        if screen is not None:
            _write_screen(connection, screen)
    rows: dict[str, dict[str, Any]] = {}
    for row in (_shown_row(card) for cards, _ in given for card in cards):
        rows.setdefault(row["card"], row)
    if not rows:
        return [0 for _ in given]
    added = set(connection.execute(_insert_shown(connection.dialect.name), list(rows.values())).scalars())
    for found in connection.execute(_EARLY, {"cards": list(rows)}).mappings().all():
        connection.execute(
            update(feedback).where(feedback.c.id == found["id"]).values(**_linked(dict(found), rows[found["card"]]))
        )
    numbers = []
    for cards, _ in given:
        own = added.intersection(canonical_id(card.card) for card in cards)
        added -= own
        numbers.append(len(own))
    return numbers


def _write_screen(connection: Connection, screen: Screen) -> None:
    """And forget old screens."""
    connection.execute(delete(screens).where(screens.c.seen_at < screen.seen_at - _FORGOTTEN))
    row = {"screen": screen.key, "findings": list(screen.findings), "seen_at": screen.seen_at}
    new = upsert(connection.dialect.name, screens).values(row)
    connection.execute(new.on_conflict_do_update(index_elements=["screen"], set_=row))


def write_feedback(connection: Connection, items: Sequence[FeedbackItem], *, keep_comments: bool) -> FeedbackResult:
    """Add items not known yet, count up the others."""
    rows: dict[str, dict[str, Any]] = {}
    for item in items:
        key = item_key(item)
        if key in rows:
            rows[key]["received_count"] += 1
        else:
            rows[key] = _row(item, key, keep_comments)
    wanted = sorted({row["card"] for row in rows.values()})
    cards = {row["card"]: dict(row) for row in connection.execute(_CARDS, {"cards": wanted}).mappings()}
    for row in rows.values():
        row.update(_linked(row, cards.get(row["card"])))
    answer = connection.execute(_insert_feedback(connection.dialect.name), list(rows.values())).all()
    new = sum(1 for key, count, _ in answer if count == rows[key]["received_count"])
    unmatched = sum(1 for _, _, match in answer if match != "matched")
    return FeedbackResult(stored=new, repeated=len(items) - new, unmatched=unmatched)


def check_write(connection: Connection) -> None:
    """Write some pages, to learn whether that is possible again."""
    connection.execute(delete(write_check))
    connection.execute(insert(write_check).values(id=1, filler=_FILLER))


def purge(connection: Connection, keep: Retention, now: datetime, most: int) -> int:
    """Delete what is kept no longer, at most so many rows of each table; returns how many rows."""
    gone = 0
    for statement, age in ((_OLD_CARDS, keep.cards), (_OLD_UNMATCHED, keep.unmatched)):
        if age is not None:
            gone += connection.execute(statement, {"before": now - age, "most": most}).rowcount
    return gone


def read_past(
    connection: Connection, wanted: Iterable[SubjectFinding], since: datetime
) -> dict[SubjectFinding, PastOutcome]:
    """The newest matched outcome per (subject hash, finding hash) acted on at or after `since`."""
    pairs, names = _names(wanted)
    newest: dict[SubjectFinding, PastOutcome] = {}
    for subject, finding, *rest in connection.execute(_PAST, names | {"since": since}):
        if (subject, finding) in pairs:
            newest[subject, finding] = PastOutcome(*rest)
    return newest


def read_screens(connection: Connection, screens_: Iterable[str], since: datetime) -> set[str]:
    """The findings that stand on any of these screens, if they were seen at or after `since`."""
    found = select(screens.c.findings).where(screens.c.screen.in_(list(screens_)), screens.c.seen_at >= since)
    return {finding for (findings,) in connection.execute(found) for finding in findings}


def _names(wanted: Iterable[SubjectFinding]) -> tuple[set[SubjectFinding], dict[str, Any]]:
    """The pairs, and all that a statement looks for: it finds their halves in any combination."""
    pairs = set(wanted)
    subjects, findings = ({pair[half] for pair in pairs} for half in (0, 1))
    return pairs, {"subjects": sorted(subjects), "findings": sorted(findings)}


_SHOWN_TOO: Final = tuple(
    shown_cards.c[name]
    for name in (
        "shown_at", "hook", "rule", "rule_version", "indicator", "software_version", "content_version", "site_revision",
    )
)  # fmt: skip
_ANSWER: Final = tuple(
    feedback.c[name]
    for name in (
        "outcome", "outcome_at", "received_at", "suggestions", "reason_code", "reason_system", "reason_display",
        "comment", "comment_cut", "card_match",
    )
)  # fmt: skip
EXPORTED: Final = ("client", "service", "card", *(column.name for column in (*_SHOWN_TOO, *_ANSWER)))
"""The columns of `read_feedback`."""


def read_feedback(
    connection: Connection,
    since: datetime | None = None,
    until: datetime | None = None,
    client: str | None = None,
    ignored: bool = False,
) -> list[dict[str, Any]]:
    """Feedback with the card it is on, by time; with `ignored` the cards that nobody answered too. `client` is all its
    tenants."""
    first, second = (shown_cards, feedback) if ignored else (feedback, shown_cards)
    both = (shown_cards.c.card == feedback.c.card) & (feedback.c.card_match == "matched")
    own = [first.c[name] for name in ("client", "service", "card")]
    moment = shown_cards.c.shown_at if ignored else feedback.c.received_at
    asked = (
        select(*own, *_SHOWN_TOO, *_ANSWER).select_from(first.outerjoin(second, both)).order_by(moment, feedback.c.id)
    )
    if since is not None:
        asked = asked.where(moment >= since)
    if until is not None:
        asked = asked.where(moment < until)
    if client is not None:
        asked = asked.where((first.c.client == client) | first.c.client.startswith(f"{client}/", autoescape=True))
    return [{str(name): value for name, value in row.items()} for row in connection.execute(asked).mappings()]


def _shown_row(card: ShownCard) -> dict[str, Any]:
    """As `asdict`, in a tenth of its time."""
    return {name: getattr(card, name) for name in ShownCard.__slots__} | {
        "card": canonical_id(card.card),
        "suggestions": [canonical_id(one) for one in card.suggestions],
        "override_reasons": [{name: getattr(one, name) for name in Reason.__slots__} for one in card.override_reasons],
    }


def _row(item: FeedbackItem, key: str, keep_comments: bool) -> dict[str, Any]:
    comment, cut = bounded_comment(item.comment) if item.comment is not None and keep_comments else (None, False)
    return asdict(item) | {
        "item_key": key,
        "card": canonical_id(item.card),
        "received_count": 1,
        "suggestions": sorted({canonical_id(one) for one in item.suggestions}),
        "comment": comment,
        "comment_cut": cut,
    }


def _linked(row: Mapping[str, Any], card: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of a feedback row that depend on the card it names. Words of a reason on that card are ours.

    The client's clock may be wrong: acted_at is its time, held between the showing of the card and the receipt.
    """
    match = _match(row, card)
    received = row["received_at"].astimezone(UTC)
    acted = min(row["outcome_at"].astimezone(UTC), received)
    display = row["reason_display"]
    if card is not None and match == "matched":
        acted = max(acted, min(card["shown_at"].astimezone(UTC), received))
        for reason in card["override_reasons"]:
            if reason["code"] == row["reason_code"] and row["reason_system"] in (None, reason["system"]):
                display = reason["display"]
                break
    return {"card_match": match, "acted_at": acted, "reason_display": display}


def _match(row: Mapping[str, Any], card: Mapping[str, Any] | None) -> CardMatch:
    if card is None:
        return "unknown_card"
    if card["client"] != row["client"]:
        return "other_client"
    if card["service"] != row["service"]:
        return "other_service"
    if not set(row["suggestions"]) <= set(card["suggestions"]):
        return "unknown_suggestion"
    return "matched"
