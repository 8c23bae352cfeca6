"""What makes two items, subjects or findings the same: properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.store import FeedbackItem
from cds_service.store.keys import HashKey
from cds_service.store.records import bounded_comment, item_key

TEXTS = st.text(max_size=12)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
ITEMS = st.builds(
    FeedbackItem,
    service=TEXTS,
    client=TEXTS,
    card=TEXTS | st.uuids().map(str),
    outcome=st.sampled_from(["accepted", "overridden"]),
    outcome_at=MOMENTS,
    received_at=MOMENTS,
    suggestions=st.lists(TEXTS | st.uuids().map(str), max_size=4).map(tuple),
)
KEY = HashKey("a secret of thirty-two characters")


def identity(item: FeedbackItem) -> tuple[object, ...]:
    """The same, said in another way than by hashing."""
    suggestions = frozenset(one.lower() if len(one) == 36 else one for one in item.suggestions)
    card = item.card.lower() if len(item.card) == 36 else item.card
    return item.client, item.service, card, item.outcome, item.outcome_at, suggestions


@settings(max_examples=50)
@given(ITEMS, st.randoms(use_true_random=False), st.integers(-840, 840), MOMENTS, TEXTS)
def test_order_repeats_case_zone_receipt_and_words_do_not_make_another_item(
    item: FeedbackItem, random: Random, offset: int, received: datetime, words: str
) -> None:
    suggestions = [*item.suggestions, *item.suggestions[:1]]
    random.shuffle(suggestions)
    same = replace(
        item,
        suggestions=tuple(one.upper() if len(one) == 36 else one for one in suggestions),
        card=item.card.upper() if len(item.card) == 36 else item.card,
        outcome_at=item.outcome_at.astimezone(timezone(timedelta(minutes=offset))),
        received_at=received,
        reason_code=words,
        reason_system=words,
        comment=words,
    )
    assert item_key(same) == item_key(item)


@given(ITEMS, ITEMS)
def test_items_have_one_key_exactly_when_they_are_one_item(one: FeedbackItem, other: FeedbackItem) -> None:
    assert (item_key(one) == item_key(other)) == (identity(one) == identity(other))


@given(ITEMS, TEXTS.filter(bool), st.timedeltas(timedelta(microseconds=1), timedelta(days=1)))
def test_each_part_of_an_item_matters(item: FeedbackItem, more: str, later: timedelta) -> None:
    other = "overridden" if item.outcome == "accepted" else "accepted"
    changed = [
        replace(item, client=item.client + more),
        replace(item, service=item.service + more),
        replace(item, card=item.card + "x" + more),  # no UUID, whatever `more` is: braces alone change none
        replace(item, outcome=other),
        replace(item, outcome_at=item.outcome_at + later),
        replace(item, suggestions=(*item.suggestions, "a suggestion that is none of the others")),
    ]
    keys = {item_key(one) for one in (item, *changed)}
    assert len(keys) == len(changed) + 1


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
def test_findings_have_one_hash_exactly_when_their_parts_are_the_same(one: list[str], other: list[str]) -> None:
    """No two lists look the same for being joined: ("ab", "c") is not ("a", "bc")."""
    assert (KEY.finding(one) == KEY.finding(other)) == (one == other)
    assert KEY.finding(["ab", "c"]) != KEY.finding(["a", "bc"])


@given(TEXTS, TEXTS, TEXTS)
def test_a_subject_is_told_from_a_finding_and_depends_on_the_key(client: str, patient: str, rule: str) -> None:
    subject = KEY.subject(client, patient, rule)
    assert subject != KEY.finding([client, patient, rule])
    assert subject != HashKey("another secret of some characters").subject(client, patient, rule)
    assert subject.startswith(f"{KEY.fingerprint}.")
    assert len(subject) == 8 + 1 + 64


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=3000))
def test_a_comment_is_bounded_and_never_ends_in_half_a_character(text: str) -> None:
    kept, cut = bounded_comment(text)
    assert len(kept.encode()) <= 4096
    assert text.startswith(kept)
    assert cut == (kept != text)
    assert not cut or len(kept.encode()) > 4096 - 4
