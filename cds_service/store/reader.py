"""Questions to the database: each asked in a thread of its own kind, over a connection that stays open for the next."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cds_service.metrics.instruments import observe
from cds_service.store.engine import refuse_other_file
from cds_service.store.errors import classify, unavailable

T = TypeVar("T")
READERS: Final = 4
_MOST_WAITING: Final = 32


class Reader:
    """Asks in reading threads, so that a disk or network that hangs holds none of the caller's.

    Safe for threads. `engine` begins no transaction of the database for a question: each statement sees what is
    committed when it begins, and nothing has to be ended after it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._inherited: list[deque[Connection]] = []
        self._closed = False
        self._reset()

    def ask(self, query: Callable[[Connection], T], wait: float) -> T:
        """What `query` answers within `wait` seconds. Raises StoreUnavailable."""
        if self._closed:
            raise unavailable("closed")
        if not self._places.acquire(blocking=False):
            raise unavailable("late")
        places = self._places
        try:
            future = self._threads.submit(self._answer, query)
        except RuntimeError as error:  # the pool is shut down
            places.release()
            raise unavailable("closed") from error
        future.add_done_callback(lambda _: places.release())
        began = time.perf_counter()
        try:
            return future.result(wait)
        except TimeoutError as error:
            future.cancel()
            raise unavailable("late") from error
        except CancelledError as error:  # `close` came before a thread was free
            raise unavailable("closed") from error
        finally:
            observe("store_wait_seconds", time.perf_counter() - began, "read")

    def close(self, wait: float) -> None:
        """Let the database go, once nobody asks any more or `wait` seconds are over."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        give_up = time.monotonic() + wait
        for _ in range(_MOST_WAITING):  # a connection that is in use now could not be closed
            self._places.acquire(timeout=max(0.0, give_up - time.monotonic()))
        self._close_open()
        self.engine.dispose()

    def after_fork(self) -> None:
        """In a child: open no connection of the parent's again, and end none of them."""
        self.engine.dispose(close=False)
        self._inherited.append(self._open)
        self._reset()

    def _reset(self) -> None:
        self._open: deque[Connection] = deque()
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._places = threading.BoundedSemaphore(_MOST_WAITING)

    def _answer(self, query: Callable[[Connection], T]) -> T:
        try:
            try:
                return self._over(self._one_that_is_open(), query)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The server ended it while nobody asked, and the others with it. What is only read is asked again.
                self._close_open()
                return self._over(self.engine.connect(), query)
        except SQLAlchemyError as error:
            raise classify(error) from error

    def _one_that_is_open(self) -> Connection:
        try:
            return self._open.pop()
        except IndexError:
            return self.engine.connect()

    def _close_open(self) -> None:
        with suppress(IndexError):
            while True:
                self._open.pop().close()

    def _over(self, connection: Connection, query: Callable[[Connection], T]) -> T:
        try:
            refuse_other_file(connection)
            found = query(connection)
        except BaseException:
            connection.close()
            raise
        self._open.append(connection)
        return found
