"""How much one caller, and all of them, may ask of one worker process. Nothing here is shared between processes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from time import monotonic
from typing import Final

_MOST_NAMES: Final = 10_000
_BURST_SECONDS: Final = 2.0


class Buckets:
    """So many calls a second for each name, with a burst of two seconds' worth; the names last seen are known."""

    def __init__(self, per_second: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = per_second
        self._size = max(1.0, per_second * _BURST_SECONDS)
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> int:
        """0 if the call may go on; else the seconds, at least 1, after which it may be made again."""
        with self._lock:
            now = self._clock()
            level, since = self._levels.get(name, (self._size, now))
            level = min(self._size, level + (now - since) * self._rate)
            wait = 0 if level >= 1 else max(1, ceil((1 - level) / self._rate))
            self._levels[name] = (level - 1 if wait == 0 else level, now)
            self._levels.move_to_end(name)
            while len(self._levels) > _MOST_NAMES:
                self._levels.popitem(last=False)
            return wait


class Gate:
    """At most `working` calls at the same time; `waiting` more wait for `seconds`, and all others are sent away."""

    def __init__(self, working: int, waiting: int, seconds: float) -> None:
        self._places = threading.BoundedSemaphore(working)
        self._queue = threading.BoundedSemaphore(waiting)
        self._seconds = seconds

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether the call may be worked on, which it then is until the end of the `with`."""
        if not self._enter():
            yield False
            return
        try:
            yield True
        finally:
            self._places.release()

    def _enter(self) -> bool:
        if self._places.acquire(blocking=False):
            return True
        if not self._queue.acquire(blocking=False):
            return False
        try:
            return self._places.acquire(timeout=self._seconds)
        finally:
            self._queue.release()
