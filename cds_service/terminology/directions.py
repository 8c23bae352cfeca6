"""Written directions ("1 tablet twice a day", "1-0-1") in the languages of `cards/tables/directions/`.

A text is cut into the longest phrases of one language, and the phrases are put together to doses. Every word must be
understood, and every language that understands the whole text must understand the same; else nothing is read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

from cds_service.content.direction_words import LONGEST, Token, fraction_of, number_of, parts_of, tokens_of, words_of
from cds_service.content.directions import CommonDirections, DirectionWords, Spoken
from cds_service.content.tables import Frequency
from cds_service.patient import Quantity
from cds_service.terminology.direction_doses import Each, Item, Rate, doses_of, fields_of

_MOST_KNOWN = 8192
_MOST_FREE = 6
_NO_MIXED_NUMBER = 100  # "12345 1/2 tablet" is another number beside a half
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_Reading = tuple[Mapping[str, Any], ...]
_Found = tuple[Any, int]


class _Phrase(NamedTuple):
    """A phrase of a table: literal words and {places}, and what it means."""

    parts: tuple[str, ...]
    kind: str
    meaning: Any


class _Text(list[Token]):
    """The tokens of a text, and what one language has found at each place."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.words = tuple(token.text for token in tokens)
        self.held: dict[tuple[int, str], _Found | None] = {}


class Sigs:
    """All languages, ready for reading. Read-only but for what it remembers, so threads may share it.

    Remembered are keyed digests of texts and what they mean, never a text.
    """

    def __init__(
        self, common: CommonDirections, languages: Mapping[str, DirectionWords], codes: Mapping[str, Frequency]
    ) -> None:
        tables: list[Spoken] = [common, *languages.values()]
        meaningful = frozenset(word for table in tables for word in _words_with_meaning(table, 2))
        forbids = frozenset(word for table in tables for text in table.forbids for word in words_of(text))
        self._languages = [_Language(common, table, meaningful, forbids) for table in languages.values()]
        self._codes = {code: fields_of(row) for code, row in codes.items()}
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, _Reading] = {}

    def coded(self, code: str) -> dict[str, Any]:
        """Dosage fields of a timing code such as BID; empty if it is not listed."""
        return dict(self._codes.get(code.upper(), {}))

    def read(self, text: str) -> dict[str, Any] | None:
        """Dosage fields of a direction that is one dose at its times; None where it is not understood, or is more."""
        doses = self.read_all(text)
        return doses[0] if len(doses) == 1 else None

    def read_all(self, text: str) -> list[dict[str, Any]]:
        """What a direction says: for each dose that differs, fields of `Dosage`. Empty where it is not read.

        Beside them `lasts` (number and unit of time) and `count` (doses in all).
        """
        if not text or len(text) > LONGEST:
            return []
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._secret).digest()
        found = self._known.get(digest)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[digest] = self._read(text)
        return [dict(dose) for dose in found]

    def _read(self, text: str) -> _Reading:
        tokens = tokens_of(text)
        readings = [doses for language in self._languages if (doses := language.read(tokens))]
        return readings[0] if readings and all(doses == readings[0] for doses in readings) else ()


def _words_with_meaning(table: Spoken, longer_than: int) -> Iterator[str]:
    """Words that must not vanish in free text, such as a reason: all that counts, times or forbids."""
    for text in table.weighty():
        words = words_of(text)
        yield from (word for word in words if len(word) > longer_than and (len(words) == 1 or len(word) > 3))


