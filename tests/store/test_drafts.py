"""Drafts of the site values, on both databases: saved by version, approved as they stand, published whole or not."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service.store import Draft, DraftText, NewRevision, Revision, Store, StoreUnavailable
from tests.conformance.calls import until
from tests.store.conftest import Opener
from tests.support.requires import require

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEXT = DraftText("A lower limit", "site: Test hospital", "Our laboratory's interval", 0)


def begun(store: Store, owner: str = "Anna", **more: Any) -> Draft:
    return store.add_draft(replace(TEXT, **more), owner, NOON)


def saved(store: Store, draft: Draft, by: str, **more: Any) -> Draft:
    text = replace(TEXT, **more)
    made = store.save_draft(draft.id, draft.version, text, by, NOON + HOUR)
    assert isinstance(made, Draft), made
    return made


def revision_of(draft: Draft) -> NewRevision:
    return NewRevision(draft.document, "abc", "Anna", draft.reason, NOON, NOON, draft.based_on, None, draft.approved_by)


def published(store: Store, draft: Draft, needs_approval: bool = False) -> Any:
    return store.publish_draft(draft.id, draft.version, revision_of(draft), needs_approval=needs_approval)


def test_a_draft_comes_back_as_it_was_written(store: Store) -> None:
    made = begun(store, in_force_from=NOON + HOUR, in_force_until=NOON + 2 * HOUR)
    assert (made.owner, made.authors, made.version, made.open, made.approved) == ("Anna", ("Anna",), 1, True, False)
    assert store.draft(made.id) == made
    assert store.drafts() == [made]
    edited = saved(store, made, "Ben", document="site: Another")
    assert (edited.version, edited.authors, edited.changed_by) == (2, ("Anna", "Ben"), "Ben")
    assert store.draft(made.id) == edited
    assert [store.draft_document(made.id, version) for version in (1, 2, 3)] == [TEXT.document, "site: Another", None]


def test_who_saves_an_old_version_overwrites_nothing(store: Store) -> None:
    made = begun(store)
    saved(store, made, "Ben", document="site: Bens")
    assert store.save_draft(made.id, 1, replace(TEXT, document="site: Annas"), "Anna", NOON) == "stale"
    found = store.draft(made.id)
    assert found is not None and found.document == "site: Bens"


def test_of_many_who_save_at_once_one_wins_and_the_others_are_told(database: Opener) -> None:
    stores = [database() for _ in range(3)]
    made = begun(stores[0])

    def save(number: int) -> Any:
        text = replace(TEXT, document=f"site: {number}")
        return stores[number % 3].save_draft(made.id, 1, text, f"Editor {number}", NOON)

    with ThreadPoolExecutor(6) as pool:
        tried = list(pool.map(save, range(12)))
    won = [item for item in tried if isinstance(item, Draft)]
    assert len(won) == 1 and tried.count("stale") == 11
    assert stores[0].draft(made.id) == won[0]


def test_nobody_approves_what_they_wrote(store: Store) -> None:
    made = saved(store, begun(store), "Ben", document="site: Another")
    for name in ("Anna", "Ben", " anna "):
        assert store.approve_draft(made.id, 2, name, NOON) == "author"
    approved = store.approve_draft(made.id, 2, "Cleo", NOON)
    assert isinstance(approved, Draft) and approved.approved
    assert store.approve_draft(made.id, 1, "Cleo", NOON) == "stale"


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        ({"document": "site: Another"}, False),
        ({"reason": "Another reason"}, False),
        ({"in_force_until": NOON + HOUR}, False),
        ({"title": "Another title"}, True),
    ],
    ids=["document", "reason", "time", "title"],
)
def test_an_edit_ends_the_approval(edit: dict[str, Any], kept: bool, store: Store) -> None:
    made = begun(store, in_force_from=NOON.astimezone().replace(microsecond=5))
    approved = store.approve_draft(made.id, 1, "Cleo", NOON)
    assert isinstance(approved, Draft)
    edited = saved(store, approved, "Anna", in_force_from=made.in_force_from, **edit)
    assert edited.approved is kept
    wanted = published(store, edited, needs_approval=True)
    assert isinstance(wanted, Revision) if kept else wanted == "not approved"


def test_who_edits_after_approving_has_not_approved(store: Store) -> None:
    made = begun(store)
    approved = store.approve_draft(made.id, 1, "Cleo", NOON)
    assert isinstance(approved, Draft)
    edited = saved(store, approved, "Cleo", title="Another title")
    assert not edited.approved, "an author now"


def test_a_published_draft_is_a_revision_and_closed(store: Store) -> None:
    made = begun(store)
    assert published(store, made, needs_approval=True) == "not approved"
    assert store.revisions() == []
    revision = published(store, made)
    assert isinstance(revision, Revision) and store.revisions() == [revision]
    assert store.drafts() == []
    found = store.draft(made.id)
    assert found is not None and found.published_as == 1
    assert published(store, made) == "closed", "once"
    assert store.save_draft(made.id, 1, TEXT, "Anna", NOON) == "closed"


def test_a_draft_of_an_old_revision_stays_open(store: Store) -> None:
    made = begun(store)
    assert isinstance(published(store, begun(store, "Ben")), Revision)
    assert published(store, made) == "conflict"
    assert store.drafts() == [made]
    newer = saved(store, made, "Anna", based_on=1)
    assert isinstance(published(store, newer), Revision)


def test_a_discarded_draft_is_closed_and_publishes_nothing(store: Store) -> None:
    made = begun(store)
    assert isinstance(store.discard_draft(made.id, 1, "Anna", NOON), Draft)
    assert store.drafts() == [] and published(store, made) == "closed"
    assert store.discard_draft(77, 1, "Anna", NOON) == "closed"


def test_the_effect_of_a_preview_is_of_one_version(store: Store) -> None:
    made = begun(store)
    approved = store.approve_draft(made.id, 1, "Cleo", NOON)
    kept = store.keep_effect(made.id, 1, {"cards": 2})
    assert isinstance(kept, Draft) and isinstance(approved, Draft)
    assert kept.effect == {"cards": 2} and kept.approved
    assert saved(store, kept, "Anna", document="site: Another").effect is None


# A process that is killed, a database that starts anew.

KILLED = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from cds_service.store import NewRevision, Store, drafts

def late(*told):
    print("half", flush=True)
    time.sleep(60)

drafts._close = late
url, folder, number = sys.argv[1:]
store = Store.open(url or None, data_dir=Path(folder), feedback_wait=60)
noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
new = NewRevision("site: Half", "abc", "Anna", "Our laboratory's interval", noon, noon, 0)
store.publish_draft(int(number), 1, new, needs_approval=False)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The URL of a database, "" for SQLite in the folder beside it."""
    url = request.getfixturevalue("postgres")() if request.param == "postgresql" else ""
    return url, tmp_path / "data"


