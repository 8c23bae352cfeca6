"""Streams of counts by chance: so many a day, and what becomes of it from an hour on."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cds_service.watch.streams import DAY, Calls, Stream

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
PAST = 98  # days of past before anything happens
# How often the rules of one service fire beside each other: few often, most seldom, as docs/cards-per-day.md found.
FLEET = [60 / place for place in range(1, 191)]
CALLS = 40  # an hour

Factor = Callable[[int], float]


def chance(dice: random.Random, mean: float) -> int:
    """A Poisson count."""
    if mean > 50:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, dice.random()
    while product > limit:
        count, product = count + 1, product * dice.random()
    return count


def calls(days: int, by_hour: Sequence[int] = (CALLS,) * 24, by_day: Sequence[float] = (1.0,) * 7) -> Calls:
    return Calls(START, {"one": [round(by_hour[h % DAY] * by_day[h // DAY % 7]) for h in range(days * DAY)]})


def stream(
    dice: random.Random, made: Calls, a_day: float, factor: Factor = lambda _: 1.0, name: str = "rule"
) -> Stream:
    """Counts for each call, on average `a_day` of them on a day of average calls."""
    row = made.groups["one"]
    rate = a_day / (sum(row) / len(row) * DAY)
    return Stream(name, "", made, {"one": [chance(dice, rate * n * factor(hour)) for hour, n in enumerate(row)]})


def fleet(dice: random.Random, made: Calls, rates: Sequence[float] = FLEET) -> list[Stream]:
    return [stream(dice, made, rate, name=f"rule {place}") for place, rate in enumerate(rates)]
