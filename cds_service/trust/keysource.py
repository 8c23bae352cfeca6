"""Where a client's keys come from. Reading them again is rare, bounded and never at the caller's word alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, Protocol

import structlog

from cds_service.trust.keys import BadKey, Key, parse_set

FRESH: Final = 300.0  # seconds; older keys are read again in the background
STALE: Final = 600.0  # older ones are read again before one is used: a key that was taken away is refused from here on
DEAD: Final = 24 * 3600.0  # the last good set is used so long where no newer one can be had
PAUSE: Final = 30.0  # between two attempts, whoever asks
LONGEST_READ: Final = 2.0
_MOST_WAITING: Final = 2
log = structlog.get_logger("magnesium_cds.trust")


class KeysNotRead(Exception):
    """The keys could not be had now; the text says why, in a few words of ours."""


class KeySource(Protocol):
    """Keys by their kid."""

    def find(self, kid: str) -> Key | None:
        """The key with this kid, None where there is none to be had."""

    def kids(self) -> list[str]:
        """The kids of the keys known now. Reads nothing."""


class PinnedKeys:
    """Keys that stand in the clients' file."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = dict(keys)

    def find(self, kid: str) -> Key | None:
        return self._keys.get(kid)

    def kids(self) -> list[str]:
        return list(self._keys)


class ReadKeys:
    """Keys that `read` gives as the bytes of a JWK set (it raises KeysNotRead, and takes at most LONGEST_READ).

    An unknown kid makes one reading, at most one in PAUSE seconds; who comes meanwhile is answered from what is known.
    `clock`: seconds that only go up.
    """

    def __init__(self, client: str, read: Callable[[], bytes], clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._read = read
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._good_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def find(self, kid: str) -> Key | None:
        age = self._clock() - self._good_at
        if age > STALE or kid not in self._keys:
            self._read_now()
        elif age > FRESH and self._due():
            threading.Thread(target=self._read_now, name="key-reader", daemon=True).start()
        return None if self._clock() - self._good_at > DEAD else self._keys.get(kid)

    def kids(self) -> list[str]:
        return list(self._keys)

    def _due(self) -> bool:
        return self._clock() - self._tried_at >= PAUSE

    def _read_now(self) -> None:
        """Read if it is time. While another thread reads, a few wait for it; with no keys at all, everybody does."""
        if self._reading.acquire(blocking=False):
            try:
                if self._due():
                    self._tried_at = self._clock()
                    self._take()
            finally:
                self._reading.release()
        elif not self._keys:
            self._wait()
        elif self._waiting.acquire(blocking=False):
            try:
                self._wait()
            finally:
                self._waiting.release()

    def _wait(self) -> None:
        if self._reading.acquire(timeout=LONGEST_READ):
            self._reading.release()

    def _take(self) -> None:
        try:
            keys, faults = parse_set(self._read())
        except KeysNotRead as error:
            log.warning("keys not read", client=self._client, cause=str(error))
            return
        except BadKey as fault:
            log.warning("keys not read", client=self._client, cause=fault.reason)
            return
        for unused in faults:
            log.warning("key left out", client=self._client, cause=unused.reason)
        if not keys:
            log.warning("keys not read", client=self._client, cause="no usable key in the set")
            return
        self._keys = keys
        self._good_at = self._clock()
