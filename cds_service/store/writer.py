"""One thread that writes. All callers' writes that wait at the same moment share one commit (group commit).

What a caller waits for (feedback, tokens) is always in the next commit. Records of cards follow, a few in each commit,
and after them the thread rests, so that another worker finds the database free; those that nobody waits for gather for
a moment. Feedback on a card that still waits takes its record along, in front of it.

Two promises. A job that is told to be done is on disk. An error of the disk is never tried again as if nothing had
been: the job fails, and the next batch opens a new connection. Only a lock held by somebody else is waited for, as long
as the job's own time allows.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from cds_service.store.errors import StoreUnavailable, classify, unavailable

MAX_BATCH: Final = 200
MAX_LATER: Final = 50  # records of cards in one commit: what shares it, and other workers, wait for no more
GATHER: Final = 0.05  # seconds in which records that nobody waits for come together
_LOCK_PAUSE: Final = 0.01  # a lock may be told at once and not after the wait; this keeps the loop from spinning


@dataclass(eq=False)
class Job:
    """Work to be done in a transaction, and its end: `done` is set once it is on disk or has failed for good.

    One of `on_written` (with what the work gave) and `on_failure` is called in the writing thread when the job ends.
    `later`: nobody waits for it long (or at all, unless it is `awaited`), so it lets others pass. `cards`: ids of the
    cards that it records (a later job) or is about.

    `work` takes the connection. With `given` it takes as well a list of what was given to this job and to neighbours
    of the same work, which are done at once, and gives a result for each.
    """

    work: Callable[..., Any]
    deadline: float
    on_failure: Callable[[], None] = lambda: None
    on_written: Callable[[Any], None] = lambda _: None
    later: bool = False
    awaited: bool = False
    cards: Sequence[str] = ()
    given: Any = None
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: StoreUnavailable | None = None

    def finish(self, result: Any) -> None:
        """Written."""
        self.result = result
        self.on_written(result)
        self.done.set()

    def fail(self, error: StoreUnavailable) -> None:
        """Not written; at most once."""
        if not self.done.is_set():
            self.error = error
            self.on_failure()
            self.done.set()


class Writer:
    """Takes jobs from any thread; each kind is written in the order it came. `limit`: jobs of a kind that may wait."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)  # there is a job
        self._pressed = threading.Condition(self._lock)  # and somebody waits for it
        self._first: deque[Job] = deque()
        self._later: OrderedDict[Job, None] = OrderedDict()
        self._records: dict[str, Job] = {}  # the later job that holds a card's record, by the card's id
        self._rests_until = self._gathers_until = 0.0
        self._thread: threading.Thread | None = None
        self._closing = False
        self._give_up = math.inf  # when closing: until then a lock is waited for
        self._busy_since: float | None = None
        self.failed: StoreUnavailable | None = None

    def after_fork(self) -> None:
        """In a child process: forget the parent's thread, jobs and connection (they go on in the parent)."""
        self._engine.dispose(close=False)
        self._reset()

    def busy_for(self) -> float:
        """Seconds for which the batch in hand was tried; 0 when there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, job: Job) -> None:
        """Queue a job. StoreUnavailable at once when the store is closed or too many wait."""
        with self._lock:
            if self._closing:
                raise unavailable("closed")
            if len(self._later if job.later else self._first) >= self._limit:
                raise unavailable("late")
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
                self._thread.start()
            if job.later:
                self._later[job] = None
                self._records.update(dict.fromkeys(job.cards, job))
            else:
                self._first.append(job)
            self._ready.notify()
            if job.awaited or not job.later:
                self._pressed.notify()

    def close(self, wait: float) -> None:
        """Write what waits, for at most `wait` seconds; the rest fails as `closed`."""
        with self._lock:
            self._closing = True
            self._give_up = time.monotonic() + wait
            thread = self._thread
            self._ready.notify()
            self._pressed.notify()
        if thread is not None:
            thread.join(wait)
        with self._lock:
            rest = [*self._first, *self._later]
            self._first.clear()
            self._later.clear()
            self._records.clear()
        for job in rest:
            job.fail(unavailable("closed"))

    def _run(self) -> None:
        while batch := self._take():
            began = time.monotonic()
            if self._busy_since is None:
                self._busy_since = began
            held: list[Job] = []
            try:
                held = self._write(batch)
            finally:
                if not held:
                    self._busy_since = None
                for job in batch:  # should `_write` have been left by a fault of ours, nobody may wait for it
                    if job not in held:
                        job.fail(unavailable("refused"))
            # As long as it held the database, so that another worker, which can only try now and then, comes in.
            ended = time.monotonic()
            self._rests_until = ended + (_LOCK_PAUSE if held else ended - began)
            self._gathers_until = 0.0 if held else ended + GATHER
            if held:
                self._put_back(held)
                if self._closing or self._first:
                    time.sleep(_LOCK_PAUSE)

    def _take(self) -> list[Job]:
        """Those that somebody waits for, then some later ones; empty when closing and nothing is left."""
        with self._lock:
            self._ready.wait_for(lambda: self._first or self._later or self._closing)
            self._pressed.wait_for(lambda: self._first or self._closing, self._rests_until - time.monotonic())
            self._pressed.wait_for(self._presses, self._gathers_until - time.monotonic())
            batch: list[Job] = []
            while self._first and len(batch) < MAX_BATCH:
                job = self._first.popleft()
                records = [self._records[card] for card in job.cards if card in self._records]
                batch += [self._out(record) for record in dict.fromkeys(records)]
                batch.append(job)
            return batch + [self._out(next(iter(self._later))) for _ in range(min(MAX_LATER, len(self._later)))]

    def _presses(self) -> bool:
        return bool(self._first) or self._closing or any(job.awaited for job in self._later)

    def _out(self, job: Job) -> Job:
        del self._later[job]
        for card in job.cards:
            if self._records.get(card) is job:
                del self._records[card]
        return job

    def _put_back(self, held: list[Job]) -> None:
        with self._lock:
            for job in reversed(held):
                if job.later:
                    self._later[job] = None
                    self._later.move_to_end(job, last=False)
                    self._records.update(dict.fromkeys(job.cards, job))
                else:
                    self._first.appendleft(job)

    def _write(self, batch: list[Job]) -> list[Job]:
        """Returns the jobs that met a lock and have time to wait for it; all others have ended."""
        todo = _in_time(batch)
        if not todo:
            return []
        groups = [todo]
        error = self._commit(todo)
        if error is not None and error.kind == "refused" and len(todo) > 1:
            groups = [[job] for job in todo]  # one job's bad data must not take the others with it
        held = []
        for group in groups:
            if len(groups) > 1:
                error = self._commit(group)
            if error is not None and error.kind == "locked" and time.monotonic() < self._give_up:
                held += group
            elif error is not None:
                for job in group:
                    job.fail(error)
        return held

    def _commit(self, jobs: list[Job]) -> StoreUnavailable | None:
        """All of the jobs in one transaction, or none. Returns what went wrong."""
        try:
            with self._engine.connect() as connection:
                try:
                    with connection.begin():
                        jobs = _in_time(jobs)  # to begin may have taken until the lock went
                        results = _worked(connection, jobs)
                except (SQLAlchemyError, StoreUnavailable) as error:
                    known = error if isinstance(error, StoreUnavailable) else classify(error)
                    if known.kind not in ("locked", "refused"):
                        connection.invalidate()
                    raise known from error
        except SQLAlchemyError as error:
            self.failed = classify(error)
            return self.failed
        except StoreUnavailable as error:
            if error.kind != "refused":
                self.failed = error
            return error
        self.failed = None
        for job, result in zip(jobs, results, strict=True):
            job.finish(result)
        return None


def _worked(connection: Connection, jobs: Sequence[Job]) -> list[Any]:
    """What came of each."""
    results: list[Any] = []
    for _, neighbours in groupby(jobs, key=lambda job: job if job.given is None else job.work):
        some = list(neighbours)
        if some[0].given is None:
            results.append(some[0].work(connection))
        else:
            results += some[0].work(connection, [job.given for job in some])
    return results


def _in_time(jobs: list[Job]) -> list[Job]:
    """Those whose caller still waits; the others fail now, so that what was refused is not written after all."""
    now = time.monotonic()
    for job in jobs:
        if job.deadline <= now:
            job.fail(unavailable("late"))
    return [job for job in jobs if not job.done.is_set()]
