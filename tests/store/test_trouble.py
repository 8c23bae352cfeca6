"""The database is locked, full, broken or gone: advice goes on, feedback is refused in time, nothing half-written."""

import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from cds_service.store import FeedbackResult, Store, StoreUnavailable
from cds_service.store import engine as engines
from cds_service.store import store as stores
from cds_service.store.engine import FILE_NAME, WRITE_LOCK
from cds_service.store.reader import READERS
from cds_service.store.writer import Job
from tests.store.conftest import Opener
from tests.store.helpers import HOUR, NOW, accepted, card, counts, eventually, locked, newest_outcome, rows
from tests.support.timing import seconds, within

HOOK_BUDGET = 0.2
SLACK = 5.0  # a busy machine schedules late; what is locked stays so for as long as the test waits


def refused(store: Store) -> str:
    """The kind of refusal of one feedback item."""
    with pytest.raises(StoreUnavailable) as caught:
        store.record_feedback([accepted(card())])
    return caught.value.kind


def test_a_locked_database_costs_a_hook_its_budget_once(sqlite_store: Store, folder: Path) -> None:
    """F17. The call that meets the lock waits 200 ms for its read and its record together, the next ones not at all."""
    sqlite_store.record_shown([card()])
    shown = card()

    def hook() -> None:
        assert newest_outcome(sqlite_store, "subject", "finding", NOW) is None
        sqlite_store.record_shown([shown])

    with locked(folder):
        assert seconds(hook) < HOOK_BUDGET + SLACK
        assert seconds(lambda: [sqlite_store.record_shown([card()]) for _ in range(100)]) < SLACK
        assert sqlite_store.counters().reads_failed == 1
        assert sqlite_store.counters().shown_late == 101
    assert eventually(lambda: sqlite_store.counters().shown_written == 102)
    assert sqlite_store.counters().shown_dropped == 0


def test_a_record_alone_waits_no_longer_than_its_budget(sqlite_store: Store, folder: Path) -> None:
    with locked(folder), within(HOOK_BUDGET + SLACK, least=HOOK_BUDGET * 0.9):
        sqlite_store.record_shown([card()])


def test_feedback_waits_two_seconds_for_a_lock_and_is_refused(sqlite_store: Store, folder: Path) -> None:
    """F17. What was refused is not written afterwards by itself, and sent again it is one row."""
    item = accepted(card())

    def send() -> None:
        with pytest.raises(StoreUnavailable) as caught:
            sqlite_store.record_feedback([item])
        assert caught.value.kind in ("locked", "late")

    with locked(folder):
        with within(2.0 + SLACK, least=1.5):
            send()
        time.sleep(0.05)
    assert sqlite_store.record_feedback([item]) == FeedbackResult(1, 0, 1)
    assert [row["received_count"] for row in rows(folder, "SELECT * FROM feedback")] == [1]


def test_feedback_is_stored_when_the_lock_goes_in_time(sqlite_store: Store, folder: Path) -> None:
    results: list[FeedbackResult] = []
    thread = threading.Thread(target=lambda: results.append(sqlite_store.record_feedback([accepted(card())])))
    with locked(folder):
        thread.start()
        time.sleep(1.2)
    thread.join()
    assert results == [FeedbackResult(1, 0, 1)]


def test_cards_that_cannot_wait_any_more_are_counted_as_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_QUEUE", 50)
    many = 120
    with Store.open(data_dir=folder) as store:
        with locked(folder):
            for _ in range(many):
                store.record_shown([card()])
            dropped = store.counters().shown_dropped
        assert 0 < dropped <= many - 50
        assert eventually(lambda: store.counters().shown_written == many - dropped)


def test_feedback_of_one_worker_comes_in_between_the_cards_of_another(
    database: Opener,
) -> None:
    one, other = database(), database()
    gate, many = threading.Event(), 600
    one._writer.submit(Job(lambda _: gate.wait(60), time.monotonic() + 60))
    for _ in range(many):
        one.record_shown([card()], wait=False)
    sent: list[FeedbackResult] = []
    sender = threading.Thread(target=lambda: sent.append(other.record_feedback([accepted(card())])))
    sender.start()
    assert eventually(lambda: other._writer.busy_for() > 0)
    gate.set()
    sender.join()
    written = one.counters().shown_written
    assert sent == [FeedbackResult(1, 0, 1)]
    assert written < many, "it waited for all of them"
    assert eventually(lambda: one.counters().shown_written == many)


