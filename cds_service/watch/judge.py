"""Counts in, findings out: what stopped, what came in storms, what fell or rose. Pure.

Each stream is held against its own past (`streams`) over the last day, week and four weeks. How unlikely a count has to
be is worked out for all streams together, so that on quiet ones there is at most one false alarm a month in all:
a stream that is watched well (a stop, or three times as many, in a day; half as many in a week) asks for its price in
false alarms, the rest share what is left, and where the prices are more than there is, none is paid in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cds_service.watch.streams import DAY, WEEK, Past, Stream, variance
from cds_service.watch.tails import lower_tail, upper_tail

Kind = Literal["stopped", "storm", "fell", "rose"]
Side = Literal["none", "low", "high"]
KINDS: Final[tuple[Kind, ...]] = ("stopped", "storm", "fell", "rose")
DAYS_A_MONTH: Final = 30.0
FALSE_ALARMS_A_MONTH: Final = 0.9  # of one that may be: what the sums below leave out is in the rest
LEAST_EXCESS: Final = 5  # counts above what is expected, below which nothing rose
NO_MORE_THAN: Final = 6e-3  # no tail above this is an alarm, whatever it is needed for
LEAST_A_DAY: Final = 9.2  # a rule that fires ten times a day may have shown so few
_OVER: Final = 0.05  # a tail from which an alarm is over
_RARE: Final = 1e-12
_SHARE: Final = 0.2  # of the false alarms, for what no price is paid for


@dataclass(frozen=True)
class Test:
    """What is looked for: in how many hours, on which side, from how large a change on. `target`: the change that is to
    be found in as many hours, where the stream is large enough. `looks`: how many independent looks a month the hourly
    ones come to, measured on streams without a change."""

    kind: Kind
    hours: int
    side: Side
    ratio: float
    looks: float
    target: float | None = None
    found: float = 0.965  # of the changes of this size, in time


TESTS: Final = (
    Test("stopped", 28 * DAY, "none", 0.0, DAYS_A_MONTH, target=0.93),
    Test("storm", DAY, "high", 2.0, DAYS_A_MONTH * 4.0, target=3.0),
    Test("fell", DAY, "low", 0.5, DAYS_A_MONTH * 2.0),
    Test("fell", WEEK * DAY, "low", 0.67, DAYS_A_MONTH / WEEK * 9.0, target=0.5, found=0.985),
    Test("rose", WEEK * DAY, "high", 1.5, DAYS_A_MONTH / WEEK * 7.0),
    Test("fell", 4 * WEEK * DAY, "low", 0.75, DAYS_A_MONTH / 28 * 7.0),
    Test("rose", 4 * WEEK * DAY, "high", 1.33, DAYS_A_MONTH / 28 * 7.0),
)


@dataclass(frozen=True)
class Finding:
    """What a stream shows: `observed` in the last `hours` where `expected` were to be; `tail`: how likely by chance."""

    kind: Kind
    hours: int
    observed: int
    expected: float
    tail: float
    usual_a_day: float


@dataclass(frozen=True)
class Verdict:
    """On one stream at one hour. `learning`: its past is too short. `blind`: even if nothing came for four weeks that
    would be no finding: too few to say. `over`: kinds of which there is no trace now."""

    subject: str
    client: str
    findings: tuple[Finding, ...] = ()
    learning: bool = False
    blind: bool = False
    over: frozenset[Kind] = frozenset(KINDS)
    usual_a_day: float = 0.0
    stop_found_in: float | None = None

    @property
    def worst(self) -> Finding | None:
        """The one to tell: what stopped has fallen too, and a storm rose."""
        return min(self.findings, key=lambda each: (KINDS.index(each.kind), each.hours), default=None)


Prices = Mapping[tuple[str, str], Sequence[float]]
"""By subject and client: for each of TESTS the tail from which on it is a finding."""


def prices(
    streams: Sequence[Stream], end: int, tests: Sequence[Test] = TESTS, budget: float = FALSE_ALARMS_A_MONTH
) -> Prices:
    """How unlikely a finding has to be in each stream, so that all of them together stay within `budget` a month."""
    asked: list[tuple[tuple[str, str], list[float], list[float]]] = []
    for stream in streams:
        past = stream.past(end)
        if past is not None:
            wanted = [_needed(test, past) for test in tests]
            looks = [test.looks * (max(1.0, past.a_day) if test.side == "none" else 1.0) for test in tests]
            asked.append(((stream.subject, stream.client), wanted, looks))
    every = sum(sum(looks) for _, _, looks in asked)
    common = budget * _SHARE / every if every else 0.0
    both = [pair for _, wanted, looks in asked for pair in zip(wanted, looks, strict=True)]
    most = _most(both, common, budget)
    return {
        name: [max(common, min(want, most / look)) for want, look in zip(wanted, looks, strict=True)]
        for name, wanted, looks in asked
    }


def _most(asked: Sequence[tuple[float, float]], common: float, budget: float) -> float:
    """The most false alarms a month that any one price may bring, so that all are paid within the budget."""

    def cost(most: float) -> float:
        return sum(max(common * look, min(want * look, most)) for want, look in asked)

    low, high = 0.0, budget
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low


def _needed(test: Test, past: Past) -> float:
    """The tail that finds the target in time; 0 where there is none, or the stream is too small for it."""
    expected = past.a_day * test.hours / DAY
    if test.target is None or past.a_day < LEAST_A_DAY:
        return 0.0
    if test.side == "none":
        # A whole day without one, less what its last hour and a past that is known so well leave of it.
        expected = past.a_day * test.target
        tail = lower_tail(0, expected, expected)
    elif test.side == "high":
        least = _quantile(expected * test.target, 1 - test.found)
        tail = upper_tail(least, expected, variance(past, expected, test.hours / DAY))
    else:
        most = _quantile(expected * test.target, test.found)
        tail = lower_tail(most, expected, variance(past, expected, test.hours / DAY))
    return min(tail, NO_MORE_THAN) if tail > _RARE else 0.0


def _quantile(mean: float, share: float) -> int:
    """The smallest count that so large a share of a Poisson does not exceed."""
    low, high = 0, int(mean * 2 + 40)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if lower_tail(middle, mean, mean) >= share else (middle + 1, high)
    return low


def judge(stream: Stream, end: int, prices_: Prices, tests: Sequence[Test] = TESTS) -> Verdict:
    """What the hours before `end` show."""
    paid = prices_.get((stream.subject, stream.client))
    past = stream.past(end)
    if paid is None or past is None:
        return Verdict(stream.subject, stream.client, learning=True)
    findings: list[Finding] = []
    traces: set[Kind] = set()
    for test, price in zip(tests, paid, strict=True):
        first = stream.quiet_since(end, test.hours) if test.side == "none" else end - test.hours
        before = stream.past(first)
        if first >= end or first < 0 or before is None:
            continue
        observed, expected = stream.count(first, end), stream.expected(before, first, end)
        if expected <= 0:
            continue
        tail = _tail(test, observed, expected, variance(before, expected, (end - first) / DAY))
        if (tail < _OVER and test.side != "none") or (test.side == "none" and tail < price * 10):
            traces.add(test.kind)
        if tail <= price:
            findings.append(Finding(test.kind, end - first, observed, expected, tail, before.a_day))
    whole = stream.expected(past, max(0, end - 28 * DAY), end)
    silent = lower_tail(0, whole, variance(past, whole, 28)) if whole > 0 else 1.0
    price = next((price for test, price in zip(tests, paid, strict=True) if test.side == "none"), 0.0)
    return Verdict(
        stream.subject, stream.client, tuple(findings), blind=silent > price, over=frozenset(KINDS) - traces,
        usual_a_day=past.a_day, stop_found_in=_days_to_find(past.a_day, price),
    )  # fmt: skip


def _days_to_find(a_day: float, price: float) -> float | None:
    """Days without one after which a stop is found; None beyond four weeks."""
    days = -math.log(price) / a_day if a_day and price else math.inf
    return days if days <= 28 else None


def _tail(test: Test, observed: int, expected: float, variance: float) -> float:
    """How likely so much, or so little, is; 1 where the change is too small to speak of."""
    if test.side == "high":
        few = observed < expected * test.ratio or observed - expected < LEAST_EXCESS
        return 1.0 if few else upper_tail(observed, expected, variance)
    return 1.0 if observed > expected * test.ratio else lower_tail(observed, expected, variance)
