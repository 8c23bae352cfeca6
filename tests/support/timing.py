"""Bounds on time that hold on a busy machine as well: what the machine itself took away does not count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TICK = 0.01
_USUAL = 0.005  # later than this a thread that only sleeps wakes up on a busy machine only


class _Stalls:
    """How much later than it should a thread wakes up that only sleeps: what works beside it is as late."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            start = time.monotonic()
            self._stop.wait(_TICK)
            late = time.monotonic() - start - _TICK
            if late > _USUAL:
                self.seconds += late

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.seconds


def seconds(action: Callable[[], object]) -> float:
    """How long this takes, without the stalls of the machine; never less than it waits for something."""
    stalls, start = _Stalls(), time.monotonic()
    try:
        action()
    finally:
        taken = time.monotonic() - start
        late = stalls.stop()
    return taken - late


@contextmanager
def within(most: float, least: float = 0.0) -> Iterator[None]:
    """What happens inside takes no longer than `most` seconds without the stalls of the machine, and all in all no less
    than `least`.
    """
    stalls, start = _Stalls(), time.monotonic()
    try:
        yield
    finally:
        taken = time.monotonic() - start
        late = stalls.stop()
    assert taken - late < most, f"{taken:.2f} s, of which the machine stalled {late:.2f} s"
    assert taken >= least, f"{taken:.2f} s"
