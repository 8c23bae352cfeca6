"""When to stop asking a server that does not answer, and how often to ask it twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

OPENS_AFTER: Final = 5
PAUSE: Final = 10.0
_READS_FOR_A_RETRY: Final = 10
_MOST_SAVED: Final = 10


class Breaker:
    """Open after five failures in a row: then one probe every ten seconds, until one succeeds.

    Reads that were under way when a failure was counted are of the same moment and are not counted again: a call makes
    ten reads at once, and one bad moment must not look like ten.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._counted_at = float("-inf")
        self._probed_at = float("-inf")

    @property
    def open(self) -> bool:
        return self._failures >= OPENS_AFTER

    def enter(self) -> float | None:
        """The moment of entry, for `leave`; None where the server is not to be asked now."""
        with self._lock:
            now = self._clock()
            if self.open:
                if now - self._probed_at < PAUSE:
                    return None
                self._probed_at = now
            return now

    def leave(self, entered: float, *, good: bool) -> None:
        """What came of it."""
        with self._lock:
            if good:
                self._failures = 0
            elif self.open or entered >= self._counted_at:
                now = self._clock()
                self._failures = min(self._failures + 1, OPENS_AFTER)
                self._counted_at = now
                if self.open:
                    self._probed_at = now


class RetryBudget:
    """Retries for at most a tenth of the reads, so that they never double the load on a server in trouble."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads = _MOST_SAVED * _READS_FOR_A_RETRY

    def earn(self) -> None:
        """A read was made."""
        with self._lock:
            self._reads = min(_MOST_SAVED * _READS_FOR_A_RETRY, self._reads + 1)

    def spend(self) -> bool:
        """Whether one may be made twice."""
        with self._lock:
            if self._reads < _READS_FOR_A_RETRY:
                return False
            self._reads -= _READS_FOR_A_RETRY
            return True
