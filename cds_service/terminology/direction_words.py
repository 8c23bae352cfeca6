"""The words of a written direction, and where a reader stands in them: phrases and numbers of one language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from cds_service.content.tables import Directions, Frequency

_FIFTHS = 5
"""Tablets are cut into halves, thirds and quarters; "5/7" is a number of days."""
_TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+|[^\W\d_]+(?:['\u2019.](?=[^\W\d_])[^\W\d_]+)*|[^\s.,;:!'\u2019]")
_FRACTIONS = {"\u00bd": "1/2", "\u00bc": "1/4", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"}
_DASHES = str.maketrans("\u2013\u2014\u2212\u00d7", "---x")
_NUMBER = "#"
_PLAIN = ("every", "during", "as_needed", "once", "and_", "up_to", "most", "doses", "at", "ignored", "total",
          "after_amount", "apart")  # fmt: skip
_HOURS = {"h": Decimal(1), "d": Decimal(24), "wk": Decimal(168), "mo": Decimal(730)}
Words = tuple[str, ...]


def direction_words(text: str) -> Words:
    """The words, numbers and signs of a direction; upper and lower case, commas and stops do not count."""
    for sign, plain in _FRACTIONS.items():
        text = text.replace(sign, f" {plain}")
    folded = unicodedata.normalize("NFKC", text).translate(_DASHES).casefold()
    return tuple(word.replace(".", "") if word[0].isalpha() else word for word in _TOKEN.findall(folded))


class Language:
    """One table by the words of its phrases: what a phrase is, and what it means."""

    def __init__(self, table: Directions) -> None:
        self.table = table
        self.phrases: dict[Words, tuple[str, Any]] = {}
        for row in table.timings:
            self._add("timing", fields_of(row), row.phrases)
        for kind, meanings in (
            ("unit", table.units), ("moment", table.moments), ("day", table.days), ("times", table.times),
            ("period", table.periods), ("after", table.after), ("before", table.before),
        ):  # fmt: skip
            for meaning, texts in meanings.items():
                self._add(kind, meaning, texts)
        for kind in _PLAIN:
            self._add(kind, None, getattr(table, kind))
        self.numbers = {direction_words(text): value for text, value in table.numbers.items()}
        self.longest = max(map(len, (*self.phrases, *self.numbers)), default=1)

    def _add(self, kind: str, meaning: Any, texts: Iterable[str]) -> None:
        self.phrases |= {(kind, *direction_words(text)): (kind, meaning) for text in texts}


class Cursor:
    """Reads one text by one language, from `at` on."""

    def __init__(self, language: Language, words: Words) -> None:
        self.language, self.words, self.at = language, words, 0

    def _match(self, kind: str, at: int) -> tuple[int, Any]:
        """The longest phrase of this kind here: how many words it has, and what it means."""
        phrases = self.language.phrases
        for size in range(min(self.language.longest, len(self.words) - at), 0, -1):
            words = self.words[at : at + size]
            found = phrases.get((kind, *words))
            if found is None and any(word[0].isdigit() for word in words):
                plain = tuple(_NUMBER if word[0].isdigit() else word for word in words)
                found = phrases.get((kind, *plain))
            if found is not None:
                return size, found[1]
        return 0, None

    def _is(self, kind: str, at: int) -> bool:
        return at < len(self.words) and self._match(kind, at)[0] > 0

    def _word(self, at: int) -> str:
        return self.words[at] if 0 <= at < len(self.words) else ""

    def _number(self, at: int) -> tuple[int, Decimal] | None:
        """How many words a number has here, and its value: "1.5", "1/2", "1 1/2", "one and one-half", "2 (two)"."""
        found = self._plain_number(at)
        if found is None:
            return None
        size, value = found
        more = self._plain_number(at + size)
        if more and value == int(value) and 0 < more[1] < 1 and "/" in self.words[at + size : at + size + more[0]]:
            size, value = size + more[0], value + more[1]
        if self._word(at + size) == "(":
            again = self._plain_number(at + size + 1)
            if again and self._word(at + size + 1 + again[0]) == ")":
                if again[1] != value:
                    return None
                size += again[0] + 2
        return size, value

    def _plain_number(self, at: int) -> tuple[int, Decimal] | None:
        word = self._word(at)
        for size in range(min(self.language.longest, len(self.words) - at), 0, -1):
            value = self.language.numbers.get(self.words[at : at + size])
            if value is not None:
                return size, value
        if not word or not (word[0].isdigit() or word[0] in ".,"):
            return None
        below = self._word(at + 2)
        if (
            self._word(at + 1) == "/"
            and word.isdigit()
            and below.isdigit()
            and 1 < int(below) < 5
            and int(word) < int(below)
        ):
            return 3, Decimal(int(word)) / int(below)
        value = _decimal(word, self.language.table.decimal)
        return None if value is None else (1, value)

    def _range(self, at: int) -> tuple[int, Decimal, Decimal | None] | None:
        """A number, or two with "to" or a dash between them."""
        first = self._number(at)
        if first is None:
            return None
        size, low = first
        if self._word(at + size) in ("-", *self.language.table.to):
            second = self._number(at + size + 1)
            if second is not None and second[1] > low:
                return size + 1 + second[0], low, second[1]
        return size, low, None


def _decimal(word: str, point: str) -> Decimal | None:
    """A number as a language writes it: its decimal sign, the other one between thousands."""
    thousands = "," if point == "." else "."
    whole, found, rest = word.partition(point)
    if thousands in rest or point in rest:
        return None
    groups = whole.split(thousands)
    if len(groups) > 1:
        if not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:]):
            # "0.5" stands in texts of every language.
            fraction = len(groups) == 2 and not found and len(groups[1]) < 3
            return Decimal(f"{groups[0] or 0}.{groups[1]}") if fraction else None
        whole = "".join(groups)
    return Decimal(f"{whole or 0}.{rest}") if found else Decimal(whole)


def fields_of(row: Frequency) -> dict[str, Any]:
    fields: dict[str, Any] = {"frequency": row.frequency, "period": row.period, "period_unit": row.unit}
    return fields | ({"when": tuple((code, 0) for code in row.when)} if row.when else {})


def doses_a_day(timing: Mapping[str, Any]) -> Decimal:
    """How many doses a day a frequency comes to, at the most."""
    most = timing.get("frequency_max") or timing["frequency"]
    hours: Decimal = timing["period"] * _HOURS[timing["period_unit"]]
    return Decimal(most) * 24 / hours
