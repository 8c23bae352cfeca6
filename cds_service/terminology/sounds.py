"""What words sound like: names in the spellings of many languages, and names cut short."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from cds_service.spelling import sound

_SHORTEST = 3
"""The beginning of fewer letters says nothing."""


class Sounds:
    """Words by their sound, and the drugs that they name. Two meanings of one sound make none: it is not guessed."""

    def __init__(self, heard: Iterable[tuple[str, frozenset[str]]]) -> None:
        self._meanings: dict[str, frozenset[str] | None] = {}
        for word, drugs in heard:
            heard_as = sound(word)
            self._meanings[heard_as] = drugs if self._meanings.get(heard_as, drugs) == drugs else None
        self._sorted = sorted(self._meanings)

    def get(self, word: str) -> frozenset[str] | None:
        """What a word sounds like."""
        return self._meanings.get(sound(word))

    def cut(self, word: str) -> frozenset[str] | None:
        """What a word is the beginning of, where only one is possible."""
        start = sound(word + "k")[:-1]  # not shortened as the end of a word
        if len(start) < _SHORTEST:
            return None
        at = bisect_left(self._sorted, start)
        found = set[frozenset[str] | None]()
        while at < len(self._sorted) and self._sorted[at].startswith(start) and len(found) < 2:
            found.add(self._meanings[self._sorted[at]])
            at += 1
        return found.pop() if len(found) == 1 else None