class _Language:
    """The phrases of one language and those of all."""

    def __init__(
        self, common: CommonDirections, own: DirectionWords, meaningful: frozenset[str], forbids: frozenset[str]
    ) -> None:
        self._forbids = forbids
        self._through = {words_of(word): "to" for word in own.through}
        self._point, self._thousands, self._most_units = own.point, own.thousands, common.most_units
        # A short word of another language is one of many here: "an" antibiotic, "mo" for Monday.
        self._meaningful = meaningful | {w for table in (common, own) for w in _words_with_meaning(table, 0)}
        self._numbers = {words_of(word): value for word, value in own.numbers.items()}
        self._halves = {words_of(word): Decimal("0.5") for word in own.and_a_half}
        self._and = {words_of(word): "and" for word in (*common.joins, *own.joins)}
        self._to = {words_of(word): "to" for word in (*common.ranges, *own.ranges)} | {("-",): "to"}
        spoons = ((5, own.teaspoons), (15, own.tablespoons))
        self._units = {words_of(text): Quantity(Decimal(size), "mL") for size, texts in spoons for text in texts}
        self._times: dict[tuple[str, ...], str] = {}
        for table in (common, own):
            for unit, texts in table.units.items():
                self._units |= {words_of(text): Quantity(Decimal(1), unit) for text in texts}
            self._times |= {words_of(text): unit for unit, texts in table.units_of_time.items() for text in texts}
        self._days = {words_of(text): day for day, texts in own.weekdays.items() for text in texts}
        self._parts_of = own.parts_of
        self._within = common.within
        self._phrases: dict[str, list[_Phrase]] = {}
        self._after: dict[str, dict[str, list[_Phrase]]] = {}
        for sign in ("(", ")", "="):
            self._phrases[sign] = [_Phrase((sign,), sign, None)]
        for word in self._and:
            self._phrases.setdefault(word[0], []).append(_Phrase(word, "and", None))
        for table in (common, own):
            for _, kind, meaning, text in table.phrases():
                parts = parts_of(text)
                table_of = self._phrases
                first = parts[0]
                if first[0] == "{":
                    table_of = self._after.setdefault(first, {})
                    first = parts[1] if len(parts) > 1 and parts[1][0] != "{" else ""
                table_of.setdefault(first, []).append(_Phrase(parts, kind, meaning))

    def read(self, text: list[Token]) -> _Reading:
        """The doses that the whole text means in this language, or nothing."""
        tokens, items, at = _Text(text), list[Item](), 0
        while at < len(tokens):
            item = self._item(tokens, at, items[-1].kind if items else "")
            if item is None:
                return ()
            items.append(item)
            at = item.end
        return doses_of(items, self._within)

    def _item(self, tokens: _Text, at: int, before: str) -> Item | None:
        """The longest phrase here; of equally long ones, the first of the table."""
        best: Item | None = None
        for phrase in self._candidates(tokens, at):
            found: dict[str, Any] = {}
            end = self._match(tokens, at, phrase.parts, found)
            if end is not None and (best is None or end > best.end):
                best = self._meant(phrase, found, end) or best
        if best is None and before in ("as_needed", "as_needed("):
            end = self._free(tokens, at, "")
            best = Item("ignored", None, end) if end else None
        if best is not None and best.kind == "(" and before == "as_needed":
            return Item("as_needed(", None, best.end)
        return best

    def _candidates(self, tokens: _Text, at: int) -> Iterator[_Phrase]:
        """The phrases that may begin here, by their first word or by the word behind their first {place}."""
        yield from self._phrases.get(tokens.words[at], ())
        for place, by_next in self._after.items():
            held = self._held_at(tokens, at, place[1])
            if held is not None:
                yield from by_next.get("", ())
                yield from by_next.get(tokens.words[held[1]], ()) if held[1] < len(tokens) else ()

    def _meant(self, phrase: _Phrase, found: Mapping[str, Any], end: int) -> Item | None:
        """The phrase with what its {places} hold; None where that has no meaning (400 without a unit, 0 times)."""
        kind, value = phrase.kind, phrase.meaning
        count: Each = found.get("n", (Decimal(1), Decimal(1)))
        if kind in ("amounts", "doses", "schemes"):
            numbers = found["s"] if kind == "schemes" else found["a"]
            unit: Quantity | None = found.get("u")
            if unit is None and max(numbers) > self._most_units:
                return None
            each = (unit.value if unit else Decimal(1)) * found.get("k", Decimal(1))
            dose = (tuple(number * each + found.get("e", 0) for number in numbers), unit.unit if unit else "1")
            value = (dose, _rate(count, Decimal(1), found.get("t", value))) if kind == "doses" else dose
            return None if kind == "doses" and value[1] is None else Item(kind, value, end)
        if kind == "times":
            value = _rate(count, found.get("m", Decimal(1)), found.get("t", value))
        elif kind == "every":
            value = _rate((Decimal(1), Decimal(1)), (found["f"],) * 2 if "f" in found else count, found.get("t", value))
        elif kind == "fixed":
            value = Rate(value.frequency, value.frequency, value.period, value.period, value.unit, tuple(value.when))
        elif kind == "limits":
            value = (
                count[1],
                found["u"].unit if "u" in found else "1",
                found.get("m", Decimal(1)),
                found.get("t", value),
            )
        elif kind in ("lasts", "offsets"):
            kind = "parts" if "p" in found else kind
            value = found["p"] if "p" in found else (count[1], found.get("t", value))
        elif kind in ("divided", "counts"):
            value = count[1]
        elif kind in ("clocks", "days"):
            value = found["w"] if kind == "days" else found["c"] if "c" in found else found["h"]
        return None if value is None and kind in ("times", "every") else Item(kind, value, end)

    def _match(self, tokens: _Text, at: int, parts: tuple[str, ...], found: dict[str, Any]) -> int | None:
        """Where the phrase ends that begins here; what its {places} hold is put into `found`."""
        for index, part in enumerate(parts):
            if at >= len(tokens):
                return None
            if part[0] != "{":
                if tokens[at].text != part:
                    return None
                at += 1
            elif part == "{free}":
                end = self._free(tokens, at, parts[index + 1] if index + 1 < len(parts) else "")
                if not end:
                    return None
                at = end
            else:
                held = self._held_at(tokens, at, part[1])
                if held is None:
                    return None
                found[part[1]], at = held
        return at

    def _held_at(self, tokens: _Text, at: int, place: str) -> _Found | None:
        """`_held`, looked for once in a text."""
        if (at, place) not in tokens.held:
            tokens.held[at, place] = self._held(tokens, at, place)
        return tokens.held[at, place]

    def _held(self, tokens: _Text, at: int, place: str) -> _Found | None:
        """n, a: a number or a range. k, m: one number. e: and a half. u: a dose unit. t: a unit of time. s: a scheme.
        f: "8/8". p: "5/7". w: days of the week. h: a clock time. c: the same or an hour alone. d: a date."""
        if place in "na":
            return self._numbers_at(tokens, at)
        if place in "km":
            return self._number_at(tokens, at)
        if place == "u":
            return _longest(self._units, tokens, at)
        if place == "t":
            return _longest(self._times, tokens, at)
        if place == "e":
            return _longest(self._halves, tokens, at)
        if place == "s":
            return self._scheme(tokens, at)
        if place == "w":
            return self._weekdays(tokens, at)
        token = tokens[at]
        if place in "ch":
            return _clock(tokens, at, place == "c")
        if place == "d":
            return (token.text, at + 1) if token.kind == "date" else None
        if token.kind == "fraction":
            over, under = map(int, token.text.split("/"))
            if place == "f":
                return (Decimal(over), at + 1) if over == under else None
            if place == "p" and under in self._parts_of:
                return (Decimal(over), self._parts_of[under]), at + 1
        return None

    def _number_at(self, tokens: _Text, at: int) -> _Found | None:
        found = self._plain_number(tokens, at)
        if found is None:
            return None
        value, end = found
        if end < len(tokens) and value == int(value) and value < _NO_MIXED_NUMBER:
            more = _longest(self._halves, tokens, end) or self._part(tokens, end)
            joined = _longest(self._and, tokens, end)
            if more is None and joined is not None:
                more = self._part(tokens, joined[1])
            if more is not None:
                value, end = value + more[0], more[1]
        if end + 2 < len(tokens) and tokens[end].text == "(":
            # "2 (two)": the number once more, which must be the same.
            again = self._plain_number(tokens, end + 1)
            if again is not None and again[1] < len(tokens) and tokens[again[1]].text == ")":
                return (value, again[1] + 1) if again[0] == value else None
        return value, end

    def _plain_number(self, tokens: _Text, at: int) -> _Found | None:
        if at >= len(tokens):
            return None
        token = tokens[at]
        if token.kind == "number":
            value = number_of(token.text, self._point, self._thousands)
            return None if value is None else (value, at + 1)
        return self._part(tokens, at) if token.kind == "fraction" else _longest(self._numbers, tokens, at)

    def _part(self, tokens: _Text, at: int) -> _Found | None:
        value = fraction_of(tokens[at].text) if at < len(tokens) and tokens[at].kind == "fraction" else None
        return None if value is None else (value, at + 1)

    def _numbers_at(self, tokens: _Text, at: int) -> _Found | None:
        """A number, or a range of two; what could be a scheme is none."""
        low = self._number_at(tokens, at)
        if low is None:
            return None
        to = _longest(self._to, tokens, low[1])
        high = self._number_at(tokens, to[1]) if to else None
        if to is None or high is None:
            # A number that is followed by a dash or a plus is a part of something else.
            return None if low[1] < len(tokens) and tokens[low[1]].text in "-+" else ((low[0], low[0]), low[1])
        if high[0] <= low[0] or (high[1] < len(tokens) and tokens[high[1]].text in "-+"):
            return None
        return (low[0], high[0]), high[1]

    def _scheme(self, tokens: _Text, at: int) -> _Found | None:
        """Three or four numbers that are joined by the same sign: morning, noon, evening, bedtime."""
        numbers: list[Decimal] = []
        sign = tokens[at + 1].text if at + 1 < len(tokens) else ""
        while (one := self._plain_number(tokens, at)) is not None:
            numbers.append(one[0])
            at = one[1]
            if at >= len(tokens) or tokens[at].text != sign or sign not in ("-", "+"):
                break
            at += 1
        else:
            return None
        return (tuple(numbers), at) if len(numbers) in (3, 4) and any(numbers) else None

    def _weekdays(self, tokens: _Text, at: int) -> _Found | None:
        first = _longest(self._days, tokens, at)
        if first is None:
            return None
        found, end = [first[0]], first[1]
        to = (None, end) if tokens[end - 1].dash else _longest(self._through, tokens, end)
        last = _longest(self._days, tokens, to[1]) if to else None
        if last:
            start, stop = _WEEK.index(first[0]), _WEEK.index(last[0])
            return (_WEEK[start : stop + 1], last[1]) if stop > start else None
        while end < len(tokens) and tokens[end].text == "/" and (more := _longest(self._days, tokens, end + 1)):
            found.append(more[0])
            end = more[1]
        return tuple(found), end

    def _free(self, tokens: _Text, at: int, until: str) -> int:
        """Where free words end (a reason, another drug): at most a few, before any that has a meaning. 0: none, or one
        that forbids or leaves open what the rest says."""
        end = at
        while end < len(tokens) and end - at < _MOST_FREE and tokens[end].text not in (until, ")"):
            token = tokens[end]
            if token.kind == "sign" or token.text in self._forbids:
                return 0
            if token.kind != "word" or token.text in self._meaningful:
                break
            end += 1
            if token.stop:
                break
        return 0 if end == at or (until and (end >= len(tokens) or tokens[end].text != until)) else end


