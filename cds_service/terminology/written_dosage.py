"""Written dosage instructions and timing codes, by the closed list of `cards/tables/sig_phrases.yaml`.

The whole text must be made of listed phrases, with one timing in it; anything else is not read at all.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from cds_service.content.tables import Frequency, SigPhrases, instruction_words
from cds_service.patient import Quantity
from cds_service.terminology.units import UnitTable

_LONGEST_TEXT = 200
_NUMBER = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,3})?", re.ASCII)
_Words = tuple[str, ...]


class Sigs:
    """The phrases of the list, ready for reading. Read-only, so threads may share it."""

    def __init__(self, table: SigPhrases, units: UnitTable) -> None:
        self._units = units
        self._timings = {instruction_words(text): _fields(row) for row in table.timings for text in row.phrases}
        self._moments = {instruction_words(text): code for code, texts in table.moments.items() for text in texts}
        self._after_amount = frozenset(map(instruction_words, table.after_amount))
        self._numbers = table.numbers
        self._codes = {code: _fields(row) for code, row in table.codes.items()}
        self._kinds: dict[_Words, str] = dict.fromkeys(self._timings, "timing") | dict.fromkeys(self._moments, "moment")
        self._kinds |= dict.fromkeys(map(instruction_words, table.as_needed), "as_needed")
        self._kinds |= dict.fromkeys(map(instruction_words, table.ignored), "ignored")
        self._longest = max(map(len, self._kinds))

    def coded(self, code: str) -> dict[str, Any]:
        """Dosage fields of a timing code such as BID; empty if it is not listed."""
        return dict(self._codes.get(code.upper(), {}))

    def read(self, text: str) -> dict[str, Any] | None:
        """Dosage fields of a written instruction; None unless every word of it is understood."""
        if len(text) > _LONGEST_TEXT:
            return None
        words, folded = instruction_words(text), text.casefold()
        if not words or re.sub(r"[\s.,;:()-]", "", folded) != re.sub(r"[()]", "", "".join(words)).replace(".", ""):
            return None
        return self._parse(words)

    def _parse(self, words: _Words) -> dict[str, Any] | None:
        timing: dict[str, Any] | None = None
        moments: list[str] = []
        amount: Quantity | None = None
        as_needed = False
        at = 0
        while at < len(words):
            dose = self._dose(words, at) if amount is None and timing is None and not moments else None
            if dose is not None:
                amount, at = dose
                continue
            size, kind = self._match(words, at)
            chunk = words[at : at + size]
            if kind == "timing" and timing is None:
                timing = dict(self._timings[chunk])
            elif kind == "moment":
                moments.append(self._moments[chunk])
            elif kind == "as_needed":
                as_needed = True
            elif kind != "ignored":
                return None
            at += size
        return _together(timing, moments, amount, as_needed)

    def _dose(self, words: _Words, at: int) -> tuple[Quantity, int] | None:
        value = self._number(words[at])
        if value is None or at + 1 >= len(words):
            return None
        unit = self._units.find(words[at + 1])
        if unit is None or unit.kind not in ("mass", "volume", "count", "substance", "charge") or unit.per:
            return None
        end = at + 2
        named = [size for size in range(self._longest, 0, -1) if words[end : end + size] in self._after_amount]
        return Quantity(value, unit.code), end + (named[0] if named else 0)

    def _number(self, word: str) -> Decimal | None:
        if word in self._numbers:
            return self._numbers[word]
        return Decimal(word) if _NUMBER.fullmatch(word) else None

    def _match(self, words: _Words, at: int) -> tuple[int, str]:
        """How many words the longest phrase here has, and its kind."""
        for size in range(min(self._longest, len(words) - at), 0, -1):
            kind = self._kinds.get(words[at : at + size])
            if kind is not None:
                return size, kind
        return 1, "unknown"


def _together(
    timing: dict[str, Any] | None, moments: list[str], amount: Quantity | None, as_needed: bool
) -> dict[str, Any] | None:
    if timing is None and not moments:
        return None
    found = timing or {"frequency": len(moments), "period": Decimal(1), "period_unit": "d"}
    if moments:
        # "twice daily at bedtime" contradicts itself or means a meal each time: not for us to guess.
        once_each = found.get("frequency") == len(moments) and found.get("period_unit") == "d"
        if not once_each or len(set(moments)) != len(moments) or found.get("when"):
            return None
        found["when"] = tuple((code, 0) for code in moments)
    if amount is not None:
        found["amount"] = amount
    if as_needed:
        found["as_needed"] = True
    return found


def _fields(row: Frequency) -> dict[str, Any]:
    fields: dict[str, Any] = {"frequency": row.frequency, "period": row.period, "period_unit": row.unit}
    return fields | ({"when": tuple((code, 0) for code in row.when)} if row.when else {})
