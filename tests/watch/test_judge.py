"""Every count against its own past: what has to be found is found in time, what is quiet is left alone."""

from __future__ import annotations

import random

import pytest

from cds_service.watch.judge import TESTS, judge, prices
from cds_service.watch.streams import DAY, Calls, Stream
from cds_service.watch.tails import lower_tail, upper_tail
from tests.watch.simulated import FLEET, PAST, START, calls, chance, fleet, stream

RUNS = 60  # `python -m tests.watch.malfunctions` makes more of them


def exact(count: int, mean: float) -> float:
    """P(X <= count) of a Poisson, in whole numbers of a hundred digits."""
    from fractions import Fraction

    mean_, term, total = Fraction(mean), Fraction(1), Fraction(0)
    for k in range(count + 1):
        total += term
        term = term * mean_ / (k + 1)
    whole, term = Fraction(0), Fraction(1)
    for k in range(400):
        whole += term
        term = term * mean_ / (k + 1)
    return float(total / whole)


@pytest.mark.parametrize("mean", [0.5, 3.0, 10.0, 70.0])
@pytest.mark.parametrize("count", [0, 1, 4, 10, 21, 46, 90])
def test_tails_are_those_of_exact_arithmetic(mean: float, count: int) -> None:
    low = exact(count, mean)
    assert lower_tail(count, mean, mean) == pytest.approx(low, rel=1e-9)
    high = 1 - exact(count - 1, mean) if count else 1.0
    assert upper_tail(count, mean, mean) == pytest.approx(high, rel=1e-6, abs=1e-14)


def test_a_wider_spread_makes_tails_heavier_and_the_binomial_closes_up_with_poisson() -> None:
    assert upper_tail(30, 10, 20) > 100 * upper_tail(30, 10, 10)
    assert lower_tail(0, 10, 20) == pytest.approx((10 / 20) ** 10, rel=1e-9)
    assert upper_tail(30, 10, 10.001) == pytest.approx(upper_tail(30, 10, 10), rel=0.01)
    assert sum(lower_tail(k, 10, 25) - (lower_tail(k - 1, 10, 25) if k else 0) for k in range(200)) == pytest.approx(1)