def _longest(table: Mapping[tuple[str, ...], Any], tokens: _Text, at: int) -> _Found | None:
    """The longest phrase of the table that begins here, and where it ends."""
    for size in range(min(5, len(tokens) - at), 0, -1):
        found = table.get(tokens.words[at : at + size])
        if found is not None:
            return found, at + size
    return None


def _rate(times: Each, period: Each | Decimal, unit: str) -> Rate | None:
    """So many doses in a period; None where that is no whole number of doses."""
    low, high = (period, period) if isinstance(period, Decimal) else period
    if times[0] != int(times[0]) or times[1] != int(times[1]) or not 1 <= times[1] <= 24 or times[0] < 1 or low <= 0:
        return None
    return Rate(int(times[0]), int(times[1]), low, high, unit)


def _clock(tokens: _Text, at: int, alone: bool) -> _Found | None:
    """Minutes of the day: 8:30, 7 am; 20 only where the phrase says that it is an hour (`alone`)."""
    token = tokens[at]
    if token.kind == "clock":
        hour, minute = map(int, token.text.split(":"))
    elif token.kind == "number" and token.text.isdigit() and len(token.text) <= 2:
        hour, minute = int(token.text), 0
    else:
        return None
    half = tokens[at + 1].text if at + 1 < len(tokens) else ""
    if half in ("am", "pm"):
        return ((hour % 12 + 12 * (half == "pm")) * 60 + minute, at + 2) if 1 <= hour <= 12 else None
    return (hour * 60 + minute, at + 1) if hour < 24 and (alone or token.kind == "clock") else None
