"""Revisions of the site values, on both databases: numbered, never changed, in force by time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import DatabaseError

from cds_service.store import NewRevision, Revision, Store
from cds_service.store.tables import revisions
from tests.store.conftest import Opener

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def written(based_on: int, text: str = "site: Test hospital", start: datetime = NOON, **more: object) -> NewRevision:
    new = NewRevision(text, "abc", "Anna", "Our laboratory's interval", NOON, start, based_on)
    return replace(new, **more)  # type: ignore[arg-type]


def in_force(store: Store, now: datetime) -> int | None:
    found = store.revision_in_force(now)
    return found.number if found else None


def published(store: Store, new: NewRevision) -> Revision:
    made = store.publish(new)
    assert isinstance(made, Revision), made
    return made


def test_before_the_first_revision_nothing_is_set(store: Store) -> None:
    assert store.revision_in_force(NOON) is None
    assert store.revisions() == []


def test_a_revision_comes_back_as_it_was_written(store: Store) -> None:
    changes = ({"key": "shared.lower_limit", "old": "0.70 mmol/L", "new": "0.66 mmol/L"},)
    made = published(store, written(0, changes=changes, effect={"cards": {"more": 2}}, approved_by="Ben"))
    assert made.number == 1
    assert store.revision_in_force(NOON) == made
    assert store.revisions() == [made]


def test_the_second_of_two_who_began_from_the_same_revision_is_told_so(store: Store) -> None:
    published(store, written(0))
    assert store.publish(written(0, "site: Another")) == "conflict"
    assert [item.document for item in store.revisions()] == ["site: Test hospital"]


def test_of_many_who_publish_at_once_one_wins(database: Opener) -> None:
    stores = [database() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        tried = list(pool.map(lambda number: stores[number % 4].publish(written(0, f"site: {number}")), range(16)))
    won = [item for item in tried if isinstance(item, Revision)]
    assert len(won) == 1
    assert set(tried) - set(won) == {"conflict"}
    assert stores[0].revisions() == won


def test_one_for_tomorrow_is_in_force_tomorrow(store: Store) -> None:
    published(store, written(0))
    published(store, written(1, start=NOON + DAY))
    assert [in_force(store, NOON + at) for at in (timedelta(0), DAY - timedelta(seconds=1), DAY)] == [1, 1, 2]


def test_one_that_ends_gives_way_to_the_one_before(store: Store) -> None:
    published(store, written(0))
    published(store, written(1, in_force_until=NOON + DAY))
    assert [in_force(store, NOON + at) for at in (timedelta(0), DAY - timedelta(seconds=1), DAY)] == [2, 2, 1]


def test_nothing_is_published_under_one_that_waits(store: Store) -> None:
    published(store, written(0, start=NOON + DAY))
    assert store.publish(written(1)) == "one is waiting"
    assert store.withdraw(1, "Ben", NOON) is None
    assert published(store, written(1)).number == 2
    assert in_force(store, NOON + 2 * DAY) == 2
    taken_back = store.revisions()[1]
    assert (taken_back.withdrawn_by, taken_back.withdrawn_at) == ("Ben", NOON)


@pytest.mark.parametrize(("number", "start"), [(1, NOON), (7, NOON + DAY)], ids=["in force", "unknown"])
def test_only_one_that_waits_is_withdrawn(store: Store, number: int, start: datetime) -> None:
    published(store, written(0, start=start))
    assert store.withdraw(number, "Ben", NOON) == "not waiting"
    assert store.revisions()[0].withdrawn_at is None


def test_a_revision_is_withdrawn_once(store: Store) -> None:
    published(store, written(0, start=NOON + DAY))
    assert [store.withdraw(1, name, NOON) for name in ("Ben", "Anna")] == [None, "not waiting"]


def test_state_of_each(store: Store) -> None:
    for number, start in enumerate((NOON, NOON, NOON + DAY)):
        published(store, written(number, start=start))
    found = {item.number: item.state(NOON, in_force(store, NOON)) for item in store.revisions()}
    assert found == {1: "past", 2: "in force", 3: "waiting"}


@pytest.mark.parametrize("change", [lambda: update(revisions).values(author="Eve"), lambda: revisions.delete()])
def test_the_database_refuses_to_change_a_revision(store: Store, change: Callable[[], object]) -> None:
    published(store, written(0))
    with pytest.raises(DatabaseError, match="never changed"), store._write_engine.begin() as connection:
        connection.execute(change())  # type: ignore[call-overload]
    assert store.revisions()[0].author == "Anna"
