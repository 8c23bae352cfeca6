"""One written direction read whole: its doses, their times, how long and how often at most."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal
from itertools import pairwise
from typing import Any

from cds_service.patient import Quantity
from cds_service.terminology.direction_words import Cursor, Language, Words, doses_a_day

ONE = "1"
"""Stands for the unit of a dose that is a bare number: one of whatever the product is."""

_SIGNS = frozenset("()=-/")
_MOST_TIMES = 24
_DAY = 24  # hours
_DAILY = {"frequency": 1, "period": Decimal(1), "period_unit": "d"}
_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2})(?: (?P<minute>[0-9]{2}))?(?: ?(?P<half>am|pm))?")
_SCHEME = ("MORN", "NOON", "EVE", "HS")
_MEALS = frozenset({"C", "AC", "PC"})
# Moments of one part of the day, the plain one first: "every morning with breakfast" is one dose.
_PARTS = (("MORN", "WAKE", "ACM", "CM", "PCM"), ("NOON", "ACD", "CD", "PCD"), ("EVE", "ACV", "CV", "PCV", "HS"),
          ("NIGHT", "HS"))  # fmt: skip
_MASSES = frozenset({"mg", "g", "ug", "mmol", "meq"})


@dataclass(slots=True)
class _Dose:
    """One amount with the moments that stand behind it."""

    low: Decimal
    high: Decimal | None
    unit: str
    moments: list[str] = field(default_factory=list)
    times: list[time] = field(default_factory=list)


class Reading(Cursor):
    """One text read by one language."""

    def __init__(self, language: Language, words: Words) -> None:
        super().__init__(language, words)
        self.given: list[_Dose] = []
        self.moments: list[str] = []
        self.timing: dict[str, Any] | None = None
        self.days: list[str] = []
        self.total: Quantity | None = None
        self.as_needed = self.once = False
        self.lasts: tuple[Decimal, str] | None = None
        self.limit: Quantity | None = None
        self.times: list[time] = []
        self.offsets: dict[str, int] = {}
        self.count = 0

    def doses(self) -> list[dict[str, Any]] | None:
        """Dosage fields of each dose; None where a word is not understood or two contradict each other."""
        joined = False
        while self.at < len(self.words):
            start = self.at
            if not self._step(joined):
                return None
            joined = any(self._is("and_", i) for i in range(start, self.at))
        return self._together()

    def _step(self, joined: bool) -> bool:
        """Read on from here; False where that cannot be done."""
        start = self.at
        for read in (
            self._apart, self._scheme, self._most, self._clock, self._offset, self._every, self._times, self._counted,
            self._lasts, self._total,
        ):  # fmt: skip
            if read():
                return True
            if self.at != start:
                return False
        if self._amount():
            return not (self.timing and len(self.given) > 1)
        for kind in ("timing", "moment", "day", "as_needed", "once", "and_", "ignored"):
            size, meaning = self._match(kind, self.at)
            if not size:
                continue
            self.at += size
            if kind == "timing":
                return self._timed(dict(meaning))
            if kind == "moment":
                return self._moment(meaning, joined)
            if kind == "day":
                self.days.append(meaning)
            elif kind == "as_needed":
                self.as_needed = True
                return not joined  # "daily and as needed" is two directions
            self.once = self.once or kind == "once"
            return True
        self.at += 1
        return self.words[self.at - 1] in _SIGNS

    def _amount(self) -> bool:
        """ "2 tablets", "1-2 tablets", "400 mg = 1 tab", "10 mmol (1 sachet)"; a bare number before a time."""
        found = self._range(self.at)
        if found is None or found[1] <= 0:
            return False
        size, low, high = found
        length, unit = self._match("unit", self.at + size)
        end = self.at + size + length
        if not length:
            # A bare number counts units of the product, where a time follows.
            behind = end
            while skipped := self._match("ignored", behind)[0]:
                behind += skipped
            if not any(self._is(kind, behind) for kind in ("timing", "moment")) and not self._scheduled(behind):
                return False
            unit = ONE
        end += self._match("after_amount", end)[0]
        if self.given and self.given[-1].moments == [] and self._restated(end, unit):
            self.at = end
            return True
        self.given.append(_Dose(low, high, unit))
        self.at = end
        return True

    def _scheduled(self, at: int) -> bool:
        """Whether a frequency in numbers stands here."""
        mark, kept, given, self.at = self.at, self.timing, list(self.given), at
        self.given = [*given, _Dose(Decimal(1), None, ONE)]
        found = self._every() or self._times()
        self.at, self.timing, self.given = mark, kept, given
        return found

    def _restated(self, end: int, unit: str) -> bool:
        """The amount before is said again in another unit: the one that counts units of the product is kept."""
        before, sign = self.given[-1], self._word(self.at - 1)
        if sign not in ("=", "(") or (sign == "(" and self._word(end) != ")") or before.unit == unit:
            return False
        if unit in _MASSES:
            self.total = Quantity(self._range(self.at)[1], unit)  # type: ignore[index]
            return True
        found = self._range(self.at)
        if before.unit in _MASSES and before.high is None and found is not None and found[2] is None:
            self.total = Quantity(before.low, before.unit)
            self.given[-1] = _Dose(found[1], None, unit)
            return True
        return False

    def _total(self) -> bool:
        """ "(800 mg total)" says again what the dose is."""
        if self._word(self.at) != "(" or not self.given:
            return False
        found = self._range(self.at + 1)
        if found is None:
            return False
        length, unit = self._match("unit", self.at + 1 + found[0])
        end = self.at + 1 + found[0] + length
        end += self._match("after_amount", end)[0]
        size = self._match("total", end)[0]
        if not length or not size or self._word(end + size) != ")":
            return False
        dose = self.given[-1]
        if unit not in _MASSES and dose.unit == ONE and dose.low == 1 and dose.high is None:
            dose.low, dose.high, dose.unit = found[1], found[2], unit  # "1 bottle (296 mL total)"
        else:
            self.total = Quantity(found[2] or found[1], unit)
        self.at = end + size + 1
        return True

    def _scheme(self) -> bool:
        """ "1-0-1" and "1-0-1-0": morning, noon, evening, night."""
        amounts: list[Decimal] = []
        at, sign = self.at, ""
        while len(amounts) < 5 and (found := self._plain_number(at)) is not None and self._word(at) not in ("(",):
            amounts.append(found[1])
            at += found[0]
            if self._word(at) not in ("-", "+") or (sign and self._word(at) != sign):
                break
            sign = self._word(at)
            at += 1
        if len(amounts) not in (3, 4) or self.given or not any(amounts) or self._word(at) in ("-", "+"):
            return False
        length, unit = self._match("unit", at)
        for value in dict.fromkeys(amounts):
            if value:
                places = [moment for moment, each in zip(_SCHEME, amounts, strict=False) if each == value]
                self.given.append(_Dose(value, None, unit if length else ONE, places))
        self.at = at + length
        return True

    def _every(self) -> bool:
        """ "every 8 hours", "q8h", "alle 2 Tage"; "8/8h" where the language writes it so."""
        size, _ = self._match("every", self.at)
        found = self._range(self.at + size) if size else None
        if not size and self.language.table.twice_written:
            first, second = self._plain_number(self.at), self._plain_number(self.at + 2)
            if first and first == second and first[0] == 1 and self._word(self.at + 1) == "/":
                size, found = 2, (1, first[1], None)
        if found is None:
            return False
        length, unit = self._match("period", self.at + size + found[0])
        if not length or found[1] <= 0:
            return False
        self.at += size + found[0] + length
        if unit == "h" and found[2] is None and _DAY % found[1] == 0:
            return self._timed(_DAILY | {"frequency": int(_DAY / found[1])})
        more = {"period_max": found[2]} if found[2] else {}
        return self._timed({"frequency": 1, "period": found[1], "period_unit": unit, **more})

    def _times(self) -> bool:
        """ "3 times daily", "up to 3 times a day", "3 x tgl"; "2x1" and "1x2" as the language orders them."""
        behind = self._word(self.at) == "x" and bool(self.given)
        size = 1 if behind else self._match("up_to", self.at)[0]
        found = self._range(self.at + size)
        if found is None or found[1] != int(found[1]) or not 0 < found[1] <= _MOST_TIMES:
            return False
        length, unit = self._match("times", self.at + size + found[0])
        if not length and behind and self.language.table.amount_first:
            unit = "d"
        elif not length:
            return False
        end, most = self.at + size + found[0] + length, found[2]
        if size and not behind:
            most = most or found[1]
        if unit == "x":
            amount = self._range(end)
            if amount is None or amount[1] <= 0 or self.given:
                return False
            length, counted = self._match("unit", end + amount[0])
            self.given.append(_Dose(amount[1], amount[2], counted if length else ONE))
            end, unit = end + amount[0] + length, "d"
            # "2x1/Tag" says the day once more.
            daily = end + (self._word(end) == "/")
            end = daily + self._match("timing", daily)[0] if self._match("timing", daily)[1] == _DAILY else end
        self.at = end
        frequency = 1 if size and not behind else int(found[1])
        timing: dict[str, Any] = {"frequency": frequency, "period": Decimal(1), "period_unit": unit}
        return self._timed(timing | ({"frequency_max": int(most)} if most else {}))

    def _lasts(self) -> bool:
        """ "for 14 days", "x 30 days", "pendant 7 jours", "for 5/7"."""
        size, _ = self._match("during", self.at)
        found = self._number(self.at + size) if size else None
        if found is None:
            return False
        length, unit = self._match("period", self.at + size + found[0])
        if not length or self.lasts:
            return False
        self.lasts, self.at = (found[1], unit), self.at + size + found[0] + length
        return True

    def _most(self) -> bool:
        """ "Max 3 tablets per day": what may be taken in a day, when it is taken as needed."""
        size, _ = self._match("most", self.at)
        found = self._range(self.at + size) if size else None
        if found is None or self.limit:
            return False
        length, unit = self._match("unit", self.at + size + found[0])
        end = self.at + size + found[0] + length
        daily, meaning = self._match("timing", end)
        if not length or not daily or doses_a_day(meaning) != 1:
            return False
        self.limit, self.at = Quantity(found[2] or found[1], unit), end + daily
        return True

    def _clock(self) -> bool:
        """ "@7am", "at 18:00"."""
        size, _ = self._match("at", self.at)
        found = _CLOCK.match(" ".join(self.words[self.at + size : self.at + size + 4])) if size else None
        if found is None:
            return False
        hour, minute = int(found["hour"]), int(found["minute"] or 0)
        if half := found["half"]:
            if not 1 <= hour <= 12:
                return False
            hour = hour % 12 + (12 if half == "pm" else 0)
        elif not found["minute"]:
            return False
        if hour > 23 or minute > 59:
            return False
        self.at += size + len(found[0].split())
        times = self.given[-1].times if self.given and not self.timing else self.times
        times.append(time(hour, minute))
        return True

    def _offset(self) -> bool:
        """ "2 hours after dinner"."""
        found = self._number(self.at)
        length, unit = self._match("period", self.at + found[0]) if found else (0, "")
        if found is None or not length or unit != "h":
            return False
        end = self.at + found[0] + length
        for kind in ("after", "before"):
            size, code = self._match(kind, end)
            if size:
                self.at = end + size
                self.offsets[code] = int(found[1] * 60)
                return self._moment(code, joined=True)
        return False

    def _counted(self) -> bool:
        """ "x 4 doses": so many in all."""
        size = self._match("during", self.at)[0]
        found = self._plain_number(self.at + size) if size else None
        length = self._match("doses", self.at + size + found[0])[0] if found else 0
        if found is None or not length or self.count or found[1] != int(found[1]):
            return False
        self.count, self.at = int(found[1]), self.at + size + found[0] + length
        return True

    def _apart(self) -> bool:
        """ "Do not take within 2 hours of ..." to the end: it keeps doses apart, and is no ban."""
        if self._match("apart", self.at)[0] and (self.timing or self.moments or self.given) and self.at:
            self.at = len(self.words)
            return True
        return False

    def _timed(self, timing: dict[str, Any]) -> bool:
        """Two frequencies have to be one: "every 12 hours (2 times daily)"."""
        if self.timing is None:
            self.timing = timing
            return True
        if self.timing.get("when") or timing.get("when"):
            return self.timing == timing
        return doses_a_day(self.timing) == doses_a_day(timing)

    def _moment(self, code: str, joined: bool) -> bool:
        moments = self.given[-1].moments if self.given and not self.timing else self.moments
        if moments and not joined:
            for part in _PARTS:
                if moments[-1] in part and code in part:
                    plain = code == part[0] or (code == "EVE")
                    moments[-1] = moments[-1] if plain else code
                    return True
        moments.append(code)
        return True

    def _together(self) -> list[dict[str, Any]] | None:
        shared: dict[str, Any] = {"as_needed": True} if self.as_needed else {}
        if self.total:
            shared["total"] = self.total
        if self.lasts:
            shared["lasts"] = self.lasts
        if self.count:
            shared["count"] = self.count
        if self.once and not self.timing and not self.moments and not any(dose.moments for dose in self.given):
            self.timing = dict(_DAILY)
            shared["lasts"] = (Decimal(1), "d")
        elif self.once and self.timing and self.timing != _DAILY:
            return None
        if len(self.given) > 1 and (self.total or not all(dose.moments or dose.times for dose in self.given)):
            return None
        alike: dict[tuple[object, ...], _Dose] = {}
        for before, dose in pairwise(self.given):
            if dose.unit == ONE:
                dose.unit = before.unit  # "1 tablet in the morning and 1 at night"
        for dose in self.given:
            one = alike.setdefault((dose.low, dose.high, dose.unit), dose)
            if one is not dose:
                one.moments += dose.moments
                one.times += dose.times
        doses: list[_Dose | None] = [*alike.values()] or [None]
        found = [self._dose(dose, shared) for dose in doses]
        whole = [one for one in found if one]
        return whole if len(whole) == len(found) and self._within(whole) else None

    def _within(self, doses: list[dict[str, Any]]) -> bool:
        """Whether the most of a day, where one is said, is no less than what the doses come to."""
        if self.limit is None:
            return True
        amounts = [(dose.get("amount_high") or dose.get("amount"), doses_a_day(dose)) for dose in doses]
        known = [(amount.value * many) for amount, many in amounts if amount and amount.unit == self.limit.unit]
        return len(known) == len(amounts) and sum(known) <= self.limit.value

    def _dose(self, dose: _Dose | None, shared: dict[str, Any]) -> dict[str, Any] | None:
        moments = [m for m in (*self.moments, *(dose.moments if dose else ())) if m not in _MEALS]
        times = [*self.times, *(dose.times if dose else ())]
        if times and (moments or self.timing):
            return None
        if self.timing is None and not moments and not self.days and not times:
            return None
        fields = dict(
            self.timing or {"frequency": len(moments) or len(times) or 1, "period": Decimal(1), "period_unit": "d"}
        )
        if self.days:
            if self.timing and self.timing != _DAILY:
                return None
            fields["days"] = tuple(dict.fromkeys(self.days))
        if moments:
            # "twice daily at bedtime" contradicts itself or means a meal each time: not for us to guess.
            once_each = fields.get("frequency") == len(moments) and fields.get("period_unit") == "d"
            if not once_each or len(set(moments)) != len(moments) or fields.get("when"):
                return None
            fields["when"] = tuple((code, self.offsets.get(code, 0)) for code in moments)
        if times:
            fields["times"] = tuple(sorted(set(times)))
        if dose is not None:
            fields["amount"] = Quantity(dose.low, dose.unit)
            if dose.high is not None:
                fields["amount_high"] = Quantity(dose.high, dose.unit)
        return fields | shared