def test_a_locked_postgresql_is_bounded_the_same_way(postgres: Callable[[], str], folder: Path) -> None:
    url = postgres()
    holder = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Store.open(url, data_dir=folder, feedback_wait=1.2) as store, holder.connect() as connection:
        store.record_feedback([accepted(card())])
        connection.execute(text(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})"))
        assert seconds(lambda: store.record_shown([card()])) < HOOK_BUDGET + SLACK
        with within(1.2 + SLACK, least=0.9):
            refused(store)
        connection.rollback()
        assert eventually(lambda: store.counters().shown_written == 1)
        connection.execute(text("LOCK TABLE feedback IN ACCESS EXCLUSIVE MODE"))
        store._trouble_until = 0.0
        assert seconds(lambda: newest_outcome(store, "subject", "finding", NOW - HOUR)) < HOOK_BUDGET + SLACK
        assert store.counters().reads_failed == 1
    holder.dispose()


def test_a_postgresql_that_went_away_is_told_and_found_again(postgres: Callable[[], str], folder: Path) -> None:
    url = postgres()
    admin = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with Store.open(url, data_dir=folder) as store:
        store.record_feedback([accepted(card())])
        both = threading.Barrier(2)
        askers = [threading.Thread(target=store._read, args=(lambda _: both.wait(5), 5)) for _ in range(2)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert len(store._reader._open) == 2
        with admin.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            )
        newest_outcome(store, "subject", "finding", NOW)
        assert store.counters().reads_failed == 0  # asked again, over a new connection
        assert store.record_feedback([accepted(card())]).stored == 1
        store.ping()
    admin.dispose()


def limit_pages(store: Store, pages: int | None) -> None:
    """Let the database file grow no further than now, or freely again (None)."""
    with store._write_engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages or 1_000_000}")


