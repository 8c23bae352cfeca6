"""One thread that writes. All callers' writes that wait at the same moment share one commit (group commit).

Two promises. A job that is told to be done is on disk. An error of the disk is never tried again as if
nothing had been: the job fails, the connection is dropped, and the next batch opens a new one. Only a lock
held by somebody else is waited for, as long as the job's own time allows.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from cds_service.store.errors import StoreUnavailable, classify, unavailable

MAX_BATCH: Final = 200
_LOCK_PAUSE: Final = 0.01  # a lock may be told at once and not after the wait; this keeps the loop from spinning


class Job:
    """Work to be done in a transaction, and its end: `done` is set once it is on disk or has failed for good.

    `on_failure` is called in the writing thread when the job ends without having been written.
    """

    __slots__ = ("deadline", "done", "error", "on_failure", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], deadline: float, on_failure: Callable[[], None]) -> None:
        self.work = work
        self.deadline = deadline
        self.on_failure = on_failure
        self.done = threading.Event()
        self.result: Any = None
        self.error: StoreUnavailable | None = None

    def finish(self, result: Any) -> None:
        """Written."""
        self.result = result
        self.done.set()

    def fail(self, error: StoreUnavailable) -> None:
        """Not written; at most once."""
        if not self.done.is_set():
            self.error = error
            self.on_failure()
            self.done.set()


class Writer:
    """Takes jobs from any thread; writes them in the order they came. `limit`: jobs that may wait."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self._ready = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._busy_since: float | None = None
        self.failed: StoreUnavailable | None = None

    def after_fork(self) -> None:
        """In a child process: forget the parent's thread, jobs and connection (they go on in the parent)."""
        self._engine.dispose(close=False)
        self._reset()

    def busy_for(self) -> float:
        """Seconds that the batch in hand has taken so far; 0 when there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, job: Job) -> None:
        """Queue a job. StoreUnavailable at once when the store is closed or too many wait."""
        with self._ready:
            if self._closing:
                raise unavailable("closed")
            if len(self._waiting) >= self._limit:
                raise unavailable("late")
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
                self._thread.start()
            self._waiting.append(job)
            self._ready.notify()

    def close(self, wait: float) -> None:
        """Write what waits, for at most `wait` seconds; the rest fails as `closed`."""
        with self._ready:
            self._closing = True
            thread = self._thread
            self._ready.notify()
        if thread is not None:
            thread.join(wait)
        with self._ready:
            rest = list(self._waiting)
            self._waiting.clear()
        for job in rest:
            job.fail(unavailable("closed"))

    def _run(self) -> None:
        while batch := self._take():
            self._busy_since = time.monotonic()
            held: list[Job] = []
            try:
                held = self._write(batch)
            finally:
                self._busy_since = None
                for job in batch:  # should `_write` have been left by a fault of ours, nobody may wait for it
                    if job not in held:
                        job.fail(unavailable("refused"))
            if held:
                with self._ready:
                    self._waiting.extendleft(reversed(held))
                time.sleep(_LOCK_PAUSE)

    def _take(self) -> list[Job]:
        """The next jobs, oldest first; empty when closing and nothing is left."""
        with self._ready:
            while not self._waiting and not self._closing:
                self._ready.wait()
            return [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]

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
            if error is not None and error.kind == "locked" and not self._closing:
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
                        results = [job.work(connection) for job in jobs]
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


def _in_time(jobs: list[Job]) -> list[Job]:
    """Those whose caller still waits; the others fail now, so that what was refused is not written after all."""
    now = time.monotonic()
    for job in jobs:
        if job.deadline <= now:
            job.fail(unavailable("late"))
    return [job for job in jobs if not job.done.is_set()]