def test_a_process_that_is_killed_in_the_middle_of_a_publish_leaves_nothing_half(place: tuple[str, Path]) -> None:
    url, folder = place
    with Store.open(url or None, data_dir=folder) as store:
        made = begun(store)
    words = [sys.executable, "-c", KILLED, url, str(folder), str(made.id)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n", "the revision is in, the draft still open"
        child.send_signal(signal.SIGKILL)
    with Store.open(url or None, data_dir=folder, feedback_wait=20) as store:
        assert store.revisions() == [] and store.drafts() == [made]
        assert isinstance(published(store, made), Revision)


def test_a_database_that_starts_anew_has_lost_nothing(postgres: Callable[[], str], folder: Path) -> None:
    url = postgres()
    with Store.open(url, data_dir=folder, feedback_wait=20) as store:
        kept = saved(store, begun(store), "Ben", document="site: Another")
        revision = published(store, begun(store))
        _restart(url)

        def back() -> bool:
            try:
                return store.drafts() == [kept] and store.revisions() == [revision]
            except StoreUnavailable:
                return False

        until(back, 20)
        until(lambda: _written(store, kept), 20)


def _written(store: Store, draft: Draft) -> bool:
    try:
        store.save_draft(draft.id, draft.version, replace(TEXT, document="site: Later"), "Ben", NOON)
    except StoreUnavailable:
        return False
    found = store.draft(draft.id)
    return found is not None and (found.document, found.version) == ("site: Later", draft.version + 1)


def _restart(url: str) -> None:
    """Stop the server of this run at once, as a crash would, and start it again."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
        data = Path(connection.execute("SHOW data_directory").fetchone()[0])
    owner = pwd.getpwuid(data.stat().st_uid)
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = {"user": owner.pw_name, "group": owner.pw_gid, "extra_groups": []}
    control = require("initdb", "tests on PostgreSQL", "postgresql").with_name("pg_ctl")
    words = [control, "-D", data, "-m", "immediate", "-l", data.parent / "log", "-w", "-t", "30", "restart"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=data.parent, **account)
