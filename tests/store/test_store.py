"""What the store keeps and tells, on both databases."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, event, select

from cds_service.store import (
    FeedbackItem,
    FeedbackResult,
    Reason,
    ShownCard,
    Store,
    StoreUnavailable,
)
from cds_service.store import writer as writing
from cds_service.store.tables import feedback, shown_cards
from cds_service.store.writer import Job
from tests.store.conftest import Opener
from tests.store.helpers import HOUR, NOW, REFUSED, accepted, card, counts, eventually, newest_outcome, overridden


def kept(store: Store) -> list[dict[str, object]]:
    with store._reader.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(feedback).order_by(feedback.c.id)).mappings()]


def test_a_shown_card_is_on_disk_when_a_hook_that_waits_goes_on(store: Store) -> None:
    shown = card()
    store.record_shown([shown])
    with store._reader.engine.connect() as connection:
        (row,) = connection.execute(select(shown_cards)).mappings()
    assert row["shown_at"] == shown.shown_at
    assert row["suggestions"] == list(shown.suggestions)
    assert row["override_reasons"] == [{"code": REFUSED.code, "system": REFUSED.system, "display": REFUSED.display}]
    for name in ("card", "rule", "rule_version", "service", "hook", "indicator", "client", "software_version"):
        assert row[name] == getattr(shown, name)
    for name in ("content_version", "site_revision", "subject_hash", "finding_hash"):
        assert row[name] == getattr(shown, name)
    assert store.counters().shown_written == 1


def test_the_same_card_recorded_twice_is_one_card(store: Store) -> None:
    shown = card()
    store.record_shown([shown])
    store.record_shown([shown, replace(shown, rule="other")])
    assert counts(store) == {"low_magnesium": (1, 0, 0)}
    assert store.counters().shown_written == 1


def test_words_of_a_reason_come_from_our_own_card(store: Store) -> None:
    shown = card(override_reasons=(Reason("x", "http://other", "Other"), REFUSED))
    store.record_shown([shown])
    same, unknown = (
        overridden(shown, reason_code=code, reason_system=REFUSED.system, outcome_at=NOW - offset)
        for code, offset in ((REFUSED.code, HOUR * 0.1), ("made-up", HOUR * 0.2))
    )
    without_system = overridden(shown, reason_code=REFUSED.code, outcome_at=NOW - HOUR * 0.3)
    store.record_feedback([same, unknown, without_system])
    displays = {(row["reason_code"], row["reason_system"]): row["reason_display"] for row in kept(store)}
    assert displays == {
        (REFUSED.code, REFUSED.system): "Patient refused",
        ("made-up", REFUSED.system): None,
        (REFUSED.code, None): "Patient refused",
    }


def test_the_same_item_again_counts_up_and_adds_nothing(store: Store) -> None:
    shown = card()
    store.record_shown([shown])
    item = accepted(shown, suggestions=("suggestion-2", "suggestion-1"), comment="first")
    again = replace(
        item,
        suggestions=("suggestion-1", "suggestion-2", "suggestion-1"),
        card=shown.card.upper(),
        outcome_at=item.outcome_at.astimezone(timezone(timedelta(hours=5))),
        received_at=NOW + HOUR * 72,
        comment="second",
    )
    assert store.record_feedback([item, item]) == FeedbackResult(1, 1, 0)
    assert store.record_feedback([again]) == FeedbackResult(0, 1, 0)
    (row,) = kept(store)
    assert row["received_count"] == 3
    assert (row["comment"], row["received_at"]) == ("first", NOW)


def test_fifty_threads_with_the_same_item_make_one_row(store: Store) -> None:
    shown = card()
    store.record_shown([shown])
    item = accepted(shown)
    start = threading.Barrier(50)
    results: list[FeedbackResult] = []

    def send() -> None:
        start.wait()
        results.append(store.record_feedback([item]))

    threads = [threading.Thread(target=send) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 50
    assert sum(result.stored for result in results) == 1
    assert [row["received_count"] for row in kept(store)] == [50]


def test_two_stores_on_one_database_know_each_others_items(database: Opener) -> None:
    one, other = database(), database()
    shown = card()
    one.record_shown([shown])
    assert one.record_feedback([accepted(shown)]).stored == 1
    assert other.record_feedback([accepted(shown)]) == FeedbackResult(0, 1, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"card": "00000000-0000-4000-8000-000000000000"}, "unknown_card"),
        ({"card": "not a card of ours"}, "unknown_card"),
        ({"client": "another"}, "other_client"),
        ({"service": "magnesium-order-sign"}, "other_service"),
        ({"suggestions": ("suggestion-1", "suggestion-9")}, "unknown_suggestion"),
        ({}, "matched"),
    ],
)
def test_feedback_on_a_card_not_shown_to_its_sender_is_kept_and_counts_for_nothing(
    store: Store, change: dict[str, object], match: str
) -> None:
    shown = card()
    store.record_shown([shown])
    result = store.record_feedback([accepted(shown, **change)])
    assert result == FeedbackResult(1, 0, 0 if match == "matched" else 1)
    assert [row["card_match"] for row in kept(store)] == [match]
    silenced = newest_outcome(store, shown.subject_hash, shown.finding_hash, NOW - HOUR)
    assert (silenced is not None) == (match == "matched")
    assert counts(store)["low_magnesium"][1] == (1 if match == "matched" else 0)


def test_nobody_can_make_anothers_feedback_look_like_a_repeat(store: Store) -> None:
    shown = card()
    store.record_shown([shown])
    store.record_feedback([accepted(shown, client="attacker")])
    assert store.record_feedback([accepted(shown)]) == FeedbackResult(1, 0, 0)


def test_feedback_that_came_before_its_card_is_linked_when_the_card_comes(store: Store) -> None:
    shown = card()
    foreign = card()
    early = overridden(shown, reason_code=REFUSED.code, reason_system=REFUSED.system)
    assert store.record_feedback([early, accepted(foreign, client="other")]).unmatched == 2
    store.record_shown([shown, foreign])
    assert [(row["card_match"], row["reason_display"]) for row in kept(store)] == [
        ("matched", "Patient refused"),
        ("other_client", None),
    ]


def test_the_newest_outcome_of_a_finding_is_told_with_its_reason(store: Store) -> None:
    first, second = card(), card()
    store.record_shown([first, second, card(subject_hash="other"), card(finding_hash="other")])
    store.record_feedback([accepted(first, outcome_at=NOW - HOUR * 0.5)])
    past = newest_outcome(store, "subject", "finding", NOW - HOUR)
    assert past is not None
    assert (past.outcome, past.card, past.acted_at) == ("accepted", first.card, NOW - HOUR * 0.5)
    store.record_feedback([overridden(second, reason_code=REFUSED.code, reason_system=REFUSED.system)])
    past = newest_outcome(store, "subject", "finding", NOW - HOUR)
    assert past is not None
    assert (past.outcome, past.reason_code, past.reason_system) == (
        "overridden",
        REFUSED.code,
        REFUSED.system,
    )
    assert newest_outcome(store, "subject", "finding", NOW + HOUR) is None
    assert newest_outcome(store, "subject", "other", NOW - HOUR) is None


def test_all_findings_of_a_call_are_looked_up_in_one_read(store: Store) -> None:
    one, two = (card(subject_hash=f"subject {number}", finding_hash=f"finding {number}") for number in (1, 2))
    store.record_shown([one, two])
    store.record_feedback([accepted(one), overridden(two)])
    wanted = [
        ("subject 1", "finding 1"),
        ("subject 2", "finding 2"),
        ("subject 1", "finding 2"),
        ("subject 3", "finding 3"),
    ]
    found = store.past_outcomes(wanted, NOW - HOUR)
    assert {key: past.outcome for key, past in found.items()} == {
        wanted[0]: "accepted",
        wanted[1]: "overridden",
    }
    assert store.past_outcomes([], NOW) == {}


@pytest.mark.parametrize(
    ("claimed", "held"),
    [
        (NOW + HOUR * 24 * 400, NOW),
        (datetime(1, 1, 1, tzinfo=UTC), NOW - HOUR),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), NOW),
        (NOW - HOUR * 0.5, NOW - HOUR * 0.5),
    ],
    ids=["next year", "year one", "the last moment", "plausible"],
)
def test_a_clients_clock_silences_nothing_before_or_after_its_time(
    store: Store, claimed: datetime, held: datetime
) -> None:
    shown = card()
    store.record_shown([shown])
    store.record_feedback([accepted(shown, outcome_at=claimed)])
    (row,) = kept(store)
    assert (row["outcome_at"], row["acted_at"]) == (claimed, held)


def test_a_long_comment_is_cut_at_a_character_and_says_so(store: Store) -> None:
    shown = card()
    store.record_feedback(
        [
            overridden(shown, comment="é" * 3000, outcome_at=NOW - HOUR),
            overridden(shown, comment="é" * 2048),
        ]
    )
    assert [(row["comment"], row["comment_cut"]) for row in kept(store)] == [
        ("é" * 2048, True),
        ("é" * 2048, False),
    ]


def test_comments_can_be_switched_off(database: Opener) -> None:
    store = database(keep_comments=False)
    store.record_feedback([overridden(card(), comment="Mrs Example refuses", reason_code="other")])
    assert [(row["comment"], row["reason_code"]) for row in kept(store)] == [(None, "other")]


def test_counts_per_rule(store: Store) -> None:
    one, two, three = card(), card(), card(rule="timing")
    store.record_shown([one, two, three, card(rule="timing")])
    store.record_feedback([accepted(one), accepted(one, outcome_at=NOW + HOUR), overridden(one)])
    store.record_feedback([overridden(two), overridden(three), accepted(card())])
    assert counts(store) == {"low_magnesium": (2, 1, 2), "timing": (2, 0, 1)}


def test_one_callers_bad_data_takes_no_others_with_it(store: Store) -> None:
    """Both are in one commit: the first is held up so that the others gather behind it."""
    good, bad = accepted(card()), accepted(card(), outcome_at=datetime(2026, 1, 1))
    outcomes: dict[str, object] = {}

    def send(name: str, item: FeedbackItem) -> None:
        try:
            outcomes[name] = store.record_feedback([item])
        except StoreUnavailable as error:
            outcomes[name] = error.kind

    started, gate = threading.Event(), threading.Event()

    def hold_up(_: Connection) -> None:
        started.set()
        gate.wait(1)

    slow = threading.Thread(target=store._write, args=(hold_up,))
    slow.start()
    assert started.wait(1)
    threads = [threading.Thread(target=send, args=pair) for pair in (("good", good), ("bad", bad))]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + 1
    while len(store._writer._first) < 2 and time.monotonic() < give_up:
        time.sleep(0.005)
    gate.set()
    for thread in [slow, *threads]:
        thread.join()
    assert outcomes == {"good": FeedbackResult(1, 0, 1), "bad": "refused"}
    store.ping()


def test_records_of_many_answers_are_added_by_one_statement_and_each_once(store: Store) -> None:
    gate, held, inserts = threading.Event(), threading.Event(), list[str]()
    event.listen(store._write_engine, "before_cursor_execute", lambda *told: inserts.append(told[2]))
    store._writer.submit(Job(lambda _: held.set() or gate.wait(60), time.monotonic() + 60))
    assert held.wait(30)
    cards = [card() for _ in range(30)]
    for shown in [*cards, cards[0], replace(cards[1], rule="other")]:
        store.record_shown([shown], wait=False)
    gate.set()
    assert eventually(lambda: store.counters().shown_written == len(cards))
    assert len([one for one in inserts if one.startswith("INSERT INTO shown_cards")]) == 1
    assert counts(store) == {"low_magnesium": (len(cards), 0, 0)}
    assert store.counters().shown_dropped == 0


def test_records_that_nobody_waits_for_gather_until_somebody_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "GATHER", 60.0)
    store.record_shown([card()], wait=False)
    assert eventually(lambda: store.counters().shown_written == 1), "the first waits for no other"
    late = [card() for _ in range(5)]
    for shown in late:
        store.record_shown([shown], wait=False)
    assert store.counters().shown_written == 1
    store.record_shown([card()])
    assert eventually(lambda: store.counters().shown_written == 7)
    store.record_shown([late[0]], wait=False)
    store.record_shown([other := card()], wait=False)
    assert store.record_feedback([accepted(other)]).unmatched == 0
    assert store.counters().shown_written == 8


def test_a_closed_store_refuses_feedback_and_lets_advice_pass(store: Store) -> None:
    store.close()
    store.close()
    store.record_shown([card()])
    assert store.counters().shown_dropped == 1
    assert newest_outcome(store, "subject", "finding", NOW) is None
    with pytest.raises(StoreUnavailable, match="closed"):
        store.record_feedback([accepted(card())])
    with pytest.raises(StoreUnavailable, match="closed"):
        store.ping()


def test_closing_writes_what_still_waits(database: Opener) -> None:
    store = database(shown_wait=0.0)
    cards: list[ShownCard] = [card() for _ in range(40)]
    for one in cards:
        store.record_shown([one])
    store.close()
    assert store.counters().shown_written == 40
    assert store.counters().shown_dropped == 0
    assert counts(database()) == {"low_magnesium": (40, 0, 0)}


def test_nothing_to_write_is_not_written(store: Store) -> None:
    store.record_shown([])
    assert store.record_feedback([]) == FeedbackResult(0, 0, 0)
    assert store.counters().shown_written == 0
