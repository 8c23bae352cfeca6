"""The store: what was shown, what came back, and one question about the past."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import structlog
from sqlalchemy import Connection, Engine, select

from cds_service.metrics.instruments import count, observe
from cds_service.store import statements
from cds_service.store.audit import AuditMemory
from cds_service.store.cards import CardMemory
from cds_service.store.counts import CountMemory, purge_counts
from cds_service.store.drafts import DraftMemory
from cds_service.store.duties import DutyMemory
from cds_service.store.errors import StoreUnavailable, unavailable
from cds_service.store.keys import HashKey
from cds_service.store.opening import open_database
from cds_service.store.outcomes import OutcomeMemory
from cds_service.store.people import PeopleMemory
from cds_service.store.reader import Reader
from cds_service.store.records import (
    FOR_EVER,
    FeedbackItem,
    FeedbackResult,
    PastOutcome,
    Retention,
    Screen,
    ShownCard,
    StoreCounters,
    canonical_id,
)
from cds_service.store.revisions import RevisionMemory
from cds_service.store.sessions import SessionMemory
from cds_service.store.statements import SubjectFinding
from cds_service.store.tables import shown_cards
from cds_service.store.tokens import TokenMemory
from cds_service.store.writer import Job, Writer

T = TypeVar("T")
log = structlog.get_logger("magnesium_cds.store")

_KEEP_SHOWN: Final = 30.0  # a card's record that meets a lock is tried for so long
_QUEUE: Final = 2000  # calls whose cards wait to be recorded; those beyond are dropped. And as many of feedback
_PURGE_ROWS: Final = 500  # of each table in one transaction: a hook that waits behind it hardly notices
_PURGE_EVERY: Final = 3600.0  # seconds between two looks for old rows
_PURGE_ON: Final = 10.0  # the same while there are more
_TROUBLE: Final = 1.0  # after a hook had to wait in vain, hooks do not wait for so long


class Store(
    CardMemory, TokenMemory, RevisionMemory, DraftMemory, PeopleMemory, SessionMemory, AuditMemory, CountMemory,
    DutyMemory, OutcomeMemory,
):  # fmt: skip
    """Safe for threads, and for a fork after `open`. All waiting is bounded.

    `notes` are remarks for the start log. `keep` says for how long what may be deleted is kept; it is deleted in small
    parts as other things are written. `shown_wait` and `feedback_wait` are seconds.
    """

    def __init__(
        self,
        *,
        reader: Engine,
        writer: Engine,
        key: HashKey,
        notes: Sequence[str] = (),
        keep_comments: bool = True,
        keep: Retention = FOR_EVER,
        shown_wait: float = 0.2,
        feedback_wait: float = 2.0,
    ) -> None:
        self.notes = tuple(notes)
        self.shown_wait = shown_wait
        self.feedback_wait = feedback_wait
        self._keep_comments = keep_comments
        self._keep = keep
        self._key = key
        self._reader = Reader(reader)
        self._write_engine = writer
        self._writer = Writer(writer, _QUEUE)
        self._closed = False
        self._reset()
        _open_stores.add(self)
        atexit.register(self.close)

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        data_dir: Path | None = None,
        key: str | None = None,
        key_file: Path | None = None,
        adopt: bool = False,
        renew: bool = True,
        keep_comments: bool = True,
        keep: Retention = FOR_EVER,
        shown_wait: float = 0.2,
        feedback_wait: float = 2.0,
    ) -> Self:
        """Make or upgrade the database and open it.

        `url`: `postgresql://...` or `sqlite:///file`; without it a file in `data_dir`. `key` or `key_file` gives the
        hash key, the same on every machine; without it one is made and kept in `data_dir`, or beside the SQLite file.
        `adopt`: it takes the place of the one that the database was written with; `renew`: only while no card was
        hashed with that. StoreError says what is wrong and what to do.
        """
        opened = open_database(url, data_dir, key, key_file, adopt=adopt, renew=renew, shown_wait=shown_wait)
        return cls(
            reader=opened.reader, writer=opened.writer, key=opened.key, notes=opened.notes, keep_comments=keep_comments,
            keep=keep, shown_wait=shown_wait, feedback_wait=feedback_wait,
        )  # fmt: skip

    @property
    def key_name(self) -> str:
        """The fingerprint of the key in use."""
        return self._key.fingerprint

    def subject_hash(self, client: str, patient_id: str, rule: str) -> str:
        """For `ShownCard.subject_hash`: tells one client's patient under one rule again, and nothing else."""
        return self._key.subject(client, patient_id, rule)

    def finding_hash(self, parts: Iterable[str]) -> str:
        """For `ShownCard.finding_hash`: `parts` are the finding's inputs, limits and versions in a fixed order."""
        return self._key.finding(parts)

    def record_shown(self, cards: Sequence[ShownCard], *, wait: bool = True, screen: Screen | None = None) -> None:
        """Write down what is about to be shown, in the order of these calls, and the `screen` on which, if that will be
        asked for. Never raises for a database: advice is given without its record, and a counter and the log say so.

        Returns when it is on disk, or after `shown_wait`, whatever happens to the database. Without `wait` it returns
        at once: feedback that overtakes the record is linked when that comes (F24), and only the process that is
        killed in between loses it.
        """
        if not cards and screen is None:
            return

        def lost() -> None:
            self._count("shown_dropped", len(cards))
            log.error("record of cards dropped", cards=len(cards))

        job = Job(
            statements.write_shown,
            time.monotonic() + _KEEP_SHOWN,
            lost,
            on_written=lambda added: self._count("shown_written", added),
            later=True,
            awaited=wait,
            cards=[canonical_id(card.card) for card in cards],
            given=(cards, screen),
        )
        try:
            self._writer.submit(job)
        except StoreUnavailable:
            lost()
            return
        if cards:
            self._purge_sometimes(cards[-1].shown_at)
        if not wait:
            return
        began = time.perf_counter()
        in_time = job.done.is_set() if self._in_trouble() else job.done.wait(self.shown_wait)
        observe("store_wait_seconds", time.perf_counter() - began, "write")
        if not in_time:
            self._count("shown_late", len(cards))
            self._trouble()

    def record_feedback(self, items: Sequence[FeedbackItem]) -> FeedbackResult:
        """Store feedback; when this returns it is on disk. All items or none.

        StoreUnavailable after at most `feedback_wait` seconds: the client sends it again, which is harmless
        even when the write came through after all.
        """
        if not items:
            return FeedbackResult(0, 0, 0)
        result: FeedbackResult = self._write(
            lambda connection: statements.write_feedback(connection, items, keep_comments=self._keep_comments),
            on_failure=lambda: self._count("feedback_refused", len(items)),
            cards=[canonical_id(item.card) for item in items],
        )
        self._count("feedback_stored", result.stored)
        self._count("feedback_repeated", result.repeated)
        self._purge_sometimes(items[-1].received_at)
        return result

    def seen(self, screens: Sequence[str], since: datetime) -> set[str]:
        """The findings (hashes) that were seen on these screens (hashes) since then. As `past_outcomes`."""
        return self._past(screens, lambda connection: statements.read_screens(connection, screens, since), set())

    def past_outcomes(self, wanted: Sequence[SubjectFinding], since: datetime) -> dict[SubjectFinding, PastOutcome]:
        """The newest thing done since then with each of these findings (subject hash, finding hash).

        Returns within `shown_wait`. An error or a slow database is counted and gives none, so that nothing is silenced.
        """
        return self._past(wanted, lambda connection: statements.read_past(connection, wanted, since), {})

    def _past(self, wanted: Sequence[Any], query: Callable[[Connection], T], nothing: T) -> T:
        if not wanted:
            return nothing
        if not self._in_trouble():
            try:
                return self._read(query, self.shown_wait)
            except StoreUnavailable:
                self._trouble()
        self._count("reads_failed", 1)
        return nothing

    def export(self, *asked: Any) -> list[dict[str, Any]]:
        """As `statements.read_feedback`. StoreUnavailable as `stats`."""
        return self._read(lambda connection: statements.read_feedback(connection, *asked), self.feedback_wait)

    def ping(self) -> None:
        """StoreUnavailable when the store cannot be read or written. It writes only where the last write failed."""
        self._read(lambda connection: connection.execute(select(shown_cards.c.card).limit(1)).all(), 1.0)
        if self._writer.failed is not None or self._writer.busy_for() > self.shown_wait:
            self._write(statements.check_write)

    def counters(self) -> StoreCounters:
        """Since this process started."""
        with self._counting:
            return StoreCounters(**self._counts)

    def close(self) -> None:
        """Write what waits (for at most `feedback_wait` seconds) and let the database go. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._close_counts()
        atexit.unregister(self.close)
        _open_stores.discard(self)
        self._writer.close(self.feedback_wait)
        self._reader.close(self.feedback_wait)
        self._write_engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _reset(self) -> None:
        self._reset_counts()
        self._counting = threading.Lock()
        self._counts = dict.fromkeys(StoreCounters.__dataclass_fields__, 0)
        self._trouble_until = 0.0
        self._purge_at = 0.0

    def _after_fork(self) -> None:
        self._writer.after_fork()
        self._reader.after_fork()
        self._reset()

    def _count(self, name: str, more: int) -> None:
        count("store_total", name, by=more)
        with self._counting:
            self._counts[name] += more

    def _in_trouble(self) -> bool:
        """A hook waited in vain a moment ago. The next ones do not, so that a stuck database holds few threads."""
        return time.monotonic() < self._trouble_until or self._writer.busy_for() > self.shown_wait

    def _trouble(self) -> None:
        self._trouble_until = time.monotonic() + _TROUBLE

    def _purge_sometimes(self, now: datetime) -> None:
        """Have some of what is too old deleted behind what waits to be written, if that was not done of late."""
        with self._counting:
            if time.monotonic() < self._purge_at or self._keep == FOR_EVER:
                return
            self._purge_at = time.monotonic() + _PURGE_EVERY

        def purged(gone: int) -> None:
            self._count("purged", gone)
            if gone >= _PURGE_ROWS:
                self._purge_at = time.monotonic() + _PURGE_ON

        with contextlib.suppress(StoreUnavailable):  # another time
            self._writer.submit(
                Job(
                    lambda connection: self._purge(connection, now),
                    time.monotonic() + _KEEP_SHOWN,
                    on_written=purged,
                    later=True,
                )
            )

    def _purge(self, connection: Connection, now: datetime) -> int:
        gone = statements.purge(connection, self._keep, now, _PURGE_ROWS)
        if self._keep.counts is not None:
            gone += purge_counts(connection, now - self._keep.counts, _PURGE_ROWS)
        return gone

    def _write(
        self,
        work: Callable[[Connection], Any],
        on_failure: Callable[[], None] = lambda: None,
        cards: Sequence[str] = (),
    ) -> Any:
        job = Job(work, time.monotonic() + self.feedback_wait, on_failure, cards=cards)
        try:
            self._writer.submit(job)
        except StoreUnavailable:
            on_failure()
            raise
        began = time.perf_counter()
        in_time = job.done.wait(self.feedback_wait)
        observe("store_wait_seconds", time.perf_counter() - began, "write")
        if not in_time:
            raise unavailable("late")
        if job.error is not None:
            raise StoreUnavailable(job.error.kind, job.error.text)
        return job.result

    def _read(self, query: Callable[[Connection], T], wait: float) -> T:
        return self._reader.ask(query, wait)


def _after_fork_in_child() -> None:
    for store in list(_open_stores):
        store._after_fork()


_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork_in_child)