def found(dice: random.Random, a_day: float, factor: float, hours: int, kinds: set[str]) -> int | None:
    """Hours from a change of a stream among others until it is told; None within so many."""
    made = calls(PAST + hours // DAY + 1)
    change = PAST * DAY - dice.randrange(7 * DAY)
    watched = stream(dice, made, a_day, lambda hour: factor if hour >= change else 1.0)
    paid = prices([*OTHERS, watched], change)
    for end in range(change + 1, change + hours + 1):
        worst = judge(watched, end, paid).worst
        if worst is not None and worst.kind in kinds:
            return end - change
    return None


OTHERS = fleet(random.Random(3), calls(PAST + 8), FLEET[:60])


@pytest.mark.parametrize(
    ("factor", "hours", "kinds"),
    [(0.0, 24, {"stopped"}), (4.0, 24, {"storm"}), (3.0, 24, {"storm", "rose"}), (0.5, 168, {"fell", "stopped"})],
)
def test_what_a_rule_that_fires_ten_times_a_day_does_is_found_in_time(
    factor: float, hours: int, kinds: set[str]
) -> None:
    dice = random.Random(14)
    times = [found(dice, 10, factor, hours, kinds) for _ in range(RUNS)]
    assert sum(each is not None for each in times) >= RUNS * 0.9, times  # 0.95 of many: the table says of how many


def false_alarms(streams: list[Stream], first: int, end: int, every: int = 1) -> int:
    """How often one opens."""
    opened, standing = 0, set()
    paid = prices(streams, first)
    for hour in range(first, end, every):
        if hour % (7 * DAY) == 0:
            paid = prices(streams, hour)
        for each in streams:
            verdict = judge(each, hour, paid)
            standing -= {(each.subject, kind) for kind in verdict.over}
            now = {(each.subject, finding.kind) for finding in verdict.findings}
            opened += len(now - standing)
            standing |= now
    return opened


def test_quiet_streams_bring_at_most_one_false_alarm_a_month_all_together() -> None:
    dice = random.Random(5)
    assert false_alarms(fleet(dice, calls(84 + 30)), 84 * DAY, (84 + 30) * DAY, every=2) <= 2


@pytest.mark.parametrize("a_day", [0.05, 0.3])
def test_silence_of_a_rule_that_seldom_fires_says_nothing(a_day: float) -> None:
    watched = stream(random.Random(1), calls(PAST), a_day)
    verdict = judge(watched, PAST * DAY, prices([watched, *OTHERS], PAST * DAY))
    assert verdict.blind, "too few to say"
    assert verdict.stop_found_in is None


def test_a_stream_without_a_past_is_being_learnt() -> None:
    young = stream(random.Random(1), calls(10), 10)
    assert judge(young, 10 * DAY, prices([young], 10 * DAY)).learning


def busy(dice: random.Random, weekday: tuple[float, ...], days: int, stop: int | None = None) -> Stream:
    """Calls by day and night, fewer at weekends; and a rule whose rate differs by the day of the week besides."""
    by_hour = (10,) * 7 + (60,) * 12 + (25,) * 5
    made = calls(days, by_hour, (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.4))

    def factor(hour: int) -> float:
        return 0.0 if stop is not None and hour >= stop else weekday[hour // DAY % 7]

    return stream(dice, made, 12, factor)


CLINIC = (1.0, 1.0, 2.5, 1.0, 1.0, 0.0, 0.0)  # a clinic on Wednesdays, none at weekends


def test_nights_weekends_and_clinic_days_are_no_alarm() -> None:
    dice = random.Random(9)
    for _ in range(3):
        watched = busy(dice, CLINIC, PAST + 28)
        assert false_alarms([watched, *OTHERS[:0]], PAST * DAY, (PAST + 28) * DAY) == 0


def test_a_stop_is_found_through_a_pattern_of_the_week() -> None:
    stop = (PAST - 1) * DAY + 6  # a Sunday
    watched = busy(random.Random(9), CLINIC, PAST + 8, stop)
    paid = prices([watched], PAST * DAY)
    at = next(end for end in range(stop + 1, (PAST + 8) * DAY) if judge(watched, end, paid).worst)
    assert 24 < at - stop < 72, "not on the Sunday, on which none is usual"


def test_more_calls_are_no_storm_and_none_at_all_are_no_stop() -> None:
    """A hospital that joins, and a holiday: the rule fires for as many of the calls as ever."""
    dice = random.Random(2)
    row = [40] * (PAST * DAY) + [160] * (3 * DAY) + [0] * (5 * DAY)
    made = Calls(START, {"one": row})
    watched = Stream("rule", "", made, {"one": [chance(dice, 10 / 960 * n) for n in row]})
    assert false_alarms([watched], PAST * DAY, len(row)) == 0


def test_a_rule_that_comes_in_bunches_is_no_storm_each_time() -> None:
    """Rounds on some days: the past says how widely its days are spread."""
    dice = random.Random(6)
    made = calls(PAST + 28)
    days = [dice.choice((0.3, 0.6, 1.0, 2.1)) for _ in range(PAST + 28)]
    watched = stream(dice, made, 12, lambda hour: days[hour // DAY])
    past = watched.past(PAST * DAY)
    assert past is not None
    assert past.spread > 3
    assert false_alarms([watched], PAST * DAY, (PAST + 28) * DAY) <= 1


def test_every_test_has_its_price_and_all_together_keep_the_budget() -> None:
    paid = prices(OTHERS, PAST * DAY)
    total = 0.0
    for each in OTHERS:
        past = each.past(PAST * DAY)
        assert past is not None
        for test, price in zip(TESTS, paid[each.subject, ""], strict=True):
            total += price * test.looks * (max(1.0, past.a_day) if test.side == "none" else 1.0)
    assert 0.3 < total <= 1.0