def test_a_full_database_refuses_feedback_and_recovers_alone(sqlite_store: Store, folder: Path) -> None:
    """F18."""
    limit_pages(sqlite_store, 1)
    written = 0

    def fill() -> str:
        nonlocal written
        while True:
            item = accepted(card(), outcome="overridden", comment="x" * 4000)
            try:
                sqlite_store.record_feedback([item])
            except StoreUnavailable as error:
                return error.kind
            written += 1

    assert fill() == "full"
    with sqlite3.connect(folder / FILE_NAME) as connection:
        assert connection.execute("SELECT count(*) FROM feedback").fetchone() == (written,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_full_database_is_told_by_ping_until_there_is_space(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is set on every new connection, as a full disk would meet every one."""
    plain = engines.connect_sqlite
    full = True

    def connect(path: Path, **settings: Any) -> sqlite3.Connection:
        connection = plain(path, **settings)
        if full:
            connection.execute("PRAGMA max_page_count=1")  # the least it takes is the present size
        return connection

    monkeypatch.setattr(engines, "connect_sqlite", connect)
    sqlite_store._write_engine.dispose()
    big = [accepted(card(), outcome="overridden", comment="x" * 4000) for _ in range(20)]
    with pytest.raises(StoreUnavailable, match="full"):
        sqlite_store.record_feedback(big)
    assert seconds(lambda: sqlite_store.record_shown([card() for _ in range(200)])) < HOOK_BUDGET + SLACK
    assert eventually(lambda: sqlite_store.counters().shown_dropped == 200)
    with pytest.raises(StoreUnavailable, match="full"):
        sqlite_store.ping()
    assert counts(sqlite_store) == {}
    full = False
    sqlite_store.ping()
    assert sqlite_store.record_feedback(big) == FeedbackResult(20, 0, 20)


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """The kernel refuses longer files (EFBIG), which SQLite meets as an error of the disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_write_that_the_disk_refuses_is_not_acknowledged(sqlite_store: Store, folder: Path) -> None:
    """F19."""
    big = [accepted(card(), outcome="overridden", comment="x" * 4000) for _ in range(50)]
    with (
        no_file_grows_beyond((folder / FILE_NAME).stat().st_size),
        pytest.raises(StoreUnavailable, match="disk"),
    ):
        sqlite_store.record_feedback(big)
    assert rows(folder, "SELECT * FROM feedback") == []
    assert sqlite_store.record_feedback(big).stored == 50
    sqlite_store.ping()


def test_an_error_of_the_sync_is_not_tried_again_on_the_same_connection(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F19: after a failed fsync the system may say that the next one is well, and the data be lost all the same."""
    opened: list[sqlite3.Connection] = []
    commits: list[int] = []
    fail_now = False

    class Disk(sqlite3.Connection):
        def commit(self) -> None:
            commits.append(id(self))
            if fail_now and self.in_transaction:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            super().commit()

    def connect(path: Path, **settings: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Disk)
        opened.append(connection)
        return connection

    with Store.open(data_dir=folder) as store:
        monkeypatch.setattr(engines, "connect_sqlite", connect)
        store.record_feedback([accepted(card())])
        assert len(opened) == 1
        fail_now = True
        before = len(commits)
        assert refused(store) == "disk"
        assert len(commits) == before + 1
        fail_now = False
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            opened[0].execute("SELECT 1")
        assert store.record_feedback([accepted(card())]).stored == 1
        assert len(opened) == 2
    assert len(rows(folder, "SELECT * FROM feedback")) == 2


def test_nothing_is_acknowledged_into_a_file_that_was_deleted(sqlite_store: Store, folder: Path) -> None:
    """F20. SQLite alone would go on writing to the deleted file; and an empty new one would hide the loss."""
    sqlite_store.record_shown([card()])
    sqlite_store.record_feedback([accepted(card())])
    copy = (folder / FILE_NAME).read_bytes()
    (folder / FILE_NAME).unlink()
    assert refused(sqlite_store) == "gone"
    assert seconds(lambda: sqlite_store.record_shown([card()])) < HOOK_BUDGET + SLACK
    assert newest_outcome(sqlite_store, "subject", "finding", NOW) is None
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        sqlite_store.ping()
    assert not (folder / FILE_NAME).exists()
    (folder / FILE_NAME).write_bytes(copy)
    sqlite_store.ping()
    assert sqlite_store.record_feedback([accepted(card())]).stored == 1
    assert counts(sqlite_store) == {"low_magnesium": (1, 0, 0)}


def test_a_file_replaced_by_another_is_not_mixed_with_it(sqlite_store: Store, folder: Path) -> None:
    """F20: a copy is put back under a running service."""
    sqlite_store.record_feedback([accepted(card())])
    copy = folder / "copy"
    copy.write_bytes((folder / FILE_NAME).read_bytes())
    sqlite_store.record_feedback([accepted(card())])
    copy.rename(folder / FILE_NAME)
    assert refused(sqlite_store) == "gone"
    assert sqlite_store.record_feedback([accepted(card())]).stored == 1
    assert len(rows(folder, "SELECT * FROM feedback")) == 2


def test_a_file_damaged_while_in_use_refuses_feedback_and_lets_advice_pass(sqlite_store: Store, folder: Path) -> None:
    """F20."""
    for _ in range(5):
        sqlite_store.record_feedback([accepted(card(), outcome="overridden", comment="x" * 4000)])
    path = folder / FILE_NAME
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    sqlite_store._write_engine.dispose()
    sqlite_store._reader.engine.dispose()
    assert refused(sqlite_store) == "damaged"
    sqlite_store.record_shown([card()])
    assert sqlite_store.counters().shown_dropped == 1
    assert newest_outcome(sqlite_store, "subject", "finding", NOW) is None


def test_no_more_reads_wait_than_may(sqlite_store: Store) -> None:
    """A disk that hangs keeps a few reading threads, and none of those that answer hooks."""
    gate = threading.Event()
    kinds: list[str] = []

    def hang(_: object) -> None:
        gate.wait(60)

    def read() -> None:
        with pytest.raises(StoreUnavailable) as caught:
            sqlite_store._read(hang, 0.3)
        kinds.append(caught.value.kind)

    callers = [threading.Thread(target=read) for _ in range(40)]
    with within(10):
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert kinds == ["late"] * 40
    gate.set()
    assert eventually(lambda: sqlite_store._reader._places._value == 32)
    sqlite_store.ping()


def test_who_waits_for_a_free_thread_is_told_that_the_store_closes(sqlite_store: Store) -> None:
    gate, kinds = threading.Event(), list[str]()

    def read(query: Callable[[Any], Any]) -> None:
        try:
            sqlite_store._read(query, 30)
        except StoreUnavailable as error:
            kinds.append(error.kind)

    holding = [threading.Thread(target=read, args=(lambda _: gate.wait(60),)) for _ in range(READERS)]
    waiting = [threading.Thread(target=read, args=(lambda _: None,)) for _ in range(3)]
    for thread in (*holding, *waiting):
        thread.start()
    assert eventually(lambda: sqlite_store._reader._places._value == 32 - READERS - 3)
    sqlite_store._reader.close(0.0)
    for thread in waiting:
        thread.join(30)
    assert kinds == ["closed"] * 3
    gate.set()
    for thread in holding:
        thread.join(30)
