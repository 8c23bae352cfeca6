"""What a text says of an injection or infusion: how much, over what time, at what rate, in what volume.

It looks for amounts with a unit and for what stands around them; the rest of the text is passed over. So it may find a
dose in a text that the reader of directions does not understand, and never says how often a dose is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from cds_service.content.tables import InjectionWords
from cds_service.patient import Injected, Quantity
from cds_service.spelling import fold

_DASHES = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212", "------")
_NUMBER = r"(?<![\w.,])[0-9]{1,9}(?:[.,][0-9]{1,9}){0,3}(?![0-9])"
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_VOLUMES = {"mL": Decimal(1), "L": Decimal(1000)}  # millilitres
HOUR = Decimal(60)  # minutes


class InjectionReader:
    """The words of `tables/injections.yaml`, ready for reading. Read-only, so threads may share it."""

    def __init__(self, words: InjectionWords) -> None:
        self._units = {fold(text): unit for unit, texts in words.units.items() for text in texts}
        self._times = {fold(text): Decimal(1) for text in words.minutes} | {fold(text): HOUR for text in words.hours}
        self._numbers = {fold(text): value for value, texts in words.numbers.items() for text in texts}
        unit, time, per = _any(self._units), _any(self._times), _any(words.per)
        number = rf"{_NUMBER}|{_any(self._numbers)}"
        to = rf"(?:\s*{_any(words.to)}\s*(?P<high>[0-9]+(?:[.,][0-9]+)*))?"
        span = rf"(?P<low>{number}){to}[\s-]*(?P<time>{time})"
        self._amount = re.compile(
            rf"(?P<low>{_NUMBER}){to}\s*-?(?P<unit>{unit})(?P<kg>\s*{per}\s*{_any(words.kilogram)})?"
            rf"(?:\s*{per}\s*(?P<many>[0-9]+(?:[.,][0-9]+)*)?\s*(?P<per>{_any({**self._units, **self._times})})"
            rf"|\s+(?P<hourly>{_any(words.hourly)}))?"
        )
        volumes = [text for text, unit in self._units.items() if unit in _VOLUMES]
        self._into = re.compile(rf"\s*{_any(words.into)}\s*(?P<many>{_NUMBER})\s*(?P<per>{_any(volumes)})")
        self._over = re.compile(rf"{_any(words.over)}\s+(?:\w+\s+)??{span}")
        self._runs = re.compile(rf"{_any(words.runs)}\s+{span}")
        self._at = re.compile(rf"(?:{_any(words.at)})\s*$")
        self._then = re.compile(_any(words.then))
        self._diluent = re.compile(rf"{_any(words.into)}\s*$|[(=]\s*$|{_any(words.per)}\s*$")
        self.one_time = words.once[0]
        self._once = re.compile(_any(words.once))
        self._weight = re.compile(rf"(?P<low>{_NUMBER})\s*{_any(words.kilogram)}")

    def read(self, text: str, name: bool = False) -> tuple[Injected, ...]:
        """The doses and rates of a text, in its order. Empty where it names none.

        One that has neither amount nor rate tells a time alone, or the strength of what is given in millilitres. In the
        `name` of a product, millilitres without a time or a rate are the size of the bag or ampoule.
        """
        text = fold(text).translate(_DASHES)
        found: list[Injected] = []
        ends: list[int] = []
        strength: Quantity | None = None
        volume: Decimal | None = None
        for match in self._amount.finditer(text):
            amount, before = self._quantity(match), text[: match.start()]
            if amount is None:
                continue
            per = match["per"] or ""
            if per in self._units:  # 40 g/1000 mL is a strength, and no dose
                many = (_decimal(match["many"]) or Decimal(1)) * _VOLUMES.get(self._units[per], Decimal(0))
                if many and amount.unit not in _VOLUMES:
                    strength, volume = Quantity(amount.value / many, amount.unit), many if many > 1 else volume
                continue
            if self._diluent.search(before) and not per and not match["hourly"]:
                if amount.unit in _VOLUMES and found and found[-1].volume is None:
                    found[-1] = replace(found[-1], volume=amount.value * _VOLUMES[amount.unit])
                elif amount.unit not in _VOLUMES and before.rstrip()[-1:] in ("(", "="):
                    pass  # the same dose in another unit
                continue
            given = self._given(match, amount)
            if given.rate and found and found[-1].amount and not found[-1].minutes and not found[-1].rate:
                between = text[ends[-1] : match.start()]
                whole = amount.unit in _VOLUMES or self._at.search(between)
                if whole and not self._then.search(between):
                    found[-1] = replace(found[-1], rate=given.rate)
                    ends[-1] = match.end()
                    continue
            found.append(given)
            ends.append(match.end())
        until = [*ends, len(text)][1:] if ends else []
        found = [self._timed(given, text[end:stop]) for given, end, stop in zip(found, ends, until, strict=True)]
        if name:
            bags = [
                one for one in found if one.amount and one.amount.unit in _VOLUMES and not (one.minutes or one.rate)
            ]
            sizes = [one.amount.value * _VOLUMES[one.amount.unit] for one in bags if one.amount]
            volume = volume or next(iter(sizes), None)
            found = [one for one in found if one not in bags]
        return self._finished(found, text, strength, volume)

    def once(self, text: str) -> bool:
        """Whether a text says that the dose is given one time."""
        return self._once.search(fold(text).translate(_DASHES)) is not None

    def weight(self, text: str) -> Decimal | None:
        """The body weight in kg that a text gives; None where there is none, or two that differ."""
        text = fold(text).translate(_DASHES)
        found = {_decimal(m["low"]) for m in self._weight.finditer(text)}
        return found.pop() if len(found) == 1 else None

    def _finished(
        self, found: list[Injected], text: str, strength: Quantity | None, volume: Decimal | None
    ) -> tuple[Injected, ...]:
        if not found and (over := self._over.search(text)):
            found = [Injected(minutes=self._minutes(over))]
        if not found and (strength or volume):
            found = [Injected()]
        done = []
        for given in found:
            per_ml, amount = strength, given.amount
            if per_ml is None and given.volume and amount and amount.unit not in _VOLUMES:
                per_ml = Quantity(amount.value / given.volume, amount.unit)
            done.append(replace(given, per_ml=per_ml, volume=given.volume or volume))
        return tuple(done)

    def _quantity(self, match: re.Match[str]) -> Quantity | None:
        value = _decimal(match["high"] or match["low"])
        return None if value is None else Quantity(value, self._units[match["unit"]])

    def _given(self, match: re.Match[str], amount: Quantity) -> Injected:
        per_kg, per, many = bool(match["kg"]), match["per"], _decimal(match["many"])
        if match["hourly"]:
            return Injected(rate=amount, per_kg=per_kg)
        if per is None:
            return Injected(amount=amount, per_kg=per_kg)
        minutes = self._times[per] * (many or 1)
        if many is not None:  # 4 g/20 min
            return Injected(amount=amount, minutes=minutes, per_kg=per_kg)
        return Injected(rate=Quantity(amount.value * HOUR / minutes, amount.unit), per_kg=per_kg)

    def _timed(self, given: Injected, after: str) -> Injected:
        """With the time that stands behind it: in which the dose goes in, or for which the rate goes on."""
        if given.amount and given.minutes is None and (over := self._over.search(after)):
            return replace(given, minutes=self._minutes(over))
        if given.rate and not given.amount and (runs := self._runs.search(after) or self._over.search(after)):
            minutes = self._minutes(runs, longest=True)
            return replace(given, hours=minutes / HOUR if minutes else None)
        return given

    def _minutes(self, match: re.Match[str], longest: bool = False) -> Decimal | None:
        """The shorter of two times: the dose may go in that fast."""
        said = match["high"] if longest and match["high"] else match["low"]
        value = self._numbers.get(said) or _decimal(said)
        return None if not value else value * self._times[match["time"]]


def _any(words: Iterable[str]) -> str:
    """Any of the words, whole; the longest first. A number may touch the first letter: 40g."""
    listed = sorted({fold(word) for word in words}, key=len, reverse=True)
    parts = (rf"(?<![^\W\d]){re.escape(word)}(?!\w)" if word[-1].isalnum() else re.escape(word) for word in listed)
    return f"(?:{'|'.join(parts)})"


def _decimal(text: str | None) -> Decimal | None:
    """1000, 1,000, 0.5 and 0,5; None where there is none, or what could be two numbers."""
    text = text or ""
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    text = text.replace(",", ".")
    return Decimal(text) if text and text.count(".") <= 1 else None
