"""The phrases of one direction put together to doses, or to nothing where they contradict each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import time
from decimal import Decimal
from typing import Any, NamedTuple

from cds_service.content.tables import Frequency
from cds_service.patient import Quantity

Each = tuple[Decimal, Decimal]
"""Lowest and highest; the same twice for one number."""
_IN_DAYS = {
    "min": Decimal(1) / 1440, "h": Decimal(1) / 24, "d": Decimal(1), "wk": Decimal(7), "mo": Decimal(30),
    "a": Decimal(365),
}  # fmt: skip
_SCHEME = ("MORN", "NOON", "EVE", "HS")
_BOTTLE = "{bottle}"  # how much it holds is said beside it or not known
_MEALS = ("C", "AC", "PC")  # every meal: how many there are is said by a frequency alone


class Item(NamedTuple):
    """A phrase that was found. `value` by `kind`; `end`: the place behind it."""

    kind: str
    value: Any
    end: int


class Rate(NamedTuple):
    """So many doses (lowest, highest) in a period (shortest, longest)."""

    low: int
    high: int
    period: Decimal
    longest: Decimal
    unit: str
    when: tuple[str, ...] = ()

    def a_day(self) -> tuple[Decimal, Decimal]:
        """Doses a day, fewest and most."""
        days = _IN_DAYS[self.unit]
        return self.low / (self.longest * days), self.high / (self.period * days)


@dataclass(slots=True)
class _Clause:
    """One dose and when it is taken."""

    amount: tuple[Each, str] | None = None
    restated: list[tuple[Each, str]] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    daily: bool = False
    moments: list[tuple[str, int]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    days: list[str] = field(default_factory=list)
    meals: list[tuple[str, int]] = field(default_factory=list)

    def timed(self) -> bool:
        return bool(self.rates or self.daily or self.moments or self.times or self.days)


class _Unread(Exception):
    """The phrases do not make one direction."""


def fields_of(row: Frequency) -> dict[str, Any]:
    """Fields of `Dosage` for a frequency of a table."""
    fields: dict[str, Any] = {"frequency": row.frequency, "period": row.period, "period_unit": row.unit}
    return fields | ({"when": tuple((code, 0) for code in row.when)} if row.when else {})


def doses_of(items: Sequence[Item], within: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], ...]:
    """Fields of `Dosage` for each dose that differs, with what belongs to all of them; nothing if they do not fit."""
    try:
        return _Direction(within).of(items)
    except _Unread:
        return ()


class _Direction:
    def __init__(self, within: Mapping[str, Sequence[str]]) -> None:
        self.within = within
        self.clauses = [_Clause()]
        self.before = ""  # the kind of the phrase before
        self.inside = self.moments_first = self.as_needed = self.once = self.at_most = False
        self.most: Rate | None = None
        self.one: dict[str, Any] = {}
        self.offset: tuple[Decimal, str] | None = None

    def of(self, items: Sequence[Item]) -> tuple[dict[str, Any], ...]:
        for item in items:
            if item.kind != "ignored":
                self._take(item)
                self.before = item.kind
        if self.at_most or self.offset is not None or self.before == "=":
            raise _Unread
        doses = [self._dose(clause) for clause in self.clauses]
        if len(doses) > 1:
            self._differ()
        shared = {key: self.one[name] for key, name in (("lasts", "lasts"), ("count", "counts")) if name in self.one}
        if self.as_needed:
            shared["as_needed"] = True
        return tuple(dose | shared for dose in _joined(doses))

    def _take(self, item: Item) -> None:
        kind, value = item.kind, item.value
        if self.at_most and kind != "times" and kind != "fixed":
            raise _Unread
        match kind:
            case "(" | ")":
                if self.inside == (kind == "("):
                    raise _Unread
                self.inside = kind == "("
            case "amounts":
                self._amount(value)
            case "doses":
                self._amount(value[0])
                self._rate(value[1])
            case "schemes":
                self._scheme(value)
            case "times" | "fixed" | "every":
                self._rate(value)
            case "daily":
                self.clauses[-1].daily = True
            case "moments":
                self._moment(value)
            case "clocks":
                self._clause_of_a_moment().times.append(value)
            case "days":
                self.clauses[-1].days += value
            case "and":
                if self.before in ("daily", "times", "fixed", "every"):
                    raise _Unread  # "once daily and at bedtime" is two doses or one
            case "as_needed" | "as_needed(":
                if self.before == "and":
                    raise _Unread  # daily, and more as needed
                self.as_needed = True
                self.inside = self.inside or kind == "as_needed("
            case "once":
                self.once = True
            case "at_most":
                self.at_most = True
            case "offsets":
                self.offset = value
            case "names":
                if self.before not in ("", "amounts"):
                    raise _Unread
            case "totals":
                if not self.inside or self.before not in ("amounts", "names"):
                    raise _Unread
            case "parts":
                if not self.clauses[-1].timed() or "lasts" in self.one:
                    raise _Unread  # "1 tablet 5/7 daily"
                self.one["lasts"] = value
            case "divided" | "lasts" | "counts" | "limits":
                if kind in self.one:
                    raise _Unread
                self.one[kind] = value
        if self.offset is not None and kind != "offsets":
            raise _Unread  # the moment that it belongs to takes it

    def _amount(self, amount: tuple[Each, str]) -> None:
        clause = self.clauses[-1]
        if clause.amount is None:
            clause.amount = amount
        elif self.inside or self.before == "=":
            clause.restated.append(amount)
        elif amount[1] == "1" and clause.amount[1] != "1" and clause.timed():
            self.clauses.append(_Clause((amount[0], clause.amount[1])))  # "1 tablet at breakfast and 1 at dinner"
        elif clause.timed():
            self.clauses.append(_Clause(amount))
        else:
            raise _Unread

    def _scheme(self, value: tuple[tuple[Decimal, ...], str]) -> None:
        if self.clauses != [_Clause()]:
            raise _Unread
        numbers, unit = value
        given = [(code, number) for code, number in zip(_SCHEME, numbers, strict=False) if number]
        self.clauses = [_Clause(((n, n), unit), moments=[(code, 0)]) for code, n in given]

    def _rate(self, rate: Rate) -> None:
        clause = self.clauses[-1]
        if self.at_most:
            if self.most is not None:
                raise _Unread
            self.most, self.at_most = rate, False
        elif rate.when:
            clause.moments += [(code, 0) for code in rate.when]
        elif not clause.rates or (self.inside and clause.rates[0].a_day() == rate.a_day()):
            clause.rates.append(rate)
        else:
            raise _Unread

    def _clause_of_a_moment(self) -> _Clause:
        clause = self.clauses[-1]
        if clause.amount is None and not clause.moments and not clause.times and not clause.rates:
            self.moments_first = True
        elif self.moments_first and clause.amount is not None:
            clause = _Clause()  # "in the morning 1 tablet, at night 2 tablets"
            self.clauses.append(clause)
        return clause

    def _moment(self, code: str) -> None:
        offset = 0
        if self.offset is not None:
            if not code.startswith(("AC", "PC")):
                raise _Unread
            offset, self.offset = int(self.offset[0] * _IN_DAYS[self.offset[1]] * 1440), None
        clause = self.clauses[-1]
        if code in _MEALS:
            clause.meals.append((code, offset))
            return
        if clause.moments and self.before in ("moments", "offsets", "("):
            last = clause.moments[-1][0]
            if last in self.within.get(code, ()):
                clause.moments[-1] = (code, offset)  # "in the morning with breakfast" is one dose
                return
            if code == last or code in self.within.get(last, ()):
                return
        clause = self._clause_of_a_moment()
        for other, _ in clause.moments:
            if other == code or other in self.within.get(code, ()) or code in self.within.get(other, ()):
                raise _Unread  # "in the morning and at breakfast": one dose or two
        clause.moments.append((code, offset))

    def _differ(self) -> None:
        """Doses that differ must each have a time of their own."""
        seen: set[Any] = set()
        for clause in self.clauses:
            mine: set[Any] = {code for code, _ in clause.moments} | set(clause.times)
            apart = set(clause.days) if clause.days and not mine else mine
            if (
                clause.amount is None
                or not apart
                or clause.rates
                or seen & apart
                or self.most
                or self.one.keys() & {"limits", "counts"}
            ):
                raise _Unread
            seen |= apart

    def _dose(self, clause: _Clause) -> dict[str, Any]:
        dose = self._amount_of(clause)
        rate = clause.rates[-1] if clause.rates else None
        if self.once or (rate is None and self.one.get("counts") == 1):
            if rate or clause.daily or clause.moments or clause.days or clause.meals or self.as_needed or self.most:
                raise _Unread
            if clause.amount is not None and clause.amount[1] == "1":
                raise _Unread  # "3 x 1" is not three tablets once
            return dose | {"frequency": 1, "period": Decimal(1), "period_unit": "d", "count": 1}
        if "divided" in self.one:
            return self._divided(clause, dose)
        if self.most is not None or "limits" in self.one:
            rate = self._bounded(clause, dose, rate)
        named = len(clause.moments) + len(clause.times)
        if clause.moments and clause.times:
            raise _Unread
        if rate is not None:
            rate = self._fitting(clause, rate, named)
        elif named or clause.daily or clause.days:
            rate = Rate(named or 1, named or 1, Decimal(1), Decimal(1), "d")
        else:
            raise _Unread
        dose |= {"frequency": rate.low, "period": rate.period, "period_unit": rate.unit}
        if rate.high != rate.low:
            dose["frequency_max"] = rate.high
        if rate.longest != rate.period:
            dose["period_max"] = rate.longest
        if clause.moments or clause.meals:
            dose["when"] = tuple(clause.moments or clause.meals)
        if clause.times:
            dose["times"] = tuple(time(minute // 60, minute % 60) for minute in sorted(set(clause.times)))
        if clause.days:
            if len(set(clause.days)) != len(clause.days):
                raise _Unread
            dose["days"] = tuple(clause.days)
        return dose

    def _fitting(self, clause: _Clause, rate: Rate, named: int) -> Rate:
        """The rate beside named moments, times or days; they must say the same."""
        if clause.daily:
            raise _Unread
        if clause.days:
            # "three times a week on Monday, Wednesday and Friday"
            if rate != Rate(len(clause.days), len(clause.days), Decimal(1), Decimal(1), "wk"):
                if rate.unit != "d" or rate.period != 1:
                    raise _Unread
            else:
                rate = Rate(1, 1, Decimal(1), Decimal(1), "d")
        exact = (rate.low, rate.longest) == (rate.high, rate.period)
        if named and (rate.unit in ("min", "h") or named != rate.low or not exact):
            raise _Unread
        if clause.meals and not clause.moments and rate.unit in ("min", "h"):
            clause.meals = []
        return rate

    def _amount_of(self, clause: _Clause) -> dict[str, Any]:
        """The amount of a dose: a number of tablets rather than the mass that is said beside it, its `total`."""
        if clause.amount is None:
            return {}
        amounts = [clause.amount, *clause.restated]
        if amounts[0][1] == _BOTTLE and len(amounts) == 2:
            amounts = amounts[1:]
        amounts.sort(key=_how_exact)
        ranks = [_how_exact(amount) for amount in amounts]
        ranges = [low != high for (low, high), _ in amounts]
        if len(amounts) > 2 or len(set(ranks)) != len(ranks) or len(set(ranges)) != 1 or amounts[0][1] == _BOTTLE:
            raise _Unread
        (low, high), unit = amounts[0]
        if not low:
            raise _Unread
        dose: dict[str, Any] = {"amount": Quantity(low, unit)}
        if high != low:
            dose["amount_high"] = Quantity(high, unit)
        if len(amounts) == 2:
            dose["total"] = Quantity(amounts[1][0][1], amounts[1][1])
        return dose

    def _divided(self, clause: _Clause, dose: dict[str, Any]) -> dict[str, Any]:
        """A day's amount in so many doses."""
        many = self.one["divided"]
        plain = clause.daily and not (clause.rates or clause.moments or clause.times or clause.days or self.most)
        if not plain or "amount" not in dose or many != int(many) or many < 1 or "limits" in self.one:
            raise _Unread
        for key in ("amount", "amount_high", "total"):
            if key in dose:
                dose[key] = replace(dose[key], value=dose[key].value / many)
        return dose | {"frequency": int(many), "period": Decimal(1), "period_unit": "d"}

    def _bounded(self, clause: _Clause, dose: dict[str, Any], rate: Rate | None) -> Rate | None:
        """The rate with what is said of the most: a number of times, or an amount in a time."""
        if self.most is not None:
            if rate is None and not (clause.daily or clause.moments or clause.times or clause.days):
                rate = Rate(1, self.most.high, self.most.period, self.most.period, self.most.unit)
            elif rate is None or rate.a_day()[1] != self.most.a_day()[1]:
                raise _Unread
        if "limits" in self.one:
            number, unit, many, per = self.one["limits"]
            amount = dose.get("amount_high") or dose.get("amount")
            if amount is None or (amount.unit != unit and "1" not in (amount.unit, unit)):
                raise _Unread
            doses, a_day = number / amount.value, number / (many * _IN_DAYS[per])
            if rate is None and self.as_needed and not clause.timed():
                if doses != int(doses) or doses < 1:
                    raise _Unread
                return Rate(1, int(doses), many, many, per)
            named = Decimal(len(clause.moments) + len(clause.times) or 1)
            if (rate.a_day()[1] if rate else named) * amount.value > a_day:
                raise _Unread
        return rate


def _how_exact(amount: tuple[Each, str]) -> int:
    """Numbers of tablets come before volumes, and these before masses."""
    return 0 if amount[1].startswith("{") or amount[1] == "1" else 1 if amount[1] in ("mL", "L") else 2


def _joined(doses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Doses of the same amount at different times of the day are one instruction."""
    found: list[dict[str, Any]] = []
    for dose in doses:
        for i, other in enumerate(found):
            same = all(dose.get(k) == other.get(k) for k in ("amount", "amount_high", "total", "days"))
            key = next((k for k in ("when", "times") if k in dose and k in other), None)
            if same and key is not None and dose[key] != other[key]:
                both = {key: other[key] + dose[key], "frequency": other["frequency"] + dose["frequency"]}
                found[i] = other | both
                break
        else:
            found.append(dose)
    return found
