"""A count by the hour beside what it is a count of, and what its own past makes one expect.

The past is whole days (UTC) before the hours that are judged. A rate is counts for each call, of each group of calls (a
client's service) and each day of the week; days of the week differ only as far as the past says that they do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import accumulate
from typing import Final

DAY: Final = 24
WEEK: Final = 7
PAST_DAYS: Final = 84
LEAST_DAYS: Final = 14
_HALF: Final = 0.5  # of a count: what has never been is still not impossible
_SAME: Final = 1e6  # counts; so many say that the days of the week are alike
_CHI_99: Final = 2.326  # of the normal distribution, one side


@dataclass(frozen=True)
class Calls:
    """What can be counted: numbers by the hour and group. `start` is a midnight (UTC), and all rows are as long."""

    start: datetime
    groups: Mapping[str, Sequence[int]]

    @cached_property
    def hours(self) -> int:
        return min(map(len, self.groups.values()), default=0)

    @cached_property
    def sums(self) -> dict[str, list[int]]:
        return {group: [0, *accumulate(row)] for group, row in self.groups.items()}

    @cached_property
    def days(self) -> dict[str, list[int]]:
        """By whole day."""
        whole = self.hours // DAY
        return {g: [row[(d + 1) * DAY] - row[d * DAY] for d in range(whole)] for g, row in self.sums.items()}

    def weekday(self, day: int) -> int:
        return (self.start.weekday() + day) % WEEK


@dataclass(frozen=True)
class Past:
    """What a past says: the rate by group and day of the week; counts in all; how many times wider than by chance alone
    the days are spread; and `own`: how many counts stand behind the rate of one day of the week (`_SAME`: all do)."""

    rates: Mapping[str, Sequence[float]]
    total: int
    a_day: float
    spread: float
    own: float


class Stream:
    """One count: its name, the client that it is of ("" for all), and what it is a count of."""

    def __init__(self, subject: str, client: str, calls: Calls, counts: Mapping[str, Sequence[int]]) -> None:
        self.subject = subject
        self.client = client
        self.calls = calls
        self._counts = counts
        together = [sum(row) for row in zip(*counts.values(), strict=True)] if counts else [0] * calls.hours
        self._sum = [0, *accumulate(together)]
        self._days = {
            group: [sum(row[d * DAY : (d + 1) * DAY]) for d in range(calls.hours // DAY)]
            for group, row in counts.items()
        }
        self._known: dict[int, Past | None] = {}

    @property
    def hours(self) -> int:
        return self.calls.hours

    def count(self, first: int, end: int) -> int:
        """Counts from hour `first` to before `end`."""
        return self._sum[end] - self._sum[max(first, 0)]

    def quiet_since(self, end: int, most: int) -> int:
        """The hour after the last count before `end`, not more than `most` hours back."""
        now = self._sum[end]
        first = end
        while first > 0 and end - first < most and self._sum[first - 1] == now:
            first -= 1
        return first

    def past(self, end: int) -> Past | None:
        """What the whole days before hour `end` say; None where there are too few."""
        last = end // DAY
        if last not in self._known:
            self._known = {last: self._fit(last), **({} if len(self._known) > 8 else self._known)}
        return self._known[last]

    def expected(self, past: Past, first: int, end: int) -> float:
        """What the past makes one expect of the calls from hour `first` to before `end`."""
        total = 0.0
        for day in range(first // DAY, -(-end // DAY)):
            low, high, weekday = max(first, day * DAY), min(end, (day + 1) * DAY), self.calls.weekday(day)
            for group, sums in self.calls.sums.items():
                total += past.rates[group][weekday] * (sums[high] - sums[low])
        return total

    def _fit(self, last: int) -> Past | None:
        first = max(0, last - PAST_DAYS)
        # A stream begins with its first call, not with the table.
        while first < last and not any(row[first] for row in self.calls.days.values()):
            first += 1
        if last - first < LEAST_DAYS:
            return None
        days = range(first, last)
        made = {group: sum(row[first:last]) for group, row in self.calls.days.items()}
        if not any(made.values()):
            return None
        counted = {group: sum(self._days[group][first:last]) if group in self._days else 0 for group in made}
        rate = (sum(counted.values()) + _HALF) / sum(made.values())
        each = {g: (counted[g] + _HALF) / (made[g] + _HALF / rate) if made[g] else rate for g in made}
        hoped = [[sum(each[g] * self.calls.days[g][day] for g in made), day] for day in days]
        met = {day: sum(row[day] for row in self._days.values()) for day in days}
        by_weekday, own = self._weekdays(hoped, met)
        rates = {group: [each[group] * factor for factor in by_weekday] for group in made}
        spread = _spread([(mean * by_weekday[self.calls.weekday(int(day))], met[int(day)]) for mean, day in hoped])
        return Past(rates, sum(counted.values()), sum(counted.values()) / len(days), spread, own)

    def _weekdays(self, hoped: Sequence[Sequence[float]], met: Mapping[int, int]) -> tuple[list[float], float]:
        """Factors of the days of the week, drawn together as far as chance alone would set them apart."""
        expected, found = [0.0] * WEEK, [0] * WEEK
        for mean, day in hoped:
            expected[self.calls.weekday(int(day))] += mean
            found[self.calls.weekday(int(day))] += met[int(day)]
        apart = sum((n - mean) ** 2 / mean for n, mean in zip(found, expected, strict=True) if mean > 0)
        more = apart - (WEEK - 1)
        weight = min(_SAME, sum(expected) / more) if more > 0 else _SAME
        factors = [(n + weight) / (mean + weight) for n, mean in zip(found, expected, strict=True)]
        return factors, weight + sum(found) / WEEK if weight < _SAME else math.inf


def variance(past: Past, expected: float, days: float) -> float:
    """Of a count over so many days: chance, what it is spread beyond that, and what the past leaves open."""
    behind = past.own * min(max(days, 1.0), WEEK)
    return past.spread * expected + expected**2 / (past.total + _HALF) + expected**2 / behind


def _spread(days: Sequence[tuple[float, int]]) -> float:
    """Variance over mean of the days, 1 where chance explains it. Rare counts are taken together until one is hoped for
    in each part."""
    parts: list[tuple[float, int]] = []
    mean, met = 0.0, 0
    for hoped, found in days:
        mean, met = mean + hoped, met + found
        if mean >= 1:
            parts.append((mean, met))
            mean, met = 0.0, 0
    freedom = len(parts) - 1
    if freedom < LEAST_DAYS // 2:
        return 1.0
    apart = sum((found - hoped) ** 2 / hoped for hoped, found in parts)
    # The quantile of chi-square, by Wilson and Hilferty.
    by_chance = freedom * (1 - 2 / (9 * freedom) + _CHI_99 * math.sqrt(2 / (9 * freedom))) ** 3
    return apart / freedom if apart > by_chance else 1.0
