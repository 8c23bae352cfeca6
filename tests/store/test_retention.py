"""What is deleted for its age, and what never is, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from cds_service.store import FeedbackResult, Retention, ShownCard, Store
from cds_service.store import store as stores
from cds_service.store.tables import feedback, shown_cards
from tests.conftest import NOW as TODAY
from tests.store.conftest import Opener
from tests.store.helpers import NOW, accepted, card, counts, overridden
from tests.store.test_trouble import eventually
from tests.trust.support import SERVICE, body_for

DAY = timedelta(days=1)
KEEP = Retention(cards=30 * DAY, unmatched=7 * DAY)


def cards_left(store: Store) -> set[str]:
    with store._reader.engine.connect() as connection:
        return set(connection.execute(select(shown_cards.c.card)).scalars())


def feedback_left(store: Store) -> set[str]:
    with store._reader.engine.connect() as connection:
        return set(connection.execute(select(feedback.c.card)).scalars())


def aged(days: float) -> ShownCard:
    return card(shown_at=NOW - days * DAY)


def test_a_card_that_nobody_answered_goes_and_one_that_was_answered_stays_with_its_feedback(database: Opener) -> None:
    old, answered, kept, today = aged(31), aged(900), aged(29), aged(0)
    store = database()
    store.record_shown([old, answered, kept])
    store.record_feedback([overridden(answered, received_at=NOW - 899 * DAY)])
    later = database(keep=KEEP)
    later.record_shown([today])
    assert eventually(lambda: later.counters().purged == 1)
    assert cards_left(later) == {answered.card, kept.card, today.card}
    assert feedback_left(later) == {answered.card}
    assert counts(later, NOW - 30 * DAY) == {"low_magnesium": (2, 0, 0)}


def test_feedback_on_no_card_of_ours_goes_after_its_own_time(database: Opener) -> None:
    shown, stranger, newer = aged(20), card(), card()
    store = database()
    store.record_shown([shown])
    store.record_feedback(
        [
            accepted(shown, client="other", received_at=NOW - 8 * DAY),
            accepted(stranger, received_at=NOW - 8 * DAY),
            accepted(newer, received_at=NOW - 6 * DAY),
        ]
    )
    later = database(keep=KEEP)
    later.record_feedback([accepted(shown)])
    assert eventually(lambda: later.counters().purged == 2)
    assert feedback_left(later) == {newer.card, shown.card}
    assert cards_left(later) == {shown.card}


def test_f24_feedback_after_its_card_went_is_accepted_and_belongs_to_none(database: Opener) -> None:
    old = aged(31)
    store = database(keep=KEEP)
    store.record_shown([old])
    store._purge_at = 0.0
    store.record_shown([aged(0)])
    assert eventually(lambda: store.counters().purged == 1)
    assert store.record_feedback([accepted(old)]) == FeedbackResult(1, 0, 1)


def test_a_little_is_deleted_at_a_time(database: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PURGE_ROWS", 10)
    database().record_shown([aged(100) for _ in range(35)])
    store = database(keep=KEEP)
    for gone in (10, 20, 30, 35):
        store.record_shown([aged(0)])
        assert eventually(lambda gone=gone: store.counters().purged == gone)
        assert store._purge_at > 0, "not again with the next write"
        store._purge_at = 0.0
    assert len(cards_left(store)) == 4


def test_without_a_limit_all_is_kept(database: Opener) -> None:
    store = database()
    store.record_shown([aged(9000)])
    store.record_feedback([accepted(card(), received_at=NOW - 9000 * DAY)])
    store.record_shown([aged(0)])
    store.close()
    assert store.counters().purged == 0
    assert len(cards_left(database())) == 2


def test_the_service_deletes_as_its_settings_say(make_app: Callable[..., Flask]) -> None:
    clock: list[datetime] = [TODAY]
    app = make_app(now=lambda: clock[0], keep_cards_days=30)
    store: Store = app.extensions["advisor"].store
    (first,) = app.test_client().post(SERVICE, json=body_for(app)).json["cards"]
    clock[0] += 31 * DAY
    store._purge_at = 0.0
    assert app.test_client().post(SERVICE, json=body_for(app)).json["cards"]
    assert eventually(lambda: store.counters().purged == 1)
    assert first["uuid"] not in cards_left(store)
